//go:build !no_vault

package catalog

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/config"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/vault"
)

func init() {
	kinds["vault"] = func(ctx context.Context, c config.Provider, environment Environment) (provider.Provider, error) {
		block := config.Vault{}
		if c.Vault != nil {
			block = *c.Vault
		}
		settings := vault.Config{
			Name: c.Name, Address: block.Address, Namespace: block.Namespace, Mount: block.Mount, CA: block.CA, ServerName: block.ServerName,
			Certificate: block.Certificate, Key: block.Key, Login: block.Method(), LoginMount: block.LoginMount, Role: block.Role,
			RoleID: block.RoleID, ServiceToken: block.ServiceToken, Log: environment.Logger.With("provider", c.Name),
		}
		if settings.ServiceToken == "" {
			settings.ServiceToken = config.ServiceTokenFile
		}
		// They are read with each login, because agents replace them.
		if block.Token != "" {
			settings.Token = block.Token.Read
		}
		if block.SecretID != "" {
			settings.SecretID = block.SecretID.Read
		}
		return vault.New(ctx, settings)
	}
}
