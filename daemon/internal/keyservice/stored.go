package keyservice

import (
	"context"
	"slices"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// covered stands where the provider's name would: the reference is the object's own value, sealed. No provider can have
// such a name.
const covered = "(sealed)"

// load reads a token object.
func (s *Service) load(ctx context.Context, a access, id uint64) (keystore.Object, error) {
	read := s.store.Object
	if a.using {
		read = s.store.CurrentObject
	}
	o, err := read(ctx, a.token.UID, id)
	if err != nil {
		return keystore.Object{}, err
	}
	return o, s.uncover(ctx, &o)
}

// cover seals what a private data object holds, so that the store never has it in clear: such objects keep passwords
// and the like.
func (s *Service) cover(ctx context.Context, o *keystore.Object) error {
	if !isPrivateData(o.Attributes) {
		return nil
	}
	value, ok := o.Attributes.Get(cryptoki.CKA_VALUE)
	if !ok {
		o.Provider, o.Ref = "", nil
		return nil
	}
	sealed, err := s.keyring.Seal(ctx, o.Token, value, dataAAD(o.UID))
	if err != nil {
		return err
	}
	o.Attributes = o.Attributes.Clone()
	o.Attributes.Remove(cryptoki.CKA_VALUE)
	o.Provider, o.Ref = covered, sealed
	return nil
}

// uncover undoes cover.
func (s *Service) uncover(ctx context.Context, o *keystore.Object) error {
	if o.Provider != covered {
		return nil
	}
	value, err := s.keyring.Open(ctx, o.Token, o.Ref, dataAAD(o.UID))
	if err != nil {
		return err
	}
	// A copy: the attributes may be those in the store's cache.
	o.Attributes = append(slices.Clip(o.Attributes), cryptoki.Bytes(cryptoki.CKA_VALUE, value))
	o.Provider, o.Ref = "", nil
	return nil
}

func isPrivateData(attributes cryptoki.Attributes) bool {
	class, _ := attributes.Class()
	return class == cryptoki.CKO_DATA && attributes.Bool(cryptoki.CKA_PRIVATE)
}

func dataAAD(uid string) []byte { return []byte("data object " + uid) }

// shown is a token object as applications see it.
func (s *Service) shown(o keystore.Object) Object {
	if o.Attributes.Has(cryptoki.CKA_ANYHSM_PROVIDER) && o.Provider != "" {
		// The key may have moved since its template named the provider.
		o.Attributes = o.Attributes.Clone()
		o.Attributes.Set(cryptoki.String(cryptoki.CKA_ANYHSM_PROVIDER, o.Provider))
	}
	return Object{ID: o.ID, Attributes: o.Attributes, Limits: s.limits(o)}
}
