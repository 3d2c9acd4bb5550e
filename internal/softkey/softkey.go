// Package softkey performs the mechanisms on key values in memory. The module uses it for public keys and readable
// secrets, provider software for all keys.
package softkey

import (
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"

	"filippo.io/mldsa"
	mldsax509 "filippo.io/mldsa/x509"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// Curves are the elliptic curves that keys can be on: CKA_EC_PARAMS, names and sizes. Package curve reads them.
var Curves = curve.All()

// Key is a key whose value is in memory. Its methods are safe for concurrent use, but Wipe comes last.
type Key struct {
	keyType cryptoki.KeyType

	rsaPublic  *rsa.PublicKey
	rsaPrivate *rsa.PrivateKey
	crt        *crt
	// rsaBy does what rsaPrivate and crt can do, and faster; nil without it.
	rsaBy RSA

	curve     *curve.Curve
	ecPublic  *ecdsa.PublicKey
	ecPrivate *ecdsa.PrivateKey
	// ecBy signs in place of ecPrivate, and faster; nil without it.
	ecBy      ECDSA
	edPublic  ed25519.PublicKey
	edPrivate ed25519.PrivateKey

	mldsaPublic  *mldsa.PublicKey
	mldsaPrivate *mldsa.PrivateKey

	secret []byte
	block  cipher.Block
}

// FromAttributes makes a key of an object's attributes, a private or secret key's with the secret ones. It checks that
// the values are a key and fit each other: CKR_ATTRIBUTE_VALUE_INVALID, CKR_TEMPLATE_INCOMPLETE, CKR_KEY_SIZE_RANGE,
// CKR_CURVE_NOT_SUPPORTED, CKR_DOMAIN_PARAMS_INVALID, CKR_PUBLIC_KEY_INVALID.
func FromAttributes(attributes cryptoki.Attributes) (*Key, error) {
	class, _ := attributes.Class()
	keyType, ok := attributes.KeyType()
	if !ok {
		return nil, missing(cryptoki.CKA_KEY_TYPE)
	}
	k := &Key{keyType: keyType}
	var err error
	switch {
	case class == cryptoki.CKO_SECRET_KEY:
		err = k.readSecret(attributes)
	case class != cryptoki.CKO_PUBLIC_KEY && class != cryptoki.CKO_PRIVATE_KEY:
		err = fault.New(fault.KeyHandleInvalid, "the object is no key; use a key's handle")
	case keyType == cryptoki.CKK_RSA:
		err = k.readRSA(attributes, class == cryptoki.CKO_PRIVATE_KEY)
	case keyType == cryptoki.CKK_EC || keyType == cryptoki.CKK_EC_EDWARDS:
		err = k.readEC(attributes, class == cryptoki.CKO_PRIVATE_KEY)
	case keyType == cryptoki.CKK_ML_DSA:
		err = k.readMLDSA(attributes, class == cryptoki.CKO_PRIVATE_KEY)
	default:
		err = fault.New(fault.KeyTypeInconsistent, "keys of type %v are not supported in software; use RSA, EC, Edwards or ML-DSA keys", keyType)
	}
	if err != nil {
		k.Wipe()
		return nil, err
	}
	return k, nil
}

// Sign signs or computes a MAC. A hashing mechanism hashes the data first.
func (k *Key) Sign(m cryptoki.Mechanism, data []byte) ([]byte, error) {
	info, err := k.check(m, cryptoki.CKF_SIGN)
	if err != nil {
		return nil, err
	}
	if info.Hashing() {
		if m, data, err = digest(m, info, data); err != nil {
			return nil, err
		}
	}
	switch {
	case k.rsaPrivate != nil:
		return k.signRSA(m, data)
	case k.ecPrivate != nil:
		return k.signECDSA(data)
	case k.edPrivate != nil:
		return k.signEdDSA(m, data)
	case k.mldsaPrivate != nil:
		return k.signMLDSA(m, data)
	case k.secret != nil:
		return k.mac(m, info, data), nil
	default:
		return nil, publicOnly(m)
	}
}

// Verify checks a signature or MAC: CKR_SIGNATURE_LEN_RANGE, CKR_SIGNATURE_INVALID. An ECDSA signature may be shorter
// than two field elements, with equal halves: SunPKCS11 cuts leading zeros.
func (k *Key) Verify(m cryptoki.Mechanism, data, signature []byte) error {
	info, err := k.check(m, cryptoki.CKF_VERIFY)
	if err != nil {
		return err
	}
	if info.Hashing() {
		if m, data, err = digest(m, info, data); err != nil {
			return err
		}
	}
	switch {
	case k.rsaPublic != nil:
		return k.verifyRSA(m, data, signature)
	case k.ecPublic != nil:
		return k.verifyECDSA(data, signature)
	case k.edPublic != nil:
		return k.verifyEdDSA(m, data, signature)
	case k.mldsaPublic != nil:
		return k.verifyMLDSA(m, data, signature)
	case k.secret != nil:
		return k.verifyMAC(m, info, data, signature)
	default:
		return wiped()
	}
}

// Encrypt encrypts: with a public RSA key or with AES.
func (k *Key) Encrypt(m cryptoki.Mechanism, plaintext []byte) ([]byte, error) {
	if _, err := k.check(m, cryptoki.CKF_ENCRYPT); err != nil {
		return nil, err
	}
	switch {
	case k.rsaPublic != nil:
		return k.encryptRSA(m, plaintext)
	case k.block != nil:
		return k.encryptAES(m, plaintext)
	default:
		return nil, wiped()
	}
}

// Decrypt decrypts: CKR_ENCRYPTED_DATA_LEN_RANGE, CKR_ENCRYPTED_DATA_INVALID (also for a GCM tag that does not fit, as
// C_Decrypt's return values say and Java expects).
func (k *Key) Decrypt(m cryptoki.Mechanism, ciphertext []byte) ([]byte, error) {
	if _, err := k.check(m, cryptoki.CKF_DECRYPT); err != nil {
		return nil, err
	}
	switch {
	case k.rsaPrivate != nil:
		return k.decryptRSA(m, ciphertext)
	case k.block != nil:
		return k.decryptAES(m, ciphertext)
	default:
		return nil, publicOnly(m)
	}
}

// Derive derives a shared secret of `length` bytes, all there is if 0. Of a plain shared secret that is too long the
// last bytes are taken, as the standard says.
func (k *Key) Derive(m cryptoki.Mechanism, length int) ([]byte, error) {
	if _, err := k.check(m, cryptoki.CKF_DERIVE); err != nil {
		return nil, err
	}
	if k.ecPrivate == nil {
		return nil, publicOnly(m)
	}
	return k.deriveECDH(m.Params.(cryptoki.ECDH1Params), length)
}

// Public returns the public key as crypto/x509 or filippo.io/mldsa knows it; nil for a secret key.
func (k *Key) Public() any {
	switch {
	case k.rsaPublic != nil:
		return k.rsaPublic
	case k.ecPublic != nil:
		return k.ecPublic
	case k.edPublic != nil:
		return k.edPublic
	case k.mldsaPublic != nil:
		return k.mldsaPublic
	default:
		return nil
	}
}

// PublicAttributes returns the public half as attributes: CKA_MODULUS and CKA_PUBLIC_EXPONENT, CKA_EC_PARAMS and
// CKA_EC_POINT, or CKA_PARAMETER_SET, CKA_VALUE and CKA_PUBLIC_KEY_INFO. Nil for a secret key.
func (k *Key) PublicAttributes() cryptoki.Attributes {
	attributes, err := PublicAttributes(k.Public())
	if err != nil {
		return nil
	}
	attributes.Remove(cryptoki.CKA_KEY_TYPE)
	return attributes
}

// PKCS8 returns a private key as PKCS#8, DER, which ParsePKCS8 reads. The caller wipes it.
func (k *Key) PKCS8() ([]byte, error) {
	var private any
	switch {
	case k.rsaPrivate != nil:
		private = k.rsaPrivate
	case k.ecPrivate != nil:
		private = k.ecPrivate
	case k.edPrivate != nil:
		private = k.edPrivate
	case k.mldsaPrivate != nil:
		private = k.mldsaPrivate
	default:
		return nil, fault.New(fault.KeyTypeInconsistent, "only a private key has a PKCS#8 form; give one")
	}
	der, err := mldsax509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fault.New(fault.AttributeValueInvalid, "the private key has no PKCS#8 form: %w; check the key", err)
	}
	return der, nil
}

