package keyservice

import (
	"context"
	"crypto/hmac"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// Verify checks a MAC with a secret key (C_Verify). Signatures are verified by the module, which has the public key;
// for front ends without one it is done here as well.
func (s *Service) Verify(ctx context.Context, call Call, key KeyRef, m cryptoki.Mechanism, data, signature []byte) (reply Reply, err error) {
	r := begin(call, "verify").with(m)
	defer s.end(ctx, r, &err)

	a, err := s.enterToUse(ctx, call, r)
	if err != nil {
		return Reply{}, err
	}
	t, err := s.resolveKey(ctx, a, key, r)
	if err != nil {
		return Reply{}, err
	}
	if err := t.permit(m, cryptoki.CKF_VERIFY); err != nil {
		return Reply{}, err
	}
	if len(t.places) == 0 {
		return a.reply, verifyPublic(t, m, data, signature)
	}
	raw, input, err := signInput(t, m, data, false)
	if err != nil {
		return Reply{}, err
	}
	t, err = s.able(ctx, t, task{what: "verify", use: cryptoki.CKF_SIGN, asked: m.Type, raw: same(raw), length: len(input)})
	if err != nil {
		return Reply{}, err
	}
	right, err := use(ctx, s, t, "verify", func(ctx context.Context, _ *backend, key provider.Signer) ([]byte, error) {
		return key.Sign(ctx, raw, input)
	})
	if err != nil {
		return Reply{}, err
	}
	switch {
	case len(signature) != len(right):
		return Reply{}, cryptoki.CKR_SIGNATURE_LEN_RANGE
	case !hmac.Equal(signature, right):
		return Reply{}, cryptoki.CKR_SIGNATURE_INVALID
	}
	return a.reply, nil
}

// verifyPublic verifies with a public key, for which no provider is needed.
func verifyPublic(t target, m cryptoki.Mechanism, data, signature []byte) error {
	public, err := softkey.FromAttributes(t.Attributes)
	if err != nil {
		return err
	}
	if info, ok := mechanism.Lookup(m.Type); ok && info.Hashing() {
		if m, data, err = mechanism.Reduce(m, sum(info.Hash, data)); err != nil {
			return err
		}
	}
	return public.Verify(m, data, signature)
}
