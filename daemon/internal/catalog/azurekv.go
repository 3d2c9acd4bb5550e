//go:build !no_azurekv

package catalog

import (
	"context"
	"fmt"

	"github.com/anyhsm/anyhsm/daemon/internal/config"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/azurekv"
)

func init() {
	kinds["azurekv"] = func(ctx context.Context, c config.Provider, environment Environment) (provider.Provider, error) {
		block := config.AzureKV{}
		if c.AzureKV != nil {
			block = *c.AzureKV
		}
		settings := azurekv.Config{
			Name: c.Name, VaultURL: block.VaultURL, HSM: block.HSM, Premium: block.Premium, TenantID: block.TenantID,
			ClientID: block.ClientID, Authority: block.Authority, Purge: block.Purge,
			Log: environment.Logger.With("provider", c.Name),
		}
		if block.ClientSecret != "" {
			secret, err := block.ClientSecret.Read()
			if err != nil {
				return nil, fmt.Errorf("azurekv.client_secret: %w", err)
			}
			settings.ClientSecret = string(secret)
		}
		if block.ClientCertificate != "" {
			certificate, err := block.ClientCertificate.Read()
			if err != nil {
				return nil, fmt.Errorf("azurekv.client_certificate: %w", err)
			}
			defer clear(certificate)
			settings.ClientCertificate = certificate
		}
		return azurekv.New(ctx, settings)
	}
}
