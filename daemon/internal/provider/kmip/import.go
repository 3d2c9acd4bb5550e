package kmip

import (
	"context"
	"crypto/subtle"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// Import registers key material. It goes over TLS, not wrapped. A repeated request finds the key that is there.
func (p *Provider) Import(ctx context.Context, identity provider.Identity, attributes cryptoki.Attributes) (provider.Generated, error) {
	const operation = "import a key"
	var none provider.Generated
	if err := p.ready(ctx, "importing a key"); err != nil {
		return none, p.explain(operation, err)
	}
	if err := named(identity); err != nil {
		return none, p.explain(operation, err)
	}
	keyType, public, err := p.importable(attributes)
	if err != nil {
		return none, p.explain(operation, err)
	}
	// The caller, who may give up, wipes the attributes.
	own := attributes.Clone()
	generated, err := p.fly(ctx, identity.UID, operation, func(ctx context.Context) (provider.Generated, error) {
		defer wipe(own)
		if public == nil {
			return p.registerSecret(ctx, identity, own, keyType, own.Bytes(cryptoki.CKA_VALUE))
		}
		return p.registerPair(ctx, identity, own, keyType, public)
	})
	return generated, p.explain(operation, err)
}

// importable checks a key to import and gives its public half; nil for a secret key.
func (p *Provider) importable(attributes cryptoki.Attributes) (cryptoki.KeyType, cryptoki.Attributes, error) {
	class, _ := attributes.Class()
	if class != cryptoki.CKO_PRIVATE_KEY && class != cryptoki.CKO_SECRET_KEY {
		return 0, nil, fault.New(fault.TemplateInconsistent, "only private and secret keys can be imported, not %s", class)
	}
	keyType, _ := attributes.KeyType()
	generation, ok := map[cryptoki.KeyType]cryptoki.MechanismType{
		cryptoki.CKK_RSA: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN, cryptoki.CKK_EC: cryptoki.CKM_EC_KEY_PAIR_GEN,
		cryptoki.CKK_AES: cryptoki.CKM_AES_KEY_GEN, cryptoki.CKK_GENERIC_SECRET: cryptoki.CKM_GENERIC_SECRET_KEY_GEN,
	}[keyType]
	row, can := p.capabilities.Mechanism(generation)
	if !ok || !can {
		return 0, nil, fault.New(fault.KeyTypeInconsistent, "the KMIP server takes no %s keys that it could use; provider software does", keyType)
	}
	key, err := softkey.FromAttributes(attributes)
	if err != nil {
		return 0, nil, err
	}
	defer key.Wipe()
	if class == cryptoki.CKO_SECRET_KEY {
		if bits := uint64(8 * len(attributes.Bytes(cryptoki.CKA_VALUE))); keyType == cryptoki.CKK_GENERIC_SECRET && bits > row.MaxSize {
			return 0, nil, fault.New(fault.AttributeValueInvalid, "a secret key has at most %d bits here, not %d", row.MaxSize, bits)
		}
		return keyType, nil, nil
	}
	public := pick(key.PublicAttributes(), cryptoki.CKA_MODULUS, cryptoki.CKA_PUBLIC_EXPONENT, cryptoki.CKA_EC_PARAMS, cryptoki.CKA_EC_POINT)
	request := provider.GenerateRequest{Mechanism: cryptoki.Mechanism{Type: generation}, Public: public.Clone()}
	request.Public.Set(cryptoki.Ulong(cryptoki.CKA_MODULUS_BITS, uint64(bitsOf(public, keyType))))
	return keyType, public, p.capabilities.CheckGenerate(request)
}

// keyBlock is an object with key material.
func keyBlock(tag ttlv.Tag, format uint32, value []byte, algorithm uint32, bits int) ttlv.Item {
	return ttlv.Structure(tag, ttlv.Structure(ttlv.TagKeyBlock,
		ttlv.Enumeration(ttlv.TagKeyFormatType, format),
		ttlv.Structure(ttlv.TagKeyValue, ttlv.ByteString(ttlv.TagKeyMaterial, value)),
		ttlv.Enumeration(ttlv.TagCryptographicAlgorithm, algorithm), ttlv.Integer(ttlv.TagCryptographicLength, int32(bits))))
}

func (p *Provider) register(ctx context.Context, kind uint32, attributes []ttlv.Item, object ttlv.Item) error {
	_, err := p.call(ctx, ttlv.OpRegister, ttlv.Enumeration(ttlv.TagObjectType, kind),
		p.version.attributes(ttlv.TagTemplateAttribute, ttlv.TagAttributes, attributes), object)
	return err
}

func (p *Provider) registerSecret(ctx context.Context, identity provider.Identity, attributes cryptoki.Attributes, keyType cryptoki.KeyType, value []byte) (provider.Generated, error) {
	algorithm := ttlv.AlgorithmAes
	if keyType == cryptoki.CKK_GENERIC_SECRET {
		algorithm = macAlgorithm(attributes)
	}
	o, err := p.settle(ctx, identity, ttlv.ObjectSymmetricKey, func() error {
		return p.register(ctx, ttlv.ObjectSymmetricKey, p.common(identity, attributes, keyType),
			keyBlock(ttlv.TagSymmetricKey, ttlv.FormatRaw, value, algorithm, 8*len(value)))
	})
	if err != nil {
		return provider.Generated{}, err
	}
	return p.generated(o, nil)
}

// macAlgorithm is the algorithm that a generic secret is registered with: a key has one at the server. Each use names
// its own.
func macAlgorithm(attributes cryptoki.Attributes) uint32 {
	allowed, _ := attributes.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS)
	for _, t := range allowed {
		for _, h := range hashes {
			if cryptoki.MechanismType(t) == h.mac {
				return h.macAlgorithm
			}
		}
	}
	return ttlv.AlgorithmHmacSha256
}

