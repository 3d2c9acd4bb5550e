package azurekv

import (
	"bytes"
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// Import brings a key in as a JSON Web Key, over TLS. A repeated request finds the key as Generate does.
func (p *Provider) Import(ctx context.Context, identity provider.Identity, attributes cryptoki.Attributes) (provider.Generated, error) {
	var none provider.Generated
	if err := p.ready(ctx, "import a key"); err != nil {
		return none, err
	}
	if class, _ := attributes.Class(); class != cryptoki.CKO_PRIVATE_KEY && class != cryptoki.CKO_SECRET_KEY {
		return none, fault.New(fault.KeyHandleInvalid, "only private and secret keys can be imported; send one")
	}
	parsed, err := softkey.FromAttributes(attributes)
	if err != nil {
		return none, err
	}
	defer parsed.Wipe()
	keyType, _ := attributes.KeyType()
	kind, err := specOf(keyType, attributes, p.config.HSM)
	if err != nil {
		return none, err
	}
	b := birth{provider: p, identity: identity, kind: kind, template: attributes, operation: opImport}
	if kind.private() {
		b.public = values(parsed.PublicAttributes())
	}
	kty := kind.kty(p.config)
	key, err := webKey(kind, attributes, b.public)
	if err != nil {
		return none, err
	}
	key.Kty = &kty
	b.wipe = func() {
		for _, part := range [][]byte{key.D, key.P, key.Q, key.DP, key.DQ, key.QI, key.K} {
			clear(part)
		}
	}
	return b.run(ctx, func(ctx context.Context, name string) (azkeys.KeyBundle, error) {
		key.KeyOps = pointers(b.operations)
		parameters := azkeys.ImportKeyParameters{Key: key, Tags: b.tags()}
		if p.config.Premium {
			parameters.HSM = &p.config.Premium
		}
		answer, err := p.client.ImportKey(ctx, name, parameters, nil)
		return answer.KeyBundle, err
	})
}

// webKey writes a key as a JSON Web Key. Its numbers are copies: the caller wipes the attributes when its call ends, and
// the import may go on.
func webKey(kind spec, secret, public cryptoki.Attributes) (*azkeys.JSONWebKey, error) {
	switch kind.keyType {
	case cryptoki.CKK_EC:
		point, ok := kind.on.Point(public.Bytes(cryptoki.CKA_EC_POINT))
		if !ok {
			return nil, fault.New(fault.PublicKeyInvalid, "the key's public point cannot be computed; check the key")
		}
		size := kind.on.Bytes()
		return &azkeys.JSONWebKey{
			Crv: &kind.signed.name, X: point[1 : 1+size], Y: point[1+size:], D: widened(secret.Bytes(cryptoki.CKA_VALUE), size),
		}, nil
	case cryptoki.CKK_AES:
		return &azkeys.JSONWebKey{K: bytes.Clone(secret.Bytes(cryptoki.CKA_VALUE))}, nil
	}
	key := &azkeys.JSONWebKey{N: public.Bytes(cryptoki.CKA_MODULUS), E: public.Bytes(cryptoki.CKA_PUBLIC_EXPONENT)}
	size := int(kind.bits / 8)
	for _, part := range []struct {
		t    cryptoki.AttributeType
		size int
		to   *[]byte
	}{
		{cryptoki.CKA_PRIVATE_EXPONENT, size, &key.D},
		{cryptoki.CKA_PRIME_1, size / 2, &key.P},
		{cryptoki.CKA_PRIME_2, size / 2, &key.Q},
		{cryptoki.CKA_EXPONENT_1, size / 2, &key.DP},
		{cryptoki.CKA_EXPONENT_2, size / 2, &key.DQ},
		{cryptoki.CKA_COEFFICIENT, size / 2, &key.QI},
	} {
		value := secret.Bytes(part.t)
		if len(value) == 0 {
			return nil, fault.New(fault.TemplateIncomplete, "%s is missing, and Azure takes an RSA key only with its primes, exponents and coefficient; add it", part.t)
		}
		*part.to = widened(value, part.size)
	}
	return key, nil
}

// widened copies a number into at least so many bytes.
func widened(number []byte, size int) []byte {
	wide := make([]byte, max(size, len(number)))
	copy(wide[len(wide)-len(number):], number)
	return wide
}
