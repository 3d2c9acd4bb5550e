package hsm

import (
	"bytes"
	"context"
	"errors"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Destroy destroys a key and its public half in the token. Certificates stay.
func (p *Provider) Destroy(ctx context.Context, reference provider.Reference) error {
	const operation = "destroy the key"
	r, err := parseReference(reference.Ref)
	if err != nil {
		return p.explain(operation, err)
	}
	_, err = do(ctx, p, operation, func(_ context.Context, s *session) (struct{}, error) {
		var none struct{}
		s.forget(reference.Ref)
		// Which key is meant must be clear before anything is destroyed.
		handle, err := s.locate(r)
		gone := errors.Is(err, errGone)
		if err != nil && !gone {
			return none, err
		}
		if r.Class == cryptoki.CKO_PRIVATE_KEY && (!gone || len(r.Public) > 0) {
			// The public half first: while the private one is there a repeated call still finds its way.
			if err := s.destroyHalves(r); err != nil {
				return none, err
			}
		}
		if gone {
			return none, nil
		}
		return none, s.destroy(handle)
	})
	return err
}

// destroyHalves destroys the public keys that belong to a reference.
func (s *session) destroyHalves(r reference) error {
	halves, err := s.find(r.match(cryptoki.CKO_PUBLIC_KEY)...)
	if err != nil {
		return err
	}
	for _, half := range halves {
		has, err := s.read(half, publicTypes...)
		if err != nil {
			return err
		}
		public, _ := normalize(r.KeyType, has)
		if len(r.Public) > 0 && !bytes.Equal(fingerprint(public), r.Public) {
			continue
		}
		if err := s.destroy(half); err != nil {
			return err
		}
	}
	return nil
}

// destroy destroys an object; one that is gone already is no error.
func (s *session) destroy(o pkcs11.ObjectHandle) error {
	err := s.DestroyObject(s.handle, o)
	if is(err, cryptoki.CKR_OBJECT_HANDLE_INVALID) {
		return nil
	}
	return err
}
