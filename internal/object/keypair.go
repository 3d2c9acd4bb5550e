package object

import (
	"bytes"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// NewKeyPair checks the templates of C_GenerateKeyPair and returns the complete attributes of both halves, still without
// key material: Complete adds it. Either template may be empty where the mechanism says enough: Java's private ones are.
func NewKeyPair(mechanism cryptoki.Mechanism, public, private cryptoki.Attributes) (pub, priv cryptoki.Attributes, err error) {
	keyType, ok := generates[mechanism.Type]
	if !ok || familyOf(keyType)&symmetric != 0 {
		return nil, nil, fault.New(fault.MechanismInvalid, "%v makes no key pairs; use CKM_RSA_PKCS_KEY_PAIR_GEN, CKM_EC_KEY_PAIR_GEN, CKM_EC_EDWARDS_KEY_PAIR_GEN or CKM_ML_DSA_KEY_PAIR_GEN", mechanism.Type)
	}
	if pub, err = half(mechanism.Type, cryptoki.CKO_PUBLIC_KEY, keyType, public); err != nil {
		return nil, nil, err
	}
	if priv, err = half(mechanism.Type, cryptoki.CKO_PRIVATE_KEY, keyType, private); err != nil {
		return nil, nil, err
	}
	for _, t := range []cryptoki.AttributeType{cryptoki.CKA_EC_PARAMS, cryptoki.CKA_PUBLIC_EXPONENT, cryptoki.CKA_PARAMETER_SET} {
		shared, ok := pub.Get(t)
		if !ok {
			continue
		}
		if value, ok := priv.Get(t); ok && !bytes.Equal(value, shared) {
			return nil, nil, fault.New(fault.TemplateInconsistent, "%v differs between the two templates; leave it out of the private one", t)
		}
		priv.Set(cryptoki.Bytes(t, shared))
	}
	return pub, priv, nil
}

func half(mechanism cryptoki.MechanismType, class cryptoki.ObjectClass, keyType cryptoki.KeyType, template cryptoki.Attributes) (cryptoki.Attributes, error) {
	given, err := once(template)
	if err != nil {
		return nil, err
	}
	err = imply(&given, cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, class), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, keyType),
	})
	if err != nil {
		return nil, err
	}
	return build(Generate, mechanism, classOf(class), given)
}

// Complete merges what the provider generated (CKA_MODULUS and CKA_PUBLIC_EXPONENT, CKA_EC_PARAMS and CKA_EC_POINT, or
// CKA_PARAMETER_SET, CKA_VALUE and CKA_PUBLIC_KEY_INFO) into both halves of a key pair. Where a template gave no CKA_ID both
// get the SHA-1 of the modulus, the point or the ML-DSA public key. One half may be nil.
func Complete(pub, priv, generated cryptoki.Attributes) (cryptoki.Attributes, cryptoki.Attributes) {
	return completeHalf(pub, priv, generated), completeHalf(priv, pub, generated)
}

func completeHalf(half, other, generated cryptoki.Attributes) cryptoki.Attributes {
	if len(half) == 0 {
		return half
	}
	merged := half.Clone()
	c, f := shape(merged)
	for _, a := range generated {
		r, ok := find(c, f, a.Type)
		if !ok || r.flags&secret != 0 || r.families == anyType && a.Type != cryptoki.CKA_PUBLIC_KEY_INFO {
			continue
		}
		if a.Type == cryptoki.CKA_EC_PARAMS && len(merged.Bytes(a.Type)) > 0 {
			continue // the application reads the form that it gave
		}
		if r.flags&integer != 0 {
			a.Value = trim(a.Value)
		}
		merged.Set(cryptoki.Attribute{Type: a.Type, Value: bytes.Clone(a.Value)})
	}
	if c&(publicKey|privateKey) == 0 {
		return merged
	}
	if len(merged.Bytes(cryptoki.CKA_ID)) == 0 {
		id := other.Bytes(cryptoki.CKA_ID)
		if len(id) == 0 {
			id = defaultID(merged)
		}
		merged.Set(cryptoki.Bytes(cryptoki.CKA_ID, bytes.Clone(id)))
	}
	if info := publicKeyInfo(merged); info != nil {
		merged.Set(cryptoki.Bytes(cryptoki.CKA_PUBLIC_KEY_INFO, info))
	}
	return merged
}

// Inherit sets CKA_ALWAYS_SENSITIVE and CKA_NEVER_EXTRACTABLE of a derived key by those of its base key, as the
// derivation mechanisms say.
func Inherit(derived, base cryptoki.Attributes) cryptoki.Attributes {
	derived = derived.Clone()
	derived.Set(cryptoki.Bool(cryptoki.CKA_ALWAYS_SENSITIVE,
		base.Bool(cryptoki.CKA_ALWAYS_SENSITIVE) && derived.Bool(cryptoki.CKA_SENSITIVE)))
	derived.Set(cryptoki.Bool(cryptoki.CKA_NEVER_EXTRACTABLE,
		base.Bool(cryptoki.CKA_NEVER_EXTRACTABLE) && !derived.Bool(cryptoki.CKA_EXTRACTABLE)))
	return derived
}
