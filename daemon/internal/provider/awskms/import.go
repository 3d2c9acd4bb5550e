package awskms

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"

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
	kind, value, public, err := valueOf(attributes)
	if err != nil {
		return provider.Generated{}, err
	}
	return p.bring(ctx, identity, attributes, cargo{kind: kind, public: public, material: value, wipe: func() { clear(value) }})
}

// ImportWrapped brings material in that another provider wraps for AWS's HSMs.
func (p *Provider) ImportWrapped(ctx context.Context, identity provider.Identity, attributes cryptoki.Attributes, material provider.Wrapper) (provider.Generated, error) {
	if err := p.ready(ctx, "import a key"); err != nil {
		return provider.Generated{}, err
	}
	kind, public, err := kindOf(attributes)
	if err != nil {
		return provider.Generated{}, err
	}
	return p.bring(ctx, identity, attributes, cargo{kind: kind, public: public, material: material, wipe: func() {}})
}

// cargo is a key on its way to AWS KMS.
type cargo struct {
	kind     spec
	public   cryptoki.Attributes
	material provider.Wrapper
	// wipe forgets the material.
	wipe func()
}

// bring makes an empty key and fills it.
func (p *Provider) bring(ctx context.Context, identity provider.Identity, attributes cryptoki.Attributes, c cargo) (provider.Generated, error) {
	if identity.Session {
		c.wipe()
		return provider.Generated{}, errSession
	}
	use, err := c.kind.choose(attributes)
	if err != nil {
		c.wipe()
		return provider.Generated{}, err
	}
	order := order{identity: identity, spec: c.kind, use: use, label: label(attributes), origin: types.OriginTypeExternal}
	// The run may outlive this call: it wipes the value itself. One that another call has begun has a value of its own.
	generated, err := p.makings.join(ctx, identity.UID, p.config.CallTimeout, func(ctx context.Context) (provider.Generated, error) {
		defer c.wipe()
		return p.land(ctx, order, c)
	}, c.wipe)
	generated.Private = c.kind.granted(use, attributes, false)
	return generated, err
}

// land obtains the key of an order, and fills it unless an earlier attempt has.
func (p *Provider) land(ctx context.Context, o order, c cargo) (provider.Generated, error) {
	made, err := p.obtain(ctx, o)
	if err != nil {
		return provider.Generated{}, err
	}
	if made.KeyState == types.KeyStatePendingImport {
		if err := p.fill(ctx, aws.ToString(made.Arn), c.material); err != nil {
			return provider.Generated{}, err
		}
	}
	generated, err := p.delivered(ctx, made)
	if err != nil {
		return provider.Generated{}, err
	}
	for _, a := range generated.Public {
		if want := c.public.Bytes(a.Type); len(want) > 0 && !bytes.Equal(want, a.Value) {
			return provider.Generated{}, fault.New(fault.Conflict, "AWS KMS has other key material under %s; make a new request for another key", aliasOf(o.identity))
		}
	}
	return generated, nil
}

// fill has key material wrapped and sends it.
func (p *Provider) fill(ctx context.Context, name string, material provider.Wrapper) error {
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
	wrapped, err := material.Wrap(ctx, wrapping)
	if err != nil {
		return fault.New(fault.From(err).Kind, "the key material cannot be wrapped: %w", err)
	}
	_, err = call(ctx, p, "ImportKeyMaterial", name, p.client.ImportKeyMaterial, &kms.ImportKeyMaterialInput{
		KeyId: &name, ImportToken: parameters.ImportToken, EncryptedKeyMaterial: wrapped,
		ExpirationModel: types.ExpirationModelTypeKeyMaterialDoesNotExpire,
	})
	return err
}

// kindOf says what kind of key an object's open attributes describe, and its public half.
func kindOf(attributes cryptoki.Attributes) (kind spec, public cryptoki.Attributes, err error) {
	class, _ := attributes.Class()
	keyType, ok := attributes.KeyType()
	if !ok || class != cryptoki.CKO_PRIVATE_KEY && class != cryptoki.CKO_SECRET_KEY {
		return spec{}, nil, fault.New(fault.TemplateIncomplete, "there is no private or secret key to import")
	}
	if class == cryptoki.CKO_SECRET_KEY {
		length, _ := attributes.Ulong(cryptoki.CKA_VALUE_LEN)
		kind, err = specOf(keyType, 8*length, nil)
		return kind, nil, err
	}
	for _, t := range []cryptoki.AttributeType{cryptoki.CKA_MODULUS, cryptoki.CKA_PUBLIC_EXPONENT, cryptoki.CKA_EC_PARAMS, cryptoki.CKA_EC_POINT} {
		if value, ok := attributes.Get(t); ok {
			public.Set(cryptoki.Bytes(t, value))
		}
	}
	switch keyType {
	case cryptoki.CKK_ML_DSA:
		return spec{}, nil, fault.New(fault.KeyTypeInconsistent, "AWS KMS takes no ML-DSA keys from outside; make a new one there")
	case cryptoki.CKK_EC, cryptoki.CKK_EC_EDWARDS:
		on, err := curve.Of(attributes)
		if err != nil {
			return spec{}, nil, err
		}
		kind, err = specOf(on.KeyType, 0, on)
		return kind, public, err
	}
	kind, err = specOf(keyType, 8*uint64(len(public.Bytes(cryptoki.CKA_MODULUS))), nil)
	return kind, public, err
}

// valueOf returns what AWS KMS wants to have of a key: PKCS#8, or the bytes of a secret. The caller wipes it.
func valueOf(attributes cryptoki.Attributes) (kind spec, value keywrap.Value, public cryptoki.Attributes, err error) {
	if class, _ := attributes.Class(); class == cryptoki.CKO_SECRET_KEY {
		secret := attributes.Bytes(cryptoki.CKA_VALUE)
		if len(secret) == 0 {
			return spec{}, nil, nil, fault.New(fault.AttributeValueInvalid, "the secret key is empty")
		}
		attributes = attributes.Clone()
		attributes.Set(cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, uint64(len(secret))))
		kind, _, err = kindOf(attributes)
		return kind, bytes.Clone(secret), nil, err
	}
	if kind, _, err = kindOf(attributes); err != nil {
		return spec{}, nil, nil, err
	}
	key, err := softkey.FromAttributes(attributes)
	if err != nil {
		return spec{}, nil, nil, err
	}
	defer key.Wipe()
	value, err = key.PKCS8()
	return kind, value, key.PublicAttributes(), err
}
