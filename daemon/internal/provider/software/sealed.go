package software

import (
	"context"
	"slices"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/wire"
)

// A reference is the sealed attributes that make the key: class, type and public values stand beside the secret ones,
// so that nobody who writes to the store can put another curve or modulus to a secret.

// secretTypes are the secret attributes of all keys.
var secretTypes = []cryptoki.AttributeType{
	cryptoki.CKA_VALUE, cryptoki.CKA_PRIVATE_EXPONENT, cryptoki.CKA_PRIME_1, cryptoki.CKA_PRIME_2,
	cryptoki.CKA_EXPONENT_1, cryptoki.CKA_EXPONENT_2, cryptoki.CKA_COEFFICIENT, cryptoki.CKA_SEED,
}

// publicTypes are the public attributes that are sealed with them. CKA_VALUE is not among them: an ML-DSA key has one in each
// half, and the private one is a secret.
var publicTypes = []cryptoki.AttributeType{
	cryptoki.CKA_MODULUS, cryptoki.CKA_PUBLIC_EXPONENT, cryptoki.CKA_EC_PARAMS, cryptoki.CKA_EC_POINT, cryptoki.CKA_PARAMETER_SET,
}

// sealedTypes are all attributes that are sealed.
var sealedTypes = slices.Concat([]cryptoki.AttributeType{cryptoki.CKA_CLASS, cryptoki.CKA_KEY_TYPE}, publicTypes, secretTypes)

// aad binds a sealed key to the object that it was made for; the sealer binds it to the token.
func aad(identity provider.Identity) []byte {
	return append([]byte("software key 1\x00"), identity.UID...)
}

// seal makes a reference of a key's attributes.
func (p *Provider) seal(ctx context.Context, identity provider.Identity, key cryptoki.Attributes) ([]byte, error) {
	if identity.UID == "" {
		return nil, fault.New(fault.ArgumentsBad, "a key needs the uid of its object")
	}
	plaintext := wire.MarshalAttributes(key)
	defer clear(plaintext)
	return p.sealer.Seal(ctx, identity.Token, plaintext, aad(identity))
}

// open gives the attributes back. The caller wipes them.
func (p *Provider) open(ctx context.Context, reference provider.Reference) (cryptoki.Attributes, error) {
	if len(reference.Ref) == 0 {
		return nil, fault.New(fault.KeyHandleInvalid, "the object has no key behind it")
	}
	plaintext, err := p.sealer.Open(ctx, reference.Identity.Token, reference.Ref, aad(reference.Identity))
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	attributes, err := wire.UnmarshalAttributes(plaintext)
	if err != nil {
		return nil, fault.New(fault.StoreDamaged, "a sealed key is not one of provider software: %w", err)
	}
	// Whatever the decoder shares with the plaintext is wiped with it.
	return attributes.Clone(), nil
}

// pick takes those of some attributes that are there.
func pick(from cryptoki.Attributes, types ...cryptoki.AttributeType) cryptoki.Attributes {
	var picked cryptoki.Attributes
	for _, t := range types {
		if v, ok := from.Get(t); ok {
			picked = append(picked, cryptoki.Bytes(t, v))
		}
	}
	return picked
}

// wipe overwrites secret attributes.
func wipe(attributes cryptoki.Attributes) {
	for _, t := range secretTypes {
		clear(attributes.Bytes(t))
	}
}