func (p *Provider) registerPair(ctx context.Context, identity provider.Identity, attributes cryptoki.Attributes, keyType cryptoki.KeyType, public cryptoki.Attributes) (provider.Generated, error) {
	var none provider.Generated
	algorithm := ttlv.AlgorithmRsa
	if keyType == cryptoki.CKK_EC {
		algorithm = ttlv.AlgorithmEc
	}
	private, err := pkcs8(attributes, keyType)
	if err != nil {
		return none, err
	}
	defer clear(private)
	half, err := spki(public, keyType)
	if err != nil {
		return none, err
	}
	bits := bitsOf(public, keyType)
	// The public half first: once the private one is there the pair is complete.
	own := keyName(identity) + publicSuffix
	halves, err := p.named(ctx, ttlv.ObjectPublicKey, own)
	if err != nil {
		return none, err
	}
	if len(halves) == 0 {
		err = p.register(ctx, ttlv.ObjectPublicKey, []ttlv.Item{
			name(own), ttlv.Integer(ttlv.TagCryptographicUsageMask, int32(ttlv.UsageVerify|ttlv.UsageEncrypt)),
		}, keyBlock(ttlv.TagPublicKey, ttlv.FormatX509, half, algorithm, bits))
		if err != nil {
			return none, err
		}
	}
	o, err := p.settle(ctx, identity, ttlv.ObjectPrivateKey, func() error {
		return p.register(ctx, ttlv.ObjectPrivateKey, p.common(identity, attributes, keyType),
			keyBlock(ttlv.TagPrivateKey, ttlv.FormatPkcs8, private, algorithm, bits))
	})
	if err != nil {
		return none, err
	}
	_, there, err := p.publicHalf(ctx, o)
	if err != nil {
		return none, err
	}
	for _, a := range public {
		if subtle.ConstantTimeCompare(a.Value, there.Bytes(a.Type)) != 1 {
			return none, fault.New(fault.FunctionFailed, "the KMIP server has another key under the name %s; destroy it there first", keyName(identity))
		}
	}
	return p.generated(o, public)
}

// bitsOf is the size of a public key.
func bitsOf(public cryptoki.Attributes, keyType cryptoki.KeyType) int {
	return mechanism.Bits(append(cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, keyType)}, public...))
}

// wipe overwrites secret attributes.
func wipe(attributes cryptoki.Attributes) {
	for _, t := range []cryptoki.AttributeType{
		cryptoki.CKA_VALUE, cryptoki.CKA_PRIVATE_EXPONENT, cryptoki.CKA_PRIME_1, cryptoki.CKA_PRIME_2,
		cryptoki.CKA_EXPONENT_1, cryptoki.CKA_EXPONENT_2, cryptoki.CKA_COEFFICIENT,
	} {
		clear(attributes.Bytes(t))
	}
}