// check makes sure that parameter, use and key type go together, so that what follows cannot fail for those reasons.
func (k *Key) check(m cryptoki.Mechanism, use cryptoki.Flags) (mechanism.Info, error) {
	if err := mechanism.CheckParams(m, use); err != nil {
		return mechanism.Info{}, err
	}
	info, _ := mechanism.Lookup(m.Type)
	for _, t := range info.KeyTypes {
		if t == k.keyType {
			return info, nil
		}
	}
	return mechanism.Info{}, fault.New(fault.KeyTypeInconsistent, "a key of type %v does not go with %v; use another key or mechanism", k.keyType, m.Type)
}

func digest(m cryptoki.Mechanism, info mechanism.Info, data []byte) (cryptoki.Mechanism, []byte, error) {
	h := info.Hash.New()
	h.Write(data)
	return mechanism.Reduce(m, h.Sum(nil))
}

func wiped() error {
	return fault.New(fault.KeyHandleInvalid, "the key has been wiped; load it again")
}

func publicOnly(m cryptoki.Mechanism) error {
	return fault.New(fault.KeyFunctionNotPermitted, "%v needs a private key for this; the key is a public one", m.Type)
}

func missing(t cryptoki.AttributeType) error {
	return fault.New(fault.TemplateIncomplete, "the key lacks %v; add it", t)
}

func wrong(t cryptoki.AttributeType, what string) error {
	return fault.New(fault.AttributeValueInvalid, "%v %s; check the key", t, what)
}

func dataLength(m cryptoki.Mechanism, got int) error {
	return fault.New(fault.DataLenRange, "%d bytes are too many or too few for %v with this key", got, m.Type)
}

func ciphertextLength(m cryptoki.Mechanism, got int) error {
	return fault.New(fault.EncryptedDataLenRange, "%d bytes cannot be what %v makes with this key", got, m.Type)
}

func signatureLength(got int) error {
	return fault.New(fault.SignatureLenRange, "a signature by this key does not have %d bytes", got)
}
