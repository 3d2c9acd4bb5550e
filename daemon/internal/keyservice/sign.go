package keyservice

import (
	"context"
	"crypto"

	"github.com/anyhsm/anyhsm/daemon/internal/policy"
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
	a, err := s.enter(ctx, call, r, policy.Use)
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
	// What does the provider get to sign?
	signer, err := open[provider.Signer](ctx, t, "sign")
	if err != nil {
		return nil, Reply{}, err
	}
	input, err := s.signInput(ctx, t, m, data, hashed)
	if err != nil {
		return nil, Reply{}, err
	}
	// Does the key want the PIN for each use?
	if err := s.confirm(ctx, a, t, m, data); err != nil {
		return nil, Reply{}, err
	}
	signature, err = signer.Sign(ctx, input.mechanism, input.data)
	if err != nil {
		return nil, Reply{}, err
	}
	return input.cut(signature), a.reply, nil
}

// signInput is what a provider's Signer gets.
type signInput struct {
	mechanism cryptoki.Mechanism
	data      []byte
	// length is that of a MAC which is cut short; 0 for all of it.
	length int
}

func (i signInput) cut(signature []byte) []byte {
	if i.length > 0 && i.length < len(signature) {
		return signature[:i.length]
	}
	return signature
}

// signInput turns a mechanism that an application knows into one that a provider does: hashing ones are hashed here
// and reduced, a CKM_SHAx_HMAC_GENERAL is a CKM_SHAx_HMAC cut short.
func (s *Service) signInput(ctx context.Context, t target, m cryptoki.Mechanism, data []byte, hashed bool) (signInput, error) {
	info, ok := mechanism.Lookup(m.Type)
	if !ok {
		return signInput{}, cryptoki.CKR_MECHANISM_INVALID
	}
	in := signInput{mechanism: m, data: data}
	if general, ok := m.Params.(cryptoki.MACGeneralParams); ok && info.Base != m.Type {
		in.mechanism, in.length = cryptoki.Mechanism{Type: info.Base}, int(general.Length)
		info.Base, info.Hash = m.Type, 0
	}
	switch {
	case info.Hash != 0 && info.Base != m.Type:
		digest := data
		if !hashed {
			if digest, ok = sum(info.Hash, data); !ok {
				return signInput{}, cryptoki.CKR_MECHANISM_INVALID
			}
		}
		var err error
		if in.mechanism, in.data, err = mechanism.Reduce(m, digest); err != nil {
			return signInput{}, err
		}
	case hashed:
		return signInput{}, fault.New(fault.ArgumentsBad, "%v does not hash, so its data cannot be hashed already; send the data", m.Type)
	case len(data) > mechanism.MaxInput(m, cryptoki.CKF_SIGN, t.Attributes):
		return signInput{}, fault.New(fault.DataLenRange, "%v takes at most %d bytes with this key, not %d; hash the data first", m.Type, mechanism.MaxInput(m, cryptoki.CKF_SIGN, t.Attributes), len(data))
	}
	if err := s.limited(ctx, t.backend, in.mechanism.Type, cryptoki.CKF_SIGN); err != nil {
		return signInput{}, err
	}
	return in, t.backend.limitedData(len(in.data))
}

func sum(h crypto.Hash, data []byte) ([]byte, bool) {
	if !h.Available() {
		return nil, false
	}
	digest := h.New()
	digest.Write(data)
	return digest.Sum(nil), true
}
