package keyservice

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// covered stands where the provider's name would: the reference is the object's own value, sealed. No provider can have
// such a name.
const covered = "(sealed)"

// load reads a token object.
func (s *Service) load(ctx context.Context, token string, id uint64) (keystore.Object, error) {
	o, err := s.store.Object(ctx, token, id)
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
	o.Attributes.Set(cryptoki.Bytes(cryptoki.CKA_VALUE, value))
	o.Provider, o.Ref = "", nil
	return nil
}

func isPrivateData(attributes cryptoki.Attributes) bool {
	class, _ := attributes.Class()
	return class == cryptoki.CKO_DATA && attributes.Bool(cryptoki.CKA_PRIVATE)
}

func dataAAD(uid string) []byte { return []byte("data object " + uid) }

// shown is a token object as applications see it.
func shown(o keystore.Object) Object { return Object{ID: o.ID, Attributes: o.Attributes} }
