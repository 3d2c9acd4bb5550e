package awskms

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"math/big"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/keywrap"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// Import brings key material in, wrapped for AWS's HSMs: neither the network nor AWS's front end sees it.
func (p *Provider) Import(ctx context.Context, identity provider.Identity, attributes cryptoki.Attributes) (provider.Generated, error) {
	if err := p.ready(ctx, "import a key"); err != nil {
		return provider.Generated{}, err
	}
	if identity.Session {
		return provider.Generated{}, errSession
	}
	kind, value, public, err := valueOf(attributes)
	if err != nil {
		return provider.Generated{}, err
	}
	use, err := kind.choose(attributes)
	if err != nil {
		clear(value)
		return provider.Generated{}, err
	}
	order := order{identity: identity, spec: kind, use: use, label: label(attributes), origin: types.OriginTypeExternal}
	// The run may outlive this call: it wipes the value itself. One that another call has begun has a value of its own.
	generated, err := p.makings.join(ctx, identity.UID, p.config.CallTimeout, func(ctx context.Context) (provider.Generated, error) {
		defer clear(value)
		return p.bring(ctx, order, value, public)
	}, func() { clear(value) })
	generated.Private = kind.granted(use, attributes, false)
	return generated, err
}

// bring makes an empty key and fills it.
func (p *Provider) bring(ctx context.Context, o order, value []byte, public cryptoki.Attributes) (provider.Generated, error) {
	made, err := p.obtain(ctx, o)
	if err != nil {
		return provider.Generated{}, err
	}
	if made.KeyState == types.KeyStatePendingImport {
		if err := p.fill(ctx, aws.ToString(made.Arn), value); err != nil {
			return provider.Generated{}, err
		}
	}
	generated, err := p.delivered(ctx, made)
	if err != nil {
		return provider.Generated{}, err
	}
	for _, a := range generated.Public {
		if want := public.Bytes(a.Type); len(want) > 0 && !bytes.Equal(want, a.Value) {
			return provider.Generated{}, fault.New(fault.Conflict, "AWS KMS has other key material under %s; make a new request for another key", aliasOf(o.identity))
		}
	}
	return generated, nil
}

// fill wraps key material and sends it.
func (p *Provider) fill(ctx context.Context, name string, value []byte) error {
	parameters, err := call(ctx, p, "GetParametersForImport", name, p.client.GetParametersForImport, &kms.GetParametersForImportInput{
		KeyId: &name, WrappingAlgorithm: types.AlgorithmSpecRsaAesKeyWrapSha256, WrappingKeySpec: types.WrappingKeySpecRsa4096,
	})
	if err != nil {
		return err
	}
	parsed, err := x509.ParsePKIXPublicKey(parameters.PublicKey)
	wrapping, ok := parsed.(*rsa.PublicKey)
	if err != nil || !ok || wrapping.Size() < 512 {
		return fault.New(fault.FunctionFailed, "AWS KMS sent no RSA key of 4096 bits to wrap key material with; look at the endpoint")
	}
	wrapped, err := keywrap.RSAAES(wrapping, sha256.New(), value)
	if err != nil {
		return fault.New(fault.FunctionFailed, "the key material cannot be wrapped: %w", err)
	}
	_, err = call(ctx, p, "ImportKeyMaterial", name, p.client.ImportKeyMaterial, &kms.ImportKeyMaterialInput{
		KeyId: &name, ImportToken: parameters.ImportToken, EncryptedKeyMaterial: wrapped,
		ExpirationModel: types.ExpirationModelTypeKeyMaterialDoesNotExpire,
	})
	return err
}

