// Package catalog knows the kinds of providers that this build has. It alone names concrete providers: each is
// registered by one file, which a build tag leaves out.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/anyhsm/anyhsm/daemon/internal/config"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/seal"
)

// Environment is what providers may use of the daemon.
type Environment struct {
	// Keyring seals key material that is kept in the store.
	Keyring *seal.Keyring
	Logger  *slog.Logger
}

// opener makes a provider of one kind.
type opener func(ctx context.Context, config config.Provider, environment Environment) (provider.Provider, error)

// kinds are filled by the init functions of this package's files.
var kinds = map[string]opener{}

// Kinds returns the kinds that this build has.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

// Check tells whether this build has the kinds that a configuration names.
func Check(c config.Config) error {
	for _, p := range c.Providers {
		if kinds[p.Kind] == nil {
			return fmt.Errorf("provider %q: kind %q is unknown to this build, which has %s; correct the kind, or use a build with it",
				p.Name, p.Kind, strings.Join(Kinds(), ", "))
		}
	}
	return nil
}

// Open begins to open all providers of a configuration and waits a moment for them. One that is away by then, because
// its library, its server or the credentials for its service are not there, is opened in the background and is a
// provider.Pending. What is wrong with the configuration itself is an error, after which none is open.
func Open(ctx context.Context, c config.Config, environment Environment) (map[string]provider.Provider, error) {
	if err := Check(c); err != nil {
		return nil, err
	}
	opening := make([]*late, len(c.Providers))
	for i, p := range c.Providers {
		opening[i] = open(ctx, p, environment)
	}
	wait, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	providers := map[string]provider.Provider{}
	var problems []error
	for i, p := range c.Providers {
		opened, err := opening[i].first(wait)
		switch {
		case err == nil:
			providers[p.Name] = opened
			continue
		case misconfigured(err):
			problems = append(problems, fmt.Errorf("provider %q does not start: %w", p.Name, err))
		}
		providers[p.Name] = opening[i]
	}
	if len(problems) > 0 {
		Close(providers, environment.Logger)
		return nil, errors.Join(problems...)
	}
	return providers, nil
}

// Close closes providers; what they complain about is logged.
func Close(providers map[string]provider.Provider, logger *slog.Logger) {
	for _, name := range slices.Sorted(maps.Keys(providers)) {
		if err := providers[name].Close(); err != nil {
			logger.Warn("a provider did not close cleanly", "provider", name, "error", err)
		}
	}
}
