package keyservice

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// importing makes a maker that brings key material into a provider. The attributes are the open ones.
func (s *Service) importing(attributes, secret cryptoki.Attributes) maker {
	return func(ctx context.Context, b *backend, identity provider.Identity) (made, error) {
		importer, ok := b.Provider.(provider.Importer)
		if !ok {
			s.log.Warn("the provider takes no keys from outside", "provider", b.name, "kind", b.capabilities.Kind, "token", identity.Token)
			return made{}, fault.New(fault.ActionProhibited, "the token's provider takes no keys from outside; generate the key in the token, or use a session object")
		}
		generated, err := ask(ctx, s, b, "import", func(ctx context.Context) (provider.Generated, error) {
			return importer.Import(ctx, identity, append(attributes.Clone(), secret.Clone()...))
		})
		return made{Generated: generated}, err
	}
}

// export reveals a key's secret values to this package, which brings them into another provider or hands them to who
// may read them. The caller wipes them.
func (s *Service) export(ctx context.Context, t target) (secret cryptoki.Attributes, err error) {
	for _, p := range t.places {
		// One of them may be able to where the others are not.
		if secret, err = s.exportFrom(ctx, t, p); err == nil {
			return secret, nil
		}
	}
	return nil, err
}

func (s *Service) exportFrom(ctx context.Context, t target, p place) (cryptoki.Attributes, error) {
	key, err := s.key(ctx, p.backend, t.reference(p))
	if err != nil {
		return nil, err
	}
	exporter, ok := key.(provider.Exporter)
	if !ok {
		return nil, fault.New(fault.ActionProhibited, "the key cannot leave its provider, which has no way to copy it; generate a new key, or use this one")
	}
	return exporter.Export(ctx)
}

func wipe(secret cryptoki.Attributes) {
	for _, a := range secret {
		clear(a.Value)
	}
}
