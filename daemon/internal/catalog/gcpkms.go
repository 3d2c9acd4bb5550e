//go:build !no_gcpkms

package catalog

import (
	"context"
	"fmt"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/config"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/gcpkms"
)

func init() {
	kinds["gcpkms"] = func(ctx context.Context, c config.Provider, environment Environment) (provider.Provider, error) {
		block := config.GCPKMS{}
		if c.GCPKMS != nil {
			block = *c.GCPKMS
		}
		settings := gcpkms.Config{
			Name: c.Name, KeyRing: block.KeyRing, Endpoint: block.Endpoint, ProtectionLevel: block.ProtectionLevel,
			RSASigning: block.RSASigning, DestroyAfter: time.Duration(block.DestroyAfter), Log: environment.Logger.With("provider", c.Name),
		}
		if block.Credentials != "" {
			file, err := block.Credentials.Read()
			if err != nil {
				return nil, fmt.Errorf("gcpkms.credentials: %w", err)
			}
			settings.Credentials = file
		}
		return gcpkms.New(ctx, settings)
	}
}
