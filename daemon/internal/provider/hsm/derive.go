package hsm

import (
	"context"
	"crypto/ecdsa"
	"encoding/binary"
	"hash"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// Derive computes an ECDH secret in the token. The token makes a session object of it, which is read and destroyed. The
// key derivation function is ours: most tokens have none.
func (k *key) Derive(ctx context.Context, m cryptoki.Mechanism, length int) ([]byte, error) {
	const operation = "derive"
	if err := k.ready(ctx, operation, m, cryptoki.CKF_DERIVE); err != nil {
		return nil, err
	}
	params, ok := m.Params.(cryptoki.ECDH1Params)
	if !ok || length < 0 {
		return nil, k.provider.explain(operation, fault.New(fault.MechanismParamInvalid, "%s needs CK_ECDH1_DERIVE_PARAMS", m.Type))
	}
	return withKey(ctx, k, operation, func(s *session, o *object) ([]byte, error) {
		point, ok := o.curve.Point(params.PublicData)
		if !ok {
			return nil, fault.New(fault.MechanismParamInvalid, "the other side's public key is no uncompressed point of %s", o.curve.Name)
		}
		if _, err := ecdsa.ParseUncompressedPublicKey(o.curve.Elliptic, point); err != nil {
			return nil, fault.New(fault.MechanismParamInvalid, "the other side's public key is not on %s", o.curve.Name)
		}
		secret, err := s.agree(o, point)
		if err != nil {
			return nil, err
		}
		defer clear(secret)
		return stretch(secret, params, length)
	})
}

// agree returns the shared secret with a point, as long as the curve's field.
func (s *session) agree(o *object, point []byte) ([]byte, error) {
	m := cryptoki.Mechanism{Type: cryptoki.CKM_ECDH1_DERIVE, Params: cryptoki.ECDH1Params{KDF: cryptoki.CKD_NULL, PublicData: point}}
	var handle pkcs11.ObjectHandle
	err := with(m, func(mechanism []*pkcs11.Mechanism) (err error) {
		handle, err = s.DeriveKey(s.handle, mechanism, o.handle, template(
			cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY),
			cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_GENERIC_SECRET),
			cryptoki.Bool(cryptoki.CKA_TOKEN, false),
			cryptoki.Bool(cryptoki.CKA_SENSITIVE, false),
			cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, true),
			cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, uint64(o.curve.Bytes())),
		))
		return err
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.DestroyObject(s.handle, handle) }()
	value, err := s.read(handle, cryptoki.CKA_VALUE)
	if err != nil {
		return nil, err
	}
	secret := value.Bytes(cryptoki.CKA_VALUE)
	if len(secret) == 0 || len(secret) > o.curve.Bytes() {
		return nil, fault.New(fault.FunctionFailed, "the HSM does not reveal derived secrets; use a key of provider software for ECDH")
	}
	// Some libraries leave the leading zeros out.
	return append(make([]byte, o.curve.Bytes()-len(secret)), secret...), nil
}

// maxDerived is more than any key that is derived has.
const maxDerived = 64 << 10

// stretch makes the derived bytes of a shared secret.
func stretch(secret []byte, params cryptoki.ECDH1Params, length int) ([]byte, error) {
	if params.KDF == cryptoki.CKD_NULL {
		if length > len(secret) {
			return nil, fault.New(fault.KeySizeRange, "the shared secret has %d bytes, %d are asked for; take a key derivation function", len(secret), length)
		}
		if length == 0 {
			length = len(secret)
		}
		// The standard takes bytes from the leading end away.
		return append([]byte(nil), secret[len(secret)-length:]...), nil
	}
	digest, sp800, ok := mechanism.KDFHash(params.KDF)
	if !ok {
		return nil, fault.New(fault.MechanismParamInvalid, "key derivation function %d is not supported", params.KDF)
	}
	if length == 0 {
		length = digest.Size()
	}
	if length > maxDerived {
		return nil, fault.New(fault.KeySizeRange, "%d bytes are more than can be derived here", length)
	}
	return derived(digest.New(), sp800, secret, params.SharedData, length), nil
}

// derived is the key derivation function of ANSI X9.63, or of SP 800-56A, which counts before the secret.
func derived(h hash.Hash, sp800 bool, secret, shared []byte, length int) []byte {
	out := make([]byte, 0, length+h.Size())
	for i := uint32(1); len(out) < length; i++ {
		counter := binary.BigEndian.AppendUint32(nil, i)
		h.Reset()
		if sp800 {
			h.Write(counter)
		}
		h.Write(secret)
		if !sp800 {
			h.Write(counter)
		}
		h.Write(shared)
		out = h.Sum(out)
	}
	return out[:length]
}
