// Package catalog knows the kinds of providers that this build has. It alone names concrete providers: each is
// registered by one file, which a build tag leaves out.
package catalog

import (
	"context"
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

// Open makes all providers of a configuration, by name. After an error none is open.
func Open(ctx context.Context, c config.Config, environment Environment) (map[string]provider.Provider, error) {
	if err := Check(c); err != nil {
		return nil, err
	}
	providers := map[string]provider.Provider{}
	for _, p := range c.Providers {
		opened, err := kinds[p.Kind](ctx, p, environment)
		if err != nil {
			Close(providers, environment.Logger)
			return nil, fmt.Errorf("provider %q does not start: %w", p.Name, err)
		}
		providers[p.Name] = opened
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
