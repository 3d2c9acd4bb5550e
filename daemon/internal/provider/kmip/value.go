package kmip

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"math/big"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// material finds the key material in an object that Get returns.
func material(payload ttlv.Item, objectTag ttlv.Tag) (format uint32, block, value ttlv.Item, err error) {
	block = payload.In(objectTag).In(ttlv.TagKeyBlock)
	value, ok := block.In(ttlv.TagKeyValue).Find(ttlv.TagKeyMaterial)
	if _, wrapped := block.Find(ttlv.TagKeyWrappingData); !ok || wrapped {
		return 0, block, value, fault.New(fault.FunctionFailed, "the KMIP server gave no plain key in its answer to Get; see what its policy says of this key")
	}
	return block.Enum(ttlv.TagKeyFormatType), block, value, nil
}

func strange(what string, format uint32) error {
	return fault.New(fault.FunctionFailed, "the KMIP server gave a %s in the format 0x%x that cannot be read; AnyHSM takes PKCS#1, PKCS#8, X.509 and transparent keys", what, format)
}

// publicValue reads a public key.
func publicValue(payload ttlv.Item) (cryptoki.Attributes, error) {
	format, _, value, err := material(payload, ttlv.TagPublicKey)
	if err != nil {
		return nil, err
	}
	var key any
	switch format {
	case ttlv.FormatPkcs1:
		key, err = x509.ParsePKCS1PublicKey(value.Bytes)
	case ttlv.FormatX509:
		key, err = x509.ParsePKIXPublicKey(value.Bytes)
	case ttlv.FormatTransparentRsaPublicKey:
		modulus, _ := value.Find(ttlv.TagModulus)
		exponent, _ := value.Find(ttlv.TagPublicExponent)
		e := new(big.Int).SetBytes(exponent.Bytes)
		if e.BitLen() > 31 || e.Sign() == 0 || len(modulus.Bytes) < 128 {
			return nil, strange("public key", format)
		}
		key = &rsa.PublicKey{N: new(big.Int).SetBytes(modulus.Bytes), E: int(e.Int64())}
	case ttlv.FormatTransparentEcPublicKey, ttlv.FormatTransparentEcdsaPublicKey:
		point, _ := value.ByteValue(ttlv.TagQString)
		on, ok := curveNamed(value.Enum(ttlv.TagRecommendedCurve))
		if !ok {
			return nil, strange("public key", format)
		}
		key, err = ecdsa.ParseUncompressedPublicKey(on.Elliptic, point)
	default:
		return nil, strange("public key", format)
	}
	if err != nil {
		return nil, strange("public key", format)
	}
	public, err := softkey.PublicAttributes(key)
	if err != nil {
		return nil, strange("public key", format)
	}
	// Both halves have these; CKA_PUBLIC_KEY_INFO is the daemon's to compute.
	return pick(public, cryptoki.CKA_MODULUS, cryptoki.CKA_PUBLIC_EXPONENT, cryptoki.CKA_EC_PARAMS, cryptoki.CKA_EC_POINT), nil
}

func curveNamed(value uint32) (*curve.Curve, bool) {
	for name, number := range curves {
		if number == value {
			return curve.ByName(name)
		}
	}
	return nil, false
}

// secretValue reads the secret attributes of a private or secret key.
func secretValue(payload ttlv.Item, class cryptoki.ObjectClass) (cryptoki.Attributes, error) {
	tag := ttlv.TagSymmetricKey
	if class == cryptoki.CKO_PRIVATE_KEY {
		tag = ttlv.TagPrivateKey
	}
	format, _, value, err := material(payload, tag)
	if err != nil {
		return nil, err
	}
	var key any
	switch {
	case class == cryptoki.CKO_SECRET_KEY && format == ttlv.FormatRaw:
		return cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_VALUE, value.Bytes)}.Clone(), nil
	case class == cryptoki.CKO_SECRET_KEY && format == ttlv.FormatTransparentSymmetricKey:
		plain, _ := value.ByteValue(ttlv.TagKey)
		return cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_VALUE, plain)}.Clone(), nil
	case class == cryptoki.CKO_SECRET_KEY:
		return nil, strange("secret key", format)
	case format == ttlv.FormatPkcs1:
		key, err = x509.ParsePKCS1PrivateKey(value.Bytes)
	case format == ttlv.FormatPkcs8:
		key, err = x509.ParsePKCS8PrivateKey(value.Bytes)
	case format == ttlv.FormatEcPrivateKey:
		key, err = x509.ParseECPrivateKey(value.Bytes)
	default:
		return nil, strange("private key", format)
	}
	if err != nil {
		return nil, strange("private key", format)
	}
	_, secret, err := softkey.PrivateAttributes(key)
	return secret, err
}

