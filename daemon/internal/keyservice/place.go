package keyservice

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// place is one of an object's key references, with the provider that it names.
type place struct {
	*backend
	reference keystore.KeyReference
}

// places returns where the key of an object is, in the order of the references; none for objects that are no private or
// secret keys. A provider that is not configured here, or not open, is left out: another daemon may have it.
func (s *Service) places(o keystore.Object) (places []place, err error) {
	if o.Provider == covered {
		return nil, nil
	}
	for _, reference := range o.References() {
		b, unknown := s.backend(reference.Provider)
		if unknown != nil {
			err = unknown
			continue
		}
		places = append(places, place{backend: b, reference: reference})
	}
	if len(places) > 0 {
		err = nil
	}
	return places, err
}

// backend returns a provider by its name. One that is not open is a fault that says why.
func (s *Service) backend(name string) (*backend, error) {
	if i, ok := s.providers[name]; ok {
		return i.backend()
	}
	return nil, fault.New(fault.FunctionFailed, "the provider %q is not configured on this daemon; add a [[provider]] with this name to its configuration", name)
}

// reference is what the provider of a place finds the key by.
func (t target) reference(p place) provider.Reference {
	attributes := t.Attributes
	if len(p.reference.Mechanisms) > 0 {
		// To its provider, a key that does a part of what the object does is a key of that part.
		allowed := make([]uint64, len(p.reference.Mechanisms))
		for i, m := range p.reference.Mechanisms {
			allowed[i] = uint64(m)
		}
		attributes = attributes.Clone()
		attributes.Set(cryptoki.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS, allowed))
	}
	return provider.Reference{
		Identity: provider.Identity{UID: t.UID, Token: t.Token, Session: t.session}, Ref: p.reference.Ref, Attributes: attributes,
	}
}

// key fetches a key from its provider: the one place where that happens.
func (s *Service) key(ctx context.Context, b *backend, reference provider.Reference) (provider.Key, error) {
	return b.Key(ctx, reference)
}
