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
	_, err = do(ctx, p, operation, func(ctx context.Context, s *session) (struct{}, error) {
		s.forget(reference.Ref)
		for attempt := 1; ; attempt++ {
			err := s.destroyKey(r)
			// Somebody else has destroyed it, or the handle means nothing any more: opencryptoki loses handles while
			// another session destroys something. Looking again tells which.
			if !is(err, cryptoki.CKR_OBJECT_HANDLE_INVALID) || attempt == makeAttempts || ctx.Err() != nil {
				return struct{}{}, err
			}
		}
	})
	return err
}

// destroyKey destroys the objects of a reference.
func (s *session) destroyKey(r reference) error {
	// Which key is meant must be clear before anything is destroyed.
	handle, err := s.locate(r)
	gone := errors.Is(err, errGone)
	if err != nil && !gone {
		return err
	}
	if r.Class == cryptoki.CKO_PRIVATE_KEY && (!gone || len(r.Public) > 0) {
		// The public half first: while the private one is there a repeated call still finds its way.
		if err := s.destroyHalves(r); err != nil {
			return err
		}
	}
	if gone {
		return nil
	}
	return s.DestroyObject(s.handle, handle)
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
		if err := s.DestroyObject(s.handle, half); err != nil {
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
