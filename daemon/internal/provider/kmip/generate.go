package kmip

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Generate makes a key at the server. The name follows from the object's uid, so a repeated request finds the key that a
// lost answer left behind.
func (p *Provider) Generate(ctx context.Context, request provider.GenerateRequest) (provider.Generated, error) {
	const operation = "generate a key"
	if err := p.generable(ctx, request); err != nil {
		return provider.Generated{}, p.explain(operation, err)
	}
	generated, err := p.fly(ctx, request.Identity.UID, operation, func(ctx context.Context) (provider.Generated, error) {
		switch request.Mechanism.Type {
		case cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN, cryptoki.CKM_EC_KEY_PAIR_GEN:
			return p.generatePair(ctx, request)
		case cryptoki.CKM_GENERIC_SECRET_KEY_GEN:
			return p.generateSecret(ctx, request)
		}
		return p.generateAES(ctx, request)
	})
	return generated, p.explain(operation, err)
}

func (p *Provider) generable(ctx context.Context, request provider.GenerateRequest) error {
	if err := p.ready(ctx, "generating a key"); err != nil {
		return err
	}
	if err := named(request.Identity); err != nil {
		return err
	}
	return p.capabilities.CheckGenerate(request)
}

// named tells why no key is made for an identity.
func named(identity provider.Identity) error {
	switch {
	case identity.Session:
		return fault.New(fault.FunctionNotSupported, "a session's key is not made at a KMIP server; provider software makes it")
	case len(identity.UID) < 16:
		return fault.New(fault.ArgumentsBad, "a key needs the uid of its object")
	}
	return nil
}

func (p *Provider) generateAES(ctx context.Context, request provider.GenerateRequest) (provider.Generated, error) {
	length, _ := request.Private.Ulong(cryptoki.CKA_VALUE_LEN)
	attributes := append(p.common(request.Identity, request.Private, cryptoki.CKK_AES),
		ttlv.Enumeration(ttlv.TagCryptographicAlgorithm, ttlv.AlgorithmAes), ttlv.Integer(ttlv.TagCryptographicLength, int32(8*length)))
	o, err := p.settle(ctx, request.Identity, ttlv.ObjectSymmetricKey, func() error {
		_, err := p.call(ctx, ttlv.OpCreate, ttlv.Enumeration(ttlv.TagObjectType, ttlv.ObjectSymmetricKey),
			p.version.attributes(ttlv.TagTemplateAttribute, ttlv.TagAttributes, attributes))
		return err
	})
	if err != nil {
		return provider.Generated{}, err
	}
	return p.generated(o, nil)
}

// generateSecret makes the value here: servers differ in what lengths of HMAC keys they make, or make none.
func (p *Provider) generateSecret(ctx context.Context, request provider.GenerateRequest) (provider.Generated, error) {
	length, _ := request.Private.Ulong(cryptoki.CKA_VALUE_LEN)
	value := make([]byte, length)
	_, _ = rand.Read(value) // never fails
	defer clear(value)
	return p.registerSecret(ctx, request.Identity, request.Private, cryptoki.CKK_GENERIC_SECRET, value)
}

func (p *Provider) generatePair(ctx context.Context, request provider.GenerateRequest) (provider.Generated, error) {
	keyType, algorithm := cryptoki.CKK_RSA, ttlv.AlgorithmRsa
	bits, _ := request.Public.Ulong(cryptoki.CKA_MODULUS_BITS)
	common := []ttlv.Item{}
	if request.Mechanism.Type == cryptoki.CKM_EC_KEY_PAIR_GEN {
		on, err := curve.Of(request.Public)
		if err != nil {
			return provider.Generated{}, err
		}
		keyType, algorithm, bits = cryptoki.CKK_EC, ttlv.AlgorithmEc, uint64(on.Bits)
		common = append(common, ttlv.Structure(ttlv.TagCryptographicDomainParameters, ttlv.Enumeration(ttlv.TagRecommendedCurve, curves[on.Name])))
	} else if e := strings.TrimLeft(string(request.Public.Bytes(cryptoki.CKA_PUBLIC_EXPONENT)), "\x00"); e != "" && e != "\x01\x00\x01" {
		return provider.Generated{}, fault.New(fault.AttributeValueInvalid, "KMIP servers make RSA keys with the public exponent 65537 only; leave CKA_PUBLIC_EXPONENT away")
	}
	common = append(common, ttlv.Enumeration(ttlv.TagCryptographicAlgorithm, algorithm), ttlv.Integer(ttlv.TagCryptographicLength, int32(bits)))
	private := p.common(request.Identity, request.Private, keyType)
	public := []ttlv.Item{name(keyName(request.Identity) + publicSuffix), ttlv.Integer(ttlv.TagCryptographicUsageMask, int32(ttlv.UsageVerify|ttlv.UsageEncrypt))}
	o, err := p.settle(ctx, request.Identity, ttlv.ObjectPrivateKey, func() error {
		_, err := p.call(ctx, ttlv.OpCreateKeyPair,
			p.version.attributes(ttlv.TagCommonTemplateAttribute, ttlv.TagCommonAttributes, common),
			p.version.attributes(ttlv.TagPrivateKeyTemplateAttribute, ttlv.TagPrivateKeyAttributes, private),
			p.version.attributes(ttlv.TagPublicKeyTemplateAttribute, ttlv.TagPublicKeyAttributes, public))
		return err
	})
	if err != nil {
		return provider.Generated{}, err
	}
	_, half, err := p.publicHalf(ctx, o)
	if err != nil {
		return provider.Generated{}, err
	}
	return p.generated(o, half)
}

