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
		if r.Class == cryptoki.CKO_PRIVATE_KEY {
			// The public half first: while the private one is there a repeated call still finds its way.
			halves, err := s.find(r.match(cryptoki.CKO_PUBLIC_KEY)...)
			if err != nil {
				return none, err
			}
			for _, half := range halves {
				has, err := s.read(half, publicTypes...)
				if err != nil {
					return none, err
				}
				public, _ := normalize(r.KeyType, has)
				if len(r.Public) > 0 && !bytes.Equal(fingerprint(public), r.Public) {
					continue
				}
				if err := s.destroy(half); err != nil {
					return none, err
				}
			}
		}
		handle, err := s.locate(r)
		if errors.Is(err, errGone) {
			return none, nil
		}
		if err != nil {
			return none, err
		}
		return none, s.destroy(handle)
	})
	return err
}

// destroy destroys an object; one that is gone already is no error.
func (s *session) destroy(o pkcs11.ObjectHandle) error {
	err := s.DestroyObject(s.handle, o)
	if is(err, cryptoki.CKR_OBJECT_HANDLE_INVALID) {
		return nil
	}
	return err
}
