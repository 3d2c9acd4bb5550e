package gcpkms

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"math/big"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// pkcs8 is a private key as the service takes it. softkey has checked that the attributes are a key.
func pkcs8(attributes cryptoki.Attributes) ([]byte, error) {
	private, err := privateKey(attributes)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fault.New(fault.AttributeValueInvalid, "the private key has no PKCS#8 form: %w; check the key", err)
	}
	return der, nil
}

func privateKey(attributes cryptoki.Attributes) (any, error) {
	if keyType, _ := attributes.KeyType(); keyType == cryptoki.CKK_RSA {
		return rsaKey(attributes)
	}
	on, err := curve.Of(attributes)
	if err != nil {
		return nil, err
	}
	value := attributes.Bytes(cryptoki.CKA_VALUE)
	if len(value) > on.Bytes() {
		return nil, fault.New(fault.AttributeValueInvalid, "a private value on %s has %d bytes, not %d", on.Name, on.Bytes(), len(value))
	}
	padded := append(make([]byte, on.Bytes()-len(value)), value...)
	defer clear(padded)
	if on.KeyType == cryptoki.CKK_EC_EDWARDS {
		return ed25519.NewKeyFromSeed(padded), nil
	}
	private, err := ecdsa.ParseRawPrivateKey(on.Elliptic, padded)
	if err != nil {
		return nil, fault.New(fault.AttributeValueInvalid, "the value is no private key on %s; check the key", on.Name)
	}
	return private, nil
}

func rsaKey(attributes cryptoki.Attributes) (*rsa.PrivateKey, error) {
	number := func(t cryptoki.AttributeType) *big.Int { return new(big.Int).SetBytes(attributes.Bytes(t)) }
	for _, t := range []cryptoki.AttributeType{cryptoki.CKA_PUBLIC_EXPONENT, cryptoki.CKA_PRIVATE_EXPONENT, cryptoki.CKA_PRIME_1, cryptoki.CKA_PRIME_2} {
		if len(attributes.Bytes(t)) == 0 {
			return nil, fault.New(fault.TemplateIncomplete, "Google Cloud KMS takes an RSA key only with its primes; %s is missing", t)
		}
	}
	exponent := number(cryptoki.CKA_PUBLIC_EXPONENT)
	if !exponent.IsInt64() || exponent.Int64() != 65537 {
		return nil, fault.New(fault.AttributeValueInvalid, "Google Cloud KMS takes RSA keys only with the public exponent 65537, not %s", exponent)
	}
	private := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: number(cryptoki.CKA_MODULUS), E: 65537}, D: number(cryptoki.CKA_PRIVATE_EXPONENT),
		Primes: []*big.Int{number(cryptoki.CKA_PRIME_1), number(cryptoki.CKA_PRIME_2)},
	}
	private.Precompute()
	if err := private.Validate(); err != nil {
		return nil, fault.New(fault.AttributeValueInvalid, "the numbers are no RSA key that fits together; check the key")
	}
	return private, nil
}
