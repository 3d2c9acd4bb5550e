package keyservice

import (
	"context"
	"crypto"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// Sign signs or computes a MAC (C_Sign). hashed: the mechanism hashes and data is the hash already.
func (s *Service) Sign(ctx context.Context, call Call, key KeyRef, m cryptoki.Mechanism, data []byte, hashed bool) (signature []byte, reply Reply, err error) {
	// Whatever happens below is recorded.
	r := begin(call, "sign").with(m)
	defer s.end(ctx, r, &err)

	// May the caller use the token, and who is logged in?
	a, err := s.enterToUse(ctx, call, r)
	if err != nil {
		return nil, Reply{}, err
	}
	// Which key is it, and may the caller see it?
	t, err := s.resolveKey(ctx, a, key, r)
	if err != nil {
		return nil, Reply{}, err
	}
	// Does the key allow this use?
	if err := t.permit(m, cryptoki.CKF_SIGN); err != nil {
		return nil, Reply{}, err
	}
	// What does a provider get to sign?
	raw, input, err := signInput(t, m, data, hashed)
	if err != nil {
		return nil, Reply{}, err
	}
	// Which of the places where the key is can do it?
	t, err = s.able(ctx, t, task{what: "sign", use: cryptoki.CKF_SIGN, asked: m.Type, raw: same(raw), length: len(input)})
	if err != nil {
		return nil, Reply{}, err
	}
	// Does the key want the PIN for each use?
	if err := s.confirm(ctx, a, t, m, data); err != nil {
		return nil, Reply{}, err
	}
	// Where the token's policy says, or at the next place where a provider fails.
	check := s.verifier(a, t)
	signature, err = use(ctx, s, t, "sign", func(ctx context.Context, b *backend, key provider.Signer) ([]byte, error) {
		signature, err := key.Sign(ctx, raw, input)
		if err == nil && check != nil {
			err = check(ctx, b, raw, input, signature)
		}
		return signature, err
	})
	return signature, a.reply, err
}

// signInput turns a mechanism that an application knows into one that a provider does: what hashes is hashed here and
// reduced.
func signInput(t target, m cryptoki.Mechanism, data []byte, hashed bool) (raw cryptoki.Mechanism, input []byte, err error) {
	info, ok := mechanism.Lookup(m.Type)
	switch limit := mechanism.MaxInput(m, cryptoki.CKF_SIGN, t.Attributes); {
	case !ok:
		return m, nil, cryptoki.CKR_MECHANISM_INVALID
	case hashed && !info.Hashing():
		return m, nil, fault.New(fault.ArgumentsBad, "%v does not hash, so its data cannot be hashed already; send the data", m.Type)
	case !hashed && len(data) > limit:
		return m, nil, fault.New(fault.DataLenRange, "%v takes at most %d bytes with this key, not %d; hash the data first", m.Type, limit, len(data))
	}
	raw, input = m, data
	if info.Hashing() {
		if !hashed {
			input = sum(info.Hash, data)
		}
		if raw, input, err = mechanism.Reduce(m, input); err != nil {
			return m, nil, err
		}
	}
	return raw, input, nil
}

func sum(h crypto.Hash, data []byte) []byte {
	digest := h.New()
	digest.Write(data)
	return digest.Sum(nil)
}
