package hsm

import (
	"context"

	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/miekg/pkcs11"
)

// Health tells whether the token would serve: a session can be had and the login holds.
func (p *Provider) Health(ctx context.Context) error {
	const operation = "answer"
	_, err := do(ctx, p, operation, func(_ context.Context, s *session) (struct{}, error) {
		var none struct{}
		if _, err := s.GetTokenInfo(s.link.slot); err != nil {
			return none, err
		}
		in, err := loggedIn(s.client, s.handle)
		if err == nil && !in && p.config.PIN != "" {
			return none, pkcs11.Error(pkcs11.CKR_USER_NOT_LOGGED_IN)
		}
		return none, err
	})
	return err
}

// maxRandom is how many random bytes are asked for at once: tokens have limits that they do not tell.
const maxRandom = 1024

// Random returns random bytes of the token's own generator.
func (p *Provider) Random(ctx context.Context, length int) ([]byte, error) {
	const operation = "make random numbers"
	if length < 0 || length > 1<<20 {
		return nil, p.explain(operation, fault.New(fault.ArgumentsBad, "%d random bytes cannot be had at once; ask for at most 1 MiB", length))
	}
	if length == 0 {
		return []byte{}, nil
	}
	return do(ctx, p, operation, func(_ context.Context, s *session) ([]byte, error) {
		out := make([]byte, 0, length)
		for len(out) < length {
			some, err := s.GenerateRandom(s.handle, min(length-len(out), maxRandom))
			if err != nil {
				return nil, err
			}
			out = append(out, some...)
		}
		return out, nil
	})
}
