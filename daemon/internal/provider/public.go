package provider

import (
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// PublicTypes are the attributes of a key pair's public half that a provider tells, as in Generated.Public.
var PublicTypes = []cryptoki.AttributeType{
	cryptoki.CKA_MODULUS, cryptoki.CKA_PUBLIC_EXPONENT, cryptoki.CKA_EC_PARAMS, cryptoki.CKA_EC_POINT,
	cryptoki.CKA_PARAMETER_SET, cryptoki.CKA_VALUE, cryptoki.CKA_PUBLIC_KEY_INFO,
}

// ReadPublicKey reads a SubjectPublicKeyInfo, as services give it: the type of the key and its PublicTypes.
func ReadPublicKey(der []byte) (cryptoki.KeyType, cryptoki.Attributes, error) {
	parsed, err := softkey.ParsePKIX(der)
	if err != nil {
		return 0, nil, err
	}
	all, err := softkey.PublicAttributes(parsed)
	if err != nil {
		return 0, nil, err
	}
	keyType, _ := all.KeyType()
	all.Remove(cryptoki.CKA_KEY_TYPE)
	return keyType, all, nil
}

// PublicHalf is the public key of a private key object, from its open attributes or from others that tell of it; nil if
// they do not suffice. It verifies what a service has signed.
func PublicHalf(keyType cryptoki.KeyType, known cryptoki.Attributes) *softkey.Key {
	public := cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PUBLIC_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, keyType)}
	for _, t := range PublicTypes {
		if value := known.Bytes(t); len(value) > 0 {
			public = append(public, cryptoki.Bytes(t, value))
		}
	}
	parsed, err := softkey.FromAttributes(public)
	if err != nil {
		return nil
	}
	return parsed
}

// OnPrivate leaves of a pair's public attributes those that the private half shows as well: an ML-DSA key's CKA_VALUE is
// another one there, and a secret.
func OnPrivate(public cryptoki.Attributes) cryptoki.Attributes {
	shown := public.Clone()
	shown.Remove(cryptoki.CKA_VALUE)
	return shown
}
