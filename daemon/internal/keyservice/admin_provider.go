package keyservice

import (
	"context"
	"maps"
	"slices"

	"github.com/anyhsm/anyhsm/daemon/internal/breaker"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// ListProviders returns the configured providers with their health.
func (s *Service) ListProviders(ctx context.Context, call Call) ([]ProviderSummary, error) {
	if err := administrator(call); err != nil {
		return nil, err
	}
	var list []ProviderSummary
	for _, name := range slices.Sorted(maps.Keys(s.providers)) {
		b, err := s.backend(name)
		if err != nil {
			list = append(list, ProviderSummary{Name: name, Kind: s.providers[name].source.Capabilities().Kind, Detail: err.Error()})
			continue
		}
		p := ProviderSummary{Name: name, Kind: b.capabilities.Kind, Healthy: true, Abilities: abilities(b)}
		for _, m := range b.capabilities.Mechanisms {
			p.Mechanisms = append(p.Mechanisms, Mechanism{Type: m.Type, MinSize: m.MinSize, MaxSize: m.MaxSize, Flags: m.Flags})
		}
		for _, params := range b.capabilities.Curves {
			if c, err := curve.Parse(params); err == nil {
				p.Curves = append(p.Curves, c.Name)
			}
		}
		if err := health(ctx, b); err != nil {
			p.Healthy, p.Detail = false, err.Error()
		} else if b.breaker.Status().State != breaker.Closed {
			p.Healthy, p.Detail = false, b.brokenFault().Error()
		}
		list = append(list, p)
	}
	return list, nil
}

// abilities names what a provider can do beyond generating and using keys.
func abilities(b *backend) (names []string) {
	if _, ok := b.Provider.(provider.Importer); ok {
		names = append(names, "import")
	}
	if _, ok := b.Provider.(provider.Destroyer); ok {
		names = append(names, "destroy")
	}
	if _, ok := b.Provider.(provider.Lister); ok {
		names = append(names, "list")
	}
	if _, ok := b.Provider.(provider.RandomSource); ok {
		names = append(names, "random")
	}
	if _, ok := b.Provider.(provider.HealthChecker); ok {
		names = append(names, "health")
	}
	return names
}

// ListProviderKeys returns a page of the keys that a provider holds, known to us or not.
func (s *Service) ListProviderKeys(ctx context.Context, call Call, name, page string) (keys []ProviderKey, next string, err error) {
	if err := administrator(call); err != nil {
		return nil, "", err
	}
	b, err := s.lister(name)
	if err != nil {
		return nil, "", err
	}
	found, next, err := b.Provider.(provider.Lister).List(ctx, page)
	if err != nil {
		return nil, "", settle(err)
	}
	tokens, err := s.store.Tokens(ctx)
	if err != nil {
		return nil, "", settle(err)
	}
	labels := map[string]string{}
	for _, t := range tokens {
		labels[t.UID] = t.Label
	}
	for _, f := range found {
		k := ProviderKey{Reference: f.Name}
		if f.State != "" {
			k.Label, k.KeyType = f.State, cryptoki.KeyType(cryptoki.Unavailable)
		}
		if len(f.Objects) > 0 {
			first := f.Objects[0]
			k.Label, k.KeyID = string(first.Bytes(cryptoki.CKA_LABEL)), first.Bytes(cryptoki.CKA_ID)
			k.KeyType, _ = first.KeyType()
			k.Bits = uint32(mechanism.Bits(first))
			if class, _ := first.Class(); class == cryptoki.CKO_CERTIFICATE {
				k.KeyType, k.Bits = cryptoki.KeyType(cryptoki.Unavailable), 0
			}
		}
		o, err := s.store.ObjectByRef(ctx, name, f.Ref)
		switch {
		case err == nil:
			k.Token = labels[o.Token]
		case !fault.Is(err, fault.ObjectHandleInvalid):
			return nil, "", settle(err)
		}
		keys = append(keys, k)
	}
	return keys, next, nil
}
