package hsm

import (
	"bytes"
	"context"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// Sign signs or computes a MAC in the token.
func (k *key) Sign(ctx context.Context, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	const operation = "sign"
	if err := k.ready(ctx, operation, m, cryptoki.CKF_SIGN); err != nil {
		return nil, err
	}
	return withKey(ctx, k, operation, func(s *session, o *object) ([]byte, error) {
		data, err := k.signable(o, m, data)
		if err != nil {
			return nil, err
		}
		if m.Type == cryptoki.CKM_RSA_PKCS && len(data) == 0 && k.provider.traits.rawSign {
			// Nobody signs nothing, and opencryptoki refuses it.
			padded := bytes.Repeat([]byte{0xff}, o.size)
			padded[0], padded[1], padded[o.size-1] = 0, 1, 0
			return s.operate(s.SignInit, s.Sign, cryptoki.Mechanism{Type: cryptoki.CKM_RSA_X_509}, o, padded)
		}
		signature, err := s.operate(s.SignInit, s.Sign, m, o, data)
		if params, pss := m.Params.(cryptoki.PSSParams); pss && unsupported(err) && k.provider.traits.rawSign {
			return k.signPadded(s, o, params, data)
		}
		if m.Type == cryptoki.CKM_RSA_X_509 && failed(err) {
			return nil, fault.New(fault.DataInvalid, "the data is no number below the modulus, or the HSM failed: %w", err)
		}
		return signature, err
	})
}

// signable checks the data's length: some libraries write past their buffers when it is wrong. It gives what the
// library is to sign.
func (k *key) signable(o *object, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	switch params := m.Params.(type) {
	case cryptoki.PSSParams:
		if h, ok := mechanism.HashOf(params.Hash); !ok || len(data) != h.Size() {
			return nil, fault.New(fault.DataLenRange, "PSS with %s does not sign %d bytes; pass the whole digest", params.Hash, len(data))
		} else if room := (o.bits+6)/8 - h.Size() - 2; room < 0 || params.SaltLength > uint64(room) {
			return nil, fault.New(fault.MechanismParamInvalid, "a key of %d bits has no room for PSS with %s and %d bytes of salt", o.bits, params.Hash, params.SaltLength)
		}
		return data, nil
	}
	switch m.Type {
	case cryptoki.CKM_RSA_PKCS:
		if len(data) > o.size-11 {
			return nil, fault.New(fault.DataLenRange, "a key of %d bits signs at most %d bytes with CKM_RSA_PKCS, not %d", 8*o.size, o.size-11, len(data))
		}
	case cryptoki.CKM_RSA_X_509:
		if len(data) > o.size {
			return nil, fault.New(fault.DataLenRange, "a key of %d bits signs at most %d bytes with CKM_RSA_X_509, not %d", 8*o.size, o.size, len(data))
		}
		// The standard counts missing bytes as leading zeros; not every token does.
		return append(make([]byte, o.size-len(data)), data...), nil
	case cryptoki.CKM_ECDSA:
		// Only the leading bits count, which is the same signature; tokens differ in what lengths they take.
		return data[:min(len(data), o.curve.Bytes())], nil
	}
	if k.keyType == cryptoki.CKK_GENERIC_SECRET && o.size > 0 {
		// Not every token heeds the sizes that it names.
		if row, _ := k.provider.capabilities.Mechanism(m.Type); uint64(8*o.size) < row.MinSize || uint64(8*o.size) > row.MaxSize {
			return nil, fault.New(fault.KeySizeRange, "%s takes keys of %d to %d bits here, not %d", m.Type, row.MinSize, row.MaxSize, 8*o.size)
		}
	}
	return data, nil
}

// signPadded signs with PSS parameters that the token itself does not do.
func (k *key) signPadded(s *session, o *object, params cryptoki.PSSParams, digest []byte) ([]byte, error) {
	block, err := encodePSS(digest, params, o.bits)
	if err != nil {
		return nil, err
	}
	return s.operate(s.SignInit, s.Sign, cryptoki.Mechanism{Type: cryptoki.CKM_RSA_X_509}, o, block)
}