// valueOf returns what AWS KMS wants to have of a key: PKCS#8, or the bytes of a secret. The caller wipes it.
func valueOf(attributes cryptoki.Attributes) (kind spec, value []byte, public cryptoki.Attributes, err error) {
	class, _ := attributes.Class()
	keyType, ok := attributes.KeyType()
	if !ok || class != cryptoki.CKO_PRIVATE_KEY && class != cryptoki.CKO_SECRET_KEY {
		return spec{}, nil, nil, fault.New(fault.TemplateIncomplete, "there is no private or secret key to import")
	}
	if class == cryptoki.CKO_SECRET_KEY {
		secret := attributes.Bytes(cryptoki.CKA_VALUE)
		if len(secret) == 0 {
			return spec{}, nil, nil, fault.New(fault.AttributeValueInvalid, "the secret key is empty")
		}
		kind, err = specOf(keyType, 8*uint64(len(secret)), nil)
		return kind, bytes.Clone(secret), nil, err
	}
	var private any
	switch keyType {
	case cryptoki.CKK_RSA:
		private, kind, err = rsaKey(attributes)
	case cryptoki.CKK_EC, cryptoki.CKK_EC_EDWARDS:
		private, kind, err = curveKey(attributes)
	default:
		_, err = specOf(keyType, 0, nil)
	}
	if err != nil {
		return spec{}, nil, nil, err
	}
	if public, _, err = softkey.PrivateAttributes(private); err != nil {
		return spec{}, nil, nil, err
	}
	value, err = x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return spec{}, nil, nil, fault.New(fault.AttributeValueInvalid, "the private key has no PKCS#8 form: %w", err)
	}
	return kind, value, public, nil
}

func rsaKey(attributes cryptoki.Attributes) (*rsa.PrivateKey, spec, error) {
	number := func(t cryptoki.AttributeType) *big.Int { return new(big.Int).SetBytes(attributes.Bytes(t)) }
	for _, t := range []cryptoki.AttributeType{
		cryptoki.CKA_MODULUS, cryptoki.CKA_PUBLIC_EXPONENT, cryptoki.CKA_PRIVATE_EXPONENT, cryptoki.CKA_PRIME_1, cryptoki.CKA_PRIME_2,
	} {
		if len(attributes.Bytes(t)) == 0 {
			return nil, spec{}, fault.New(fault.TemplateIncomplete, "AWS KMS takes an RSA key only with its primes; %s is missing", t)
		}
	}
	exponent := number(cryptoki.CKA_PUBLIC_EXPONENT)
	if !exponent.IsInt64() || exponent.Int64() > 1<<31-1 {
		return nil, spec{}, fault.New(fault.AttributeValueInvalid, "the public exponent is too large")
	}
	private := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: number(cryptoki.CKA_MODULUS), E: int(exponent.Int64())}, D: number(cryptoki.CKA_PRIVATE_EXPONENT),
		Primes: []*big.Int{number(cryptoki.CKA_PRIME_1), number(cryptoki.CKA_PRIME_2)},
	}
	kind, err := specOf(cryptoki.CKK_RSA, uint64(private.N.BitLen()), nil)
	if err != nil {
		return nil, spec{}, err
	}
	private.Precompute()
	if err := private.Validate(); err != nil {
		return nil, spec{}, fault.New(fault.AttributeValueInvalid, "the numbers are no RSA key that fits together; check the key")
	}
	return private, kind, nil
}

func curveKey(attributes cryptoki.Attributes) (any, spec, error) {
	value := attributes.Bytes(cryptoki.CKA_VALUE)
	if len(value) == 0 || !attributes.Has(cryptoki.CKA_EC_PARAMS) {
		return nil, spec{}, fault.New(fault.TemplateIncomplete, "CKA_EC_PARAMS or CKA_VALUE is missing")
	}
	on, err := curve.Of(attributes)
	if err != nil {
		return nil, spec{}, err
	}
	kind, err := specOf(on.KeyType, 0, on)
	if err != nil {
		return nil, spec{}, err
	}
	if len(value) > on.Bytes() {
		return nil, spec{}, fault.New(fault.AttributeValueInvalid, "a private value on %s has %d bytes, not %d", on.Name, on.Bytes(), len(value))
	}
	if on.KeyType == cryptoki.CKK_EC_EDWARDS {
		if len(value) != ed25519.SeedSize {
			return nil, spec{}, fault.New(fault.AttributeValueInvalid, "a private value on %s has %d bytes, not %d", on.Name, ed25519.SeedSize, len(value))
		}
		return ed25519.NewKeyFromSeed(value), kind, nil
	}
	padded := append(make([]byte, on.Bytes()-len(value)), value...)
	defer clear(padded)
	private, err := ecdsa.ParseRawPrivateKey(on.Elliptic, padded)
	if err != nil {
		return nil, spec{}, fault.New(fault.AttributeValueInvalid, "the private value is none of %s; check the key", on.Name)
	}
	return private, kind, nil
}
