package awskms

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/binary"
	"hash"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// Derive computes an ECDH secret. The key derivation function is ours: AWS KMS gives the raw secret.
func (k *key) Derive(ctx context.Context, m cryptoki.Mechanism, length int) ([]byte, error) {
	if err := k.provider.ready(ctx, "derive"); err != nil {
		return nil, err
	}
	if err := k.check(m, cryptoki.CKF_DERIVE); err != nil {
		return nil, err
	}
	params := m.Params.(cryptoki.ECDH1Params)
	if err := stretchable(params, length, k.spec.on.Bytes()); err != nil {
		return nil, err
	}
	point, ok := k.spec.on.Point(params.PublicData)
	if !ok {
		return nil, fault.New(fault.MechanismParamInvalid, "the other side's public key is no uncompressed point of %s", k.spec.on.Name)
	}
	other, err := ecdsa.ParseUncompressedPublicKey(k.spec.on.Elliptic, point)
	if err != nil {
		return nil, fault.New(fault.MechanismParamInvalid, "the other side's public key is not on %s", k.spec.on.Name)
	}
	der, err := x509.MarshalPKIXPublicKey(other)
	if err != nil {
		return nil, fault.New(fault.MechanismParamInvalid, "the other side's public key has no encoding: %w", err)
	}
	out, err := call(ctx, k.provider, "DeriveSharedSecret", k.ref.ARN, k.provider.client.DeriveSharedSecret, &kms.DeriveSharedSecretInput{
		KeyId: &k.ref.ARN, KeyAgreementAlgorithm: types.KeyAgreementAlgorithmSpecEcdh, PublicKey: der,
	})
	if err != nil {
		return nil, k.settle(err)
	}
	defer clear(out.SharedSecret)
	if len(out.SharedSecret) != k.spec.on.Bytes() {
		return nil, fault.New(fault.FunctionFailed, "AWS KMS sent a secret of %d bytes on %s; look at the endpoint", len(out.SharedSecret), k.spec.on.Name)
	}
	return stretch(out.SharedSecret, params, length), nil
}

// maxDerived is more than any key that is derived has.
const maxDerived = 64 << 10

// stretchable tells, before anything is paid for, whether so many bytes can be derived.
func stretchable(params cryptoki.ECDH1Params, length, secret int) error {
	switch {
	case length < 0 || length > maxDerived:
		return fault.New(fault.KeySizeRange, "%d bytes cannot be derived; the most are %d", length, maxDerived)
	case params.KDF == cryptoki.CKD_NULL && length > secret:
		return fault.New(fault.KeySizeRange, "the shared secret has %d bytes, %d are asked for; take a key derivation function", secret, length)
	case params.KDF == cryptoki.CKD_NULL:
		return nil
	}
	if _, _, ok := mechanism.KDFHash(params.KDF); !ok {
		return fault.New(fault.MechanismParamInvalid, "key derivation function %d is not supported", params.KDF)
	}
	return nil
}

// stretch makes the derived bytes of a shared secret.
func stretch(secret []byte, params cryptoki.ECDH1Params, length int) []byte {
	if params.KDF == cryptoki.CKD_NULL {
		if length == 0 {
			length = len(secret)
		}
		// The standard takes bytes from the leading end away.
		return append([]byte(nil), secret[len(secret)-length:]...)
	}
	digest, sp800, _ := mechanism.KDFHash(params.KDF)
	if length == 0 {
		length = digest.Size()
	}
	return expand(digest.New(), sp800, secret, params.SharedData, length)
}

// expand is the key derivation function of ANSI X9.63, or the one of SP 800-56A, which counts before the secret.
func expand(h hash.Hash, sp800 bool, secret, shared []byte, length int) []byte {
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
