//go:build !no_hsm

package catalog

import (
	"context"
	"fmt"

	"github.com/anyhsm/anyhsm/daemon/internal/config"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/hsm"
)

func init() {
	kinds["hsm"] = func(ctx context.Context, c config.Provider, environment Environment) (provider.Provider, error) {
		var pin []byte
		if c.PIN != "" {
			var err error
			if pin, err = c.PIN.Read(); err != nil {
				return nil, fmt.Errorf("pin: %w", err)
			}
			defer clear(pin)
		}
		return hsm.New(ctx, hsm.Config{
			Name: c.Name, Library: c.Library, TokenLabel: c.Token, Serial: c.Serial, Slot: c.Slot,
			PIN: string(pin), Sessions: c.Sessions, UserType: c.UserType, InitArgs: c.InitArgs, Log: environment.Logger.With("provider", c.Name),
		})
	}
}
