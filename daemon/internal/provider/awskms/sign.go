package awskms

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/signature"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/parameterset"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// pkcs1 and pss are AWS's names of the RSA signatures with a hash.
var (
	pkcs1 = map[cryptoki.MechanismType]types.SigningAlgorithmSpec{
		cryptoki.CKM_SHA256: types.SigningAlgorithmSpecRsassaPkcs1V15Sha256,
		cryptoki.CKM_SHA384: types.SigningAlgorithmSpecRsassaPkcs1V15Sha384,
		cryptoki.CKM_SHA512: types.SigningAlgorithmSpecRsassaPkcs1V15Sha512,
	}
	pss = map[cryptoki.MechanismType]types.SigningAlgorithmSpec{
		cryptoki.CKM_SHA256: types.SigningAlgorithmSpecRsassaPssSha256,
		cryptoki.CKM_SHA384: types.SigningAlgorithmSpecRsassaPssSha384,
		cryptoki.CKM_SHA512: types.SigningAlgorithmSpecRsassaPssSha512,
	}
)

// Sign signs, or computes a MAC.
func (k *key) Sign(ctx context.Context, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	if err := k.provider.ready(ctx, "sign"); err != nil {
		return nil, err
	}
	if err := k.check(m, cryptoki.CKF_SIGN); err != nil {
		return nil, err
	}
	if !k.spec.private() {
		return k.mac(ctx, m, data)
	}
	in, err := k.message(ctx, m, data)
	if err != nil {
		return nil, err
	}
	in.KeyId = &k.ref.ARN
	out, err := call(ctx, k.provider, "Sign", k.ref.ARN, k.provider.client.Sign, in)
	if err != nil {
		return nil, k.settle(err)
	}
	made := out.Signature
	if k.spec.keyType == cryptoki.CKK_EC {
		if made, err = signature.FromDER(made, k.spec.on.Bytes()); err != nil {
			return nil, err
		}
	}
	return made, k.verify(m, data, made, aws.ToString(out.KeyId))
}

// message turns a mechanism and its data into what AWS KMS calls it. All but Ed25519 and ML-DSA is hashed already.
func (k *key) message(ctx context.Context, m cryptoki.Mechanism, data []byte) (*kms.SignInput, error) {
	in := &kms.SignInput{Message: data, MessageType: types.MessageTypeDigest, SigningAlgorithm: k.spec.algorithm}
	switch m.Type {
	case cryptoki.CKM_RSA_PKCS:
		if most := int(k.spec.bits/8) - 11; len(data) > most {
			return nil, fault.New(fault.DataLenRange, "%d bytes are more than the %d that fit under the padding of this key", len(data), most)
		}
		digest, value, err := signature.Strip(data)
		if err != nil {
			return nil, err
		}
		var ok bool
		if in.SigningAlgorithm, ok = pkcs1[digest]; !ok {
			return nil, fault.New(fault.DataInvalid, "AWS KMS signs no %s with RSA; let the application take SHA-256, SHA-384 or SHA-512", digest)
		}
		in.Message = value
	case cryptoki.CKM_RSA_PKCS_PSS:
		hash := m.Params.(cryptoki.PSSParams).Hash
		if h, _ := mechanism.HashOf(hash); len(data) != h.Size() {
			return nil, fault.New(fault.DataLenRange, "a digest of %s has %d bytes, not %d", hash, h.Size(), len(data))
		}
		in.SigningAlgorithm = pss[hash]
	case cryptoki.CKM_ECDSA:
		if len(data) == 0 {
			return nil, fault.New(fault.DataLenRange, "there is no digest to sign")
		}
		fitted, err := signature.Fit(data, k.spec.digest, k.spec.on.Bits)
		if err != nil {
			return nil, err
		}
		in.Message = fitted
	case cryptoki.CKM_EDDSA:
		if params, ok := m.Params.(cryptoki.EDDSAParams); ok && (params.Prehash || len(params.Context) > 0) {
			return nil, fault.New(fault.MechanismParamInvalid, "AWS KMS signs with Ed25519 itself, not with Ed25519ph or Ed25519ctx by this mechanism")
		}
		in.MessageType = types.MessageTypeRaw
		return in, within(data)
	case cryptoki.CKM_ML_DSA:
		return in, k.lattice(ctx, in, m, data)
	}
	return in, nil
}

