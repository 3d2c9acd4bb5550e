//go:build !no_awskms

package catalog

import (
	"context"
	"fmt"

	"github.com/anyhsm/anyhsm/daemon/internal/config"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/awskms"
)

func init() {
	kinds["awskms"] = func(ctx context.Context, c config.Provider, environment Environment) (provider.Provider, error) {
		block := config.AWSKMS{}
		if c.AWSKMS != nil {
			block = *c.AWSKMS
		}
		settings := awskms.Config{
			Name: c.Name, Region: block.Region, Endpoint: block.Endpoint, Profile: block.Profile,
			RoleARN: block.RoleARN, ExternalID: block.ExternalID, DeletionDays: block.DeletionDays,
			Log: environment.Logger.With("provider", c.Name),
		}
		for _, secret := range []struct {
			key   string
			value config.Secret
			to    *string
		}{
			{"access_key_id", block.AccessKeyID, &settings.AccessKeyID},
			{"secret_access_key", block.SecretAccessKey, &settings.SecretAccessKey},
			{"session_token", block.SessionToken, &settings.SessionToken},
		} {
			if secret.value == "" {
				continue
			}
			value, err := secret.value.Read()
			if err != nil {
				return nil, fmt.Errorf("awskms.%s: %w", secret.key, err)
			}
			*secret.to = string(value)
		}
		return awskms.New(ctx, settings)
	}
}