// generated is the answer for a key that is there.
func (p *Provider) generated(o object, public cryptoki.Attributes) (provider.Generated, error) {
	ref := o.reference().encode()
	p.known.put(ref, o)
	return provider.Generated{Ref: ref, Public: public}, nil
}

// settle finds the key of an identity, or has it made; called again, it goes on where it was interrupted.
func (p *Provider) settle(ctx context.Context, identity provider.Identity, kind uint32, create func() error) (object, error) {
	own := keyName(identity)
	for attempt := 0; ; attempt++ {
		found, err := p.named(ctx, kind, own)
		if err != nil {
			return object{}, err
		}
		if len(found) == 0 {
			var unanswered *lost
			err := create()
			if err != nil && attempt == 0 && (errors.As(err, &unanswered) || refused(err, ttlv.ReasonNonUniqueNameAttribute, ttlv.ReasonObjectAlreadyExists)) {
				// It may be there all the same, or somebody else has just made it.
				continue
			}
			if err != nil {
				return object{}, err
			}
			if found, err = p.named(ctx, kind, own); err != nil {
				return object{}, err
			}
			if len(found) == 0 {
				return object{}, fault.New(fault.DeviceError, "the KMIP server does not find the key that it has just made; see whether our user may locate its keys")
			}
		}
		// Another daemon may have made one at the same time. Both keep the oldest.
		for _, extra := range found[1:] {
			p.log.Warn("a key was made twice at the KMIP server; the younger one is destroyed", "name", own, "kept", found[0].id, "destroyed", extra.id)
			if err := p.remove(ctx, extra); err != nil {
				return object{}, err
			}
		}
		return found[0], p.activate(ctx, &found[0])
	}
}

// activate makes a new key usable.
func (p *Provider) activate(ctx context.Context, o *object) error {
	if o.state != ttlv.StatePreActive {
		return nil
	}
	_, err := p.call(ctx, ttlv.OpActivate, uid(o.id))
	if err != nil {
		// The call is repeated on a new connection, so the first attempt may have done it.
		now, failed := p.describe(ctx, o.id)
		if failed != nil || now.state != ttlv.StateActive {
			return err
		}
	}
	o.state = ttlv.StateActive
	return nil
}

// common are the attributes of a private or secret key.
func (p *Provider) common(identity provider.Identity, attributes cryptoki.Attributes, keyType cryptoki.KeyType) []ttlv.Item {
	items := []ttlv.Item{name(keyName(identity)), ttlv.Integer(ttlv.TagCryptographicUsageMask, int32(usageMask(attributes, keyType)))}
	if text := string(attributes.Bytes(cryptoki.CKA_LABEL)); text != "" && strings.ToValidUTF8(text, "") == text {
		items = append(items, label(text))
	}
	items = append(items, ttlv.Boolean(ttlv.TagSensitive, attributes.Bool(cryptoki.CKA_SENSITIVE)))
	if !p.server.quirks.noExtractable {
		items = append(items, ttlv.Boolean(ttlv.TagExtractable, attributes.Bool(cryptoki.CKA_EXTRACTABLE)))
	}
	return items
}

// usageMask says what a key is for.
func usageMask(attributes cryptoki.Attributes, keyType cryptoki.KeyType) uint32 {
	var mask uint32
	for _, usage := range []struct {
		t                   cryptoki.AttributeType
		pair, secret, block uint32
	}{
		{cryptoki.CKA_SIGN, ttlv.UsageSign, ttlv.UsageMAC, 0},
		{cryptoki.CKA_VERIFY, 0, ttlv.UsageMAC | ttlv.UsageMACVerify, 0},
		{cryptoki.CKA_DECRYPT, ttlv.UsageDecrypt, 0, ttlv.UsageDecrypt | ttlv.UsageEncrypt},
		// Modes that the server lacks are put together from others, in both directions by encryption.
		{cryptoki.CKA_ENCRYPT, 0, 0, ttlv.UsageDecrypt | ttlv.UsageEncrypt},
	} {
		if !attributes.Bool(usage.t) {
			continue
		}
		switch keyType {
		case cryptoki.CKK_AES:
			mask |= usage.block
		case cryptoki.CKK_GENERIC_SECRET:
			mask |= usage.secret
		default:
			mask |= usage.pair
		}
	}
	return mask
}
