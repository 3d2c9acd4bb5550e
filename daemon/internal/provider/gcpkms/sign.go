package gcpkms

import (
	"context"

	"cloud.google.com/go/kms/apiv1/kmspb"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/signature"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

var (
	useToSign    = permission{name: "cloudkms.cryptoKeyVersions.useToSign"}
	useToDecrypt = permission{name: "cloudkms.cryptoKeyVersions.useToDecrypt"}
	useToEncrypt = permission{name: "cloudkms.cryptoKeyVersions.useToEncrypt"}
)

// Sign signs a digest, a DigestInfo or a message, or computes an HMAC.
func (k *key) Sign(ctx context.Context, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	if err := k.provider.ready(ctx, "sign"); err != nil {
		return nil, err
	}
	if err := k.check(m, cryptoki.CKF_SIGN); err != nil {
		return nil, err
	}
	if k.algorithm.purpose == kmspb.CryptoKey_MAC {
		return k.mac(ctx, m, data)
	}
	request, err := k.request(ctx, m, data)
	if err != nil {
		return nil, err
	}
	var made []byte
	p := k.provider
	_, err = exchange(ctx, p, useToSign, k.version, p.client.AsymmetricSign, request, func(r *kmspb.AsymmetricSignResponse) bool {
		if r.GetName() != k.version || !intact(r.GetSignature(), r.GetSignatureCrc32C()) ||
			request.Digest != nil && !r.GetVerifiedDigestCrc32C() || request.Data != nil && !r.GetVerifiedDataCrc32C() {
			return false
		}
		made = r.GetSignature()
		if k.algorithm.mechanism == cryptoki.CKM_ECDSA {
			var malformed error
			if made, malformed = signature.FromDER(made, k.algorithm.curve.Bytes()); malformed != nil {
				return false
			}
		}
		return k.genuine(m, data, made)
	})
	if err != nil {
		return nil, k.settle(err)
	}
	return made, nil
}

// genuine tells whether a signature is this key's. What the object has as its public half decides, so that another key
// under the same name is noticed.
func (k *key) genuine(m cryptoki.Mechanism, data, made []byte) bool {
	known := k.publicAttributes()
	if known == nil {
		return true // Nothing is known to compare with.
	}
	verifier := provider.PublicHalf(k.algorithm.keyType, known)
	return verifier != nil && verifier.Verify(m, data, made) == nil
}

// publicAttributes are those that tell the public half: the object's, or the service's. Nil if neither is known.
func (k *key) publicAttributes() cryptoki.Attributes {
	known := k.reference.Attributes
	for _, t := range []cryptoki.AttributeType{cryptoki.CKA_MODULUS, cryptoki.CKA_EC_POINT, cryptoki.CKA_PUBLIC_KEY_INFO} {
		if len(known.Bytes(t)) > 0 {
			return known
		}
	}
	return k.provider.keys.public(k.version)
}

// request brings what the application signs into the form that the key's algorithm takes.
func (k *key) request(ctx context.Context, m cryptoki.Mechanism, data []byte) (*kmspb.AsymmetricSignRequest, error) {
	a := k.algorithm
	switch a.mechanism {
	case cryptoki.CKM_RSA_PKCS:
		if most := int(a.size/8) - 11; len(data) > most {
			return nil, fault.New(fault.DataLenRange, "a key of %d bits signs at most %d bytes with %s, not %d", a.size, most, m.Type, len(data))
		}
		if a.digest == 0 {
			return k.whole(data)
		}
		digest, value, err := signature.Strip(data)
		if err != nil {
			return nil, err
		}
		if digest != a.digest {
			return nil, fault.New(fault.DataInvalid, "Google Cloud KMS made this key for %s alone, and the application signs a DigestInfo of %s; make a key of RSA_SIGN_RAW_PKCS1_%d for that", a.id, digest, a.size)
		}
		return k.hashed(digest, value)
	case cryptoki.CKM_RSA_PKCS_PSS:
		digest, _ := digestOf(m)
		if h, _ := mechanism.HashOf(digest); len(data) != h.Size() {
			return nil, fault.New(fault.DataLenRange, "%s with %s signs %d bytes, not %d", m.Type, digest, h.Size(), len(data))
		}
		return k.hashed(digest, data)
	case cryptoki.CKM_ECDSA:
		digest := cryptoki.CKM_SHA256
		if a.curve.Bits == 384 {
			digest = cryptoki.CKM_SHA384
		}
		fitted, err := signature.Fit(data, a.curve.Bytes(), a.curve.Bits)
		if err != nil {
			return nil, err
		}
		return k.hashed(digest, fitted)
	}
	if a.mechanism == cryptoki.CKM_ML_DSA {
		return k.lattice(ctx, m, data)
	}
	if params, ok := m.Params.(cryptoki.EDDSAParams); ok && (params.Prehash || len(params.Context) > 0) {
		return nil, fault.New(fault.MechanismParamInvalid, "Google Cloud KMS signs Ed25519 without a context and not prehashed")
	}
	return k.whole(data)
}

// lattice is a request for an ML-DSA signature, of the message's representative µ where the algorithm takes that. The
// service's signatures are hedged.
func (k *key) lattice(ctx context.Context, m cryptoki.Mechanism, data []byte) (*kmspb.AsymmetricSignRequest, error) {
	params, _ := m.Params.(cryptoki.SignContextParams)
	switch {
	case params.Hedge == cryptoki.CKH_DETERMINISTIC_REQUIRED:
		return nil, fault.New(fault.MechanismParamInvalid, "Google Cloud KMS makes hedged ML-DSA signatures alone; let the application ask for CKH_HEDGE_PREFERRED")
	case !k.algorithm.mu && len(params.Context) > 0:
		return nil, fault.New(fault.MechanismParamInvalid, "Google Cloud KMS signs no context with a key of %s; make one of %s_EXTERNAL_MU", k.algorithm.id, k.algorithm.id)
	case !k.algorithm.mu:
		return k.whole(data)
	}
	_, public, ok := parameterset.ParsePublicKeyInfo(k.publicAttributes().Bytes(cryptoki.CKA_PUBLIC_KEY_INFO))
	if !ok {
		known, err := k.provider.public(ctx, k.version, k.algorithm)
		if err != nil {
			return nil, k.settle(err)
		}
		public = known.Bytes(cryptoki.CKA_VALUE)
	}
	mu := parameterset.Mu(public, params.Context, data)
	return &kmspb.AsymmetricSignRequest{
		Name: k.version, Digest: &kmspb.Digest{Digest: &kmspb.Digest_ExternalMu{ExternalMu: mu}}, DigestCrc32C: checksum(mu),
	}, nil
}

// whole is a request with data that the service takes as they are.
func (k *key) whole(data []byte) (*kmspb.AsymmetricSignRequest, error) {
	if err := k.fits(len(data)); err != nil {
		return nil, err
	}
	return &kmspb.AsymmetricSignRequest{Name: k.version, Data: data, DataCrc32C: checksum(data)}, nil
}

// fits refuses data that the service does not take in one call.
func (k *key) fits(length int) error {
	if length == 0 {
		return fault.New(fault.DataLenRange, "Google Cloud KMS signs no empty data")
	}
	if length > k.provider.limit {
		return fault.New(fault.DataLenRange, "Google Cloud KMS takes at most %d bytes with keys of protection level %s, not %d", k.provider.limit, k.provider.level, length)
	}
	return nil
}

// hashed is a request with a digest.
func (k *key) hashed(digest cryptoki.MechanismType, value []byte) (*kmspb.AsymmetricSignRequest, error) {
	request := &kmspb.AsymmetricSignRequest{Name: k.version, Digest: &kmspb.Digest{}, DigestCrc32C: checksum(value)}
	switch digest {
	case cryptoki.CKM_SHA256:
		request.Digest.Digest = &kmspb.Digest_Sha256{Sha256: value}
	case cryptoki.CKM_SHA384:
		request.Digest.Digest = &kmspb.Digest_Sha384{Sha384: value}
	case cryptoki.CKM_SHA512:
		request.Digest.Digest = &kmspb.Digest_Sha512{Sha512: value}
	default:
		return nil, fault.New(fault.MechanismParamInvalid, "Google Cloud KMS takes no digest of %s", digest)
	}
	return request, nil
}

// mac computes an HMAC.
func (k *key) mac(ctx context.Context, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	if err := k.fits(len(data)); err != nil {
		return nil, err
	}
	h, _ := mechanism.HashOf(k.algorithm.mechanism)
	length := h.Size()
	if params, ok := m.Params.(cryptoki.MACGeneralParams); ok {
		if params.Length > uint64(length) {
			return nil, fault.New(fault.MechanismParamInvalid, "%s gives at most %d bytes, not %d", m.Type, length, params.Length)
		}
		length = int(params.Length)
	}
	p := k.provider
	request := &kmspb.MacSignRequest{Name: k.version, Data: data, DataCrc32C: checksum(data)}
	answer, err := exchange(ctx, p, useToSign, k.version, p.client.MacSign, request, func(r *kmspb.MacSignResponse) bool {
		return r.GetName() == k.version && intact(r.GetMac(), r.GetMacCrc32C()) && r.GetVerifiedDataCrc32C()
	})
	if err != nil {
		return nil, k.settle(err)
	}
	if len(answer.GetMac()) != h.Size() {
		return nil, fault.New(fault.DeviceError, "the MAC that Google Cloud KMS sent has %d bytes, not %d; look at the endpoint", len(answer.GetMac()), h.Size())
	}
	return answer.GetMac()[:length], nil
}