// pkcs8 encodes the private key in an import.
func pkcs8(attributes cryptoki.Attributes, keyType cryptoki.KeyType) ([]byte, error) {
	var key any
	if keyType == cryptoki.CKK_EC {
		on, err := curve.Of(attributes)
		if err != nil {
			return nil, err
		}
		scalar := attributes.Bytes(cryptoki.CKA_VALUE)
		padded := new(big.Int).SetBytes(scalar)
		if padded.BitLen() > on.Bits {
			return nil, fault.New(fault.AttributeValueInvalid, "CKA_VALUE is larger than the order of %s", on.Name)
		}
		private, err := ecdsa.ParseRawPrivateKey(on.Elliptic, padded.FillBytes(make([]byte, on.Bytes())))
		if err != nil {
			return nil, fault.New(fault.AttributeValueInvalid, "CKA_VALUE is no private key of %s", on.Name)
		}
		key = private
	} else {
		number := func(t cryptoki.AttributeType) *big.Int { return new(big.Int).SetBytes(attributes.Bytes(t)) }
		for _, t := range []cryptoki.AttributeType{cryptoki.CKA_PRIVATE_EXPONENT, cryptoki.CKA_PRIME_1, cryptoki.CKA_PRIME_2} {
			if !attributes.Has(t) {
				return nil, fault.New(fault.TemplateIncomplete, "%s is missing; a KMIP server takes an RSA key only with its primes", t)
			}
		}
		private := &rsa.PrivateKey{
			PublicKey: rsa.PublicKey{N: number(cryptoki.CKA_MODULUS), E: int(number(cryptoki.CKA_PUBLIC_EXPONENT).Int64())},
			D:         number(cryptoki.CKA_PRIVATE_EXPONENT), Primes: []*big.Int{number(cryptoki.CKA_PRIME_1), number(cryptoki.CKA_PRIME_2)},
		}
		if err := private.Validate(); err != nil {
			return nil, fault.New(fault.AttributeValueInvalid, "the RSA key is none: its numbers do not fit together")
		}
		private.Precompute()
		key = private
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fault.New(fault.AttributeValueInvalid, "the private key cannot be encoded: %w", err)
	}
	return der, nil
}

// spki encodes the public half of an import.
func spki(public cryptoki.Attributes, keyType cryptoki.KeyType) ([]byte, error) {
	if keyType == cryptoki.CKK_RSA {
		return x509.MarshalPKIXPublicKey(&rsa.PublicKey{
			N: new(big.Int).SetBytes(public.Bytes(cryptoki.CKA_MODULUS)),
			E: int(new(big.Int).SetBytes(public.Bytes(cryptoki.CKA_PUBLIC_EXPONENT)).Int64()),
		})
	}
	on, err := curve.Of(public)
	if err != nil {
		return nil, err
	}
	var point []byte
	if _, err := asn1.Unmarshal(public.Bytes(cryptoki.CKA_EC_POINT), &point); err != nil {
		return nil, fault.New(fault.AttributeValueInvalid, "CKA_EC_POINT is no DER OCTET STRING")
	}
	key, err := ecdsa.ParseUncompressedPublicKey(on.Elliptic, point)
	if err != nil {
		return nil, fault.New(fault.PublicKeyInvalid, "CKA_EC_POINT is no point of %s", on.Name)
	}
	return x509.MarshalPKIXPublicKey(key)
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
