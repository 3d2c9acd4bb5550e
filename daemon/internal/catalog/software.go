package catalog

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/config"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/software"
)

// The software provider has no build tag: session keys always live in it.
func init() {
	kinds["software"] = func(_ context.Context, _ config.Provider, environment Environment) (provider.Provider, error) {
		environment.Logger.Info("RSA and P-256 keys of provider software are used by " + software.Arithmetic())
		return software.New(software.Config{Sealer: environment.Keyring})
	}
}
