//go:build !no_kmip

package catalog

import (
	"context"
	"fmt"

	"github.com/anyhsm/anyhsm/daemon/internal/config"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip"
)

func init() {
	kinds["kmip"] = func(ctx context.Context, c config.Provider, environment Environment) (provider.Provider, error) {
		block := config.KMIP{}
		if c.KMIP != nil {
			block = *c.KMIP
		}
		settings := kmip.Config{
			Name: c.Name, Address: block.Address, Certificate: block.Certificate, Key: block.Key, CA: block.CA,
			Protocol: block.Protocol, Connections: block.Connections, Log: environment.Logger,
		}
		for _, secret := range []struct {
			key   string
			value config.Secret
			to    *string
		}{{"username", block.Username, &settings.Username}, {"password", block.Password, &settings.Password}} {
			if secret.value == "" {
				continue
			}
			value, err := secret.value.Read()
			if err != nil {
				return nil, fmt.Errorf("kmip.%s: %w", secret.key, err)
			}
			*secret.to = string(value)
			clear(value)
		}
		return kmip.New(ctx, settings)
	}
}