// lattice is the message of an ML-DSA signature: as it is where AWS KMS takes it so, else its representative µ, into which
// the context goes as well, of which AWS KMS knows nothing.
func (k *key) lattice(ctx context.Context, in *kms.SignInput, m cryptoki.Mechanism, data []byte) error {
	params, _ := m.Params.(cryptoki.SignContextParams)
	if params.Hedge != cryptoki.CKH_HEDGE_PREFERRED {
		return fault.New(fault.MechanismParamInvalid, "AWS KMS does not say whether its ML-DSA signatures are hedged or deterministic; let the application ask for CKH_HEDGE_PREFERRED")
	}
	if len(params.Context) == 0 && within(data) == nil {
		in.MessageType = types.MessageTypeRaw
		return nil
	}
	_, public, ok := parameterset.ParsePublicKeyInfo(k.publicAttributes().Bytes(cryptoki.CKA_PUBLIC_KEY_INFO))
	if !ok {
		made, err := k.provider.public(ctx, &types.KeyMetadata{Arn: &k.ref.ARN, KeySpec: k.ref.Spec, KeyUsage: k.ref.Use})
		if err != nil {
			return k.settle(err)
		}
		public = made.public.Bytes(cryptoki.CKA_VALUE)
	}
	in.MessageType, in.Message = types.MessageTypeExternalMu, parameterset.Mu(public, params.Context, data)
	return nil
}

// within refuses messages that AWS KMS does not take.
func within(data []byte) error {
	if len(data) == 0 || len(data) > maxMessage {
		return fault.New(fault.DataLenRange, "AWS KMS takes messages of 1 to %d bytes, not %d; use a key whose mechanism hashes, or provider software", maxMessage, len(data))
	}
	return nil
}

// mac computes an HMAC.
func (k *key) mac(ctx context.Context, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	if err := within(data); err != nil {
		return nil, err
	}
	in := &kms.GenerateMacInput{KeyId: &k.ref.ARN, Message: data, MacAlgorithm: k.spec.mac.algorithm}
	out, err := call(ctx, k.provider, "GenerateMac", k.ref.ARN, k.provider.client.GenerateMac, in)
	if err != nil {
		return nil, k.settle(err)
	}
	if uint64(len(out.Mac)) != k.spec.bits/8 {
		return nil, fault.New(fault.FunctionFailed, "AWS KMS sent a MAC of %d bytes for %s; look at the endpoint", len(out.Mac), m.Type)
	}
	if params, ok := m.Params.(cryptoki.MACGeneralParams); ok {
		if params.Length > uint64(len(out.Mac)) {
			return nil, fault.New(fault.MechanismParamInvalid, "%s gives at most %d bytes, not %d", m.Type, len(out.Mac), params.Length)
		}
		return out.Mac[:params.Length], nil
	}
	return out.Mac, nil
}

// verify checks a signature by the public key that the store or this process has: it costs a fraction of the call, and
// an answer that is another key's must not reach the application.
func (k *key) verify(m cryptoki.Mechanism, data, made []byte, by string) error {
	if by != "" && by != k.ref.ARN {
		return fault.New(fault.FunctionFailed, "AWS KMS signed with %s instead of %s; look at the endpoint", by, k.ref.ARN)
	}
	public := k.publicKey()
	if public == nil {
		return nil
	}
	if err := public.Verify(m, data, made); err != nil {
		return fault.New(fault.FunctionFailed, "the signature that AWS KMS made with %s does not verify by its public key (%v); look at the endpoint and at the key", k.ref.ARN, err)
	}
	return nil
}

// publicKey returns the public half from what is known without a call; nil if nothing is.
func (k *key) publicKey() *softkey.Key {
	return provider.PublicHalf(k.spec.keyType, k.publicAttributes())
}

// publicAttributes are those that tell the public half: this process's, or the store's.
func (k *key) publicAttributes() cryptoki.Attributes {
	if known := k.provider.keys.material(k.ref.ARN); known != nil {
		return known.public
	}
	return k.reference.Attributes
}

// Decrypt decrypts with RSA-OAEP.
func (k *key) Decrypt(ctx context.Context, m cryptoki.Mechanism, ciphertext []byte) ([]byte, error) {
	if err := k.provider.ready(ctx, "decrypt"); err != nil {
		return nil, err
	}
	if err := k.check(m, cryptoki.CKF_DECRYPT); err != nil {
		return nil, err
	}
	if len(ciphertext) != int(k.spec.bits/8) {
		return nil, fault.New(fault.EncryptedDataLenRange, "a ciphertext of this key has %d bytes, not %d", k.spec.bits/8, len(ciphertext))
	}
	algorithm := types.EncryptionAlgorithmSpecRsaesOaepSha1
	if m.Params.(cryptoki.OAEPParams).Hash == cryptoki.CKM_SHA256 {
		algorithm = types.EncryptionAlgorithmSpecRsaesOaepSha256
	}
	out, err := call(ctx, k.provider, "Decrypt", k.ref.ARN, k.provider.client.Decrypt, &kms.DecryptInput{
		KeyId: &k.ref.ARN, CiphertextBlob: ciphertext, EncryptionAlgorithm: algorithm,
	})
	if err != nil {
		return nil, k.settle(err)
	}
	if out.Plaintext == nil {
		return []byte{}, nil
	}
	return out.Plaintext, nil
}
