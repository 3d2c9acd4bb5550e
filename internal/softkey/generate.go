package softkey

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"math/big"

	"filippo.io/mldsa"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

// GenerateSecret makes the value of a secret key whose complete attributes are given: CKA_VALUE, of CKA_VALUE_LEN bytes.
func GenerateSecret(m cryptoki.Mechanism, attributes cryptoki.Attributes) (secret cryptoki.Attributes, err error) {
	length, ok := attributes.Ulong(cryptoki.CKA_VALUE_LEN)
	if !ok {
		return nil, missing(cryptoki.CKA_VALUE_LEN)
	}
	switch m.Type {
	case cryptoki.CKM_AES_KEY_GEN:
		if length != 16 && length != 24 && length != 32 {
			return nil, wrong(cryptoki.CKA_VALUE_LEN, "is not 16, 24 or 32")
		}
	case cryptoki.CKM_GENERIC_SECRET_KEY_GEN:
		if length == 0 || length > maxSecret {
			return nil, wrong(cryptoki.CKA_VALUE_LEN, "is not 1 to 4096")
		}
	default:
		return nil, fault.New(fault.MechanismInvalid, "%v makes no secret keys; use CKM_AES_KEY_GEN or CKM_GENERIC_SECRET_KEY_GEN", m.Type)
	}
	value := make([]byte, length)
	rand.Read(value) // never fails
	return cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_VALUE, value)}, nil
}

// GenerateKeyPair makes a key pair: open holds what both halves get (CKA_MODULUS and CKA_PUBLIC_EXPONENT, or
// CKA_EC_PARAMS and CKA_EC_POINT, or what PublicAttributes says of ML-DSA), secret what only the private one does. The public exponent is 65537.
func GenerateKeyPair(m cryptoki.Mechanism, public, _ cryptoki.Attributes) (open, secret cryptoki.Attributes, err error) {
	var key any
	switch m.Type {
	case cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN:
		bits, ok := public.Ulong(cryptoki.CKA_MODULUS_BITS)
		if !ok {
			return nil, nil, missing(cryptoki.CKA_MODULUS_BITS)
		}
		// C_GenerateKeyPair has no CKR_KEY_SIZE_RANGE.
		if bits < minNewRSA || bits > maxRSA {
			return nil, nil, wrong(cryptoki.CKA_MODULUS_BITS, "is not 2048 to 8192")
		}
		if e := integer(public, cryptoki.CKA_PUBLIC_EXPONENT); e != nil && e.Cmp(big.NewInt(defaultExponent)) != 0 {
			return nil, nil, wrong(cryptoki.CKA_PUBLIC_EXPONENT, "is not 65537, the only one that new keys get")
		}
		key, err = rsa.GenerateKey(rand.Reader, int(bits))
	case cryptoki.CKM_EC_KEY_PAIR_GEN, cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN:
		c, parseErr := curve.Of(public)
		if parseErr != nil {
			return nil, nil, fault.New(fault.From(parseErr).Kind, "CKA_EC_PARAMS names no curve that is supported; use P-224, P-256, P-384, P-521 or Ed25519: %w", parseErr)
		}
		if (c.Elliptic == nil) != (m.Type == cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN) {
			return nil, nil, fault.New(fault.CurveNotSupported, "%v does not make keys on %s; use the other mechanism", m.Type, c.Name)
		}
		if c.Elliptic != nil {
			key, err = ecdsa.GenerateKey(c.Elliptic, rand.Reader)
		} else {
			_, key, err = ed25519.GenerateKey(rand.Reader)
		}
	case cryptoki.CKM_ML_DSA_KEY_PAIR_GEN:
		set, parseErr := parameterset.Of(public)
		if parseErr != nil {
			return nil, nil, parseErr
		}
		key, err = mldsa.GenerateKey(parametersOf(set))
	default:
		return nil, nil, fault.New(fault.MechanismInvalid, "%v makes no key pairs; use CKM_RSA_PKCS_KEY_PAIR_GEN, CKM_EC_KEY_PAIR_GEN, CKM_EC_EDWARDS_KEY_PAIR_GEN or CKM_ML_DSA_KEY_PAIR_GEN", m.Type)
	}
	if err != nil {
		return nil, nil, fault.New(fault.FunctionFailed, "the key pair could not be generated: %w", err)
	}
	open, secret, err = PrivateAttributes(key)
	if err != nil {
		return nil, nil, err
	}
	open.Remove(cryptoki.CKA_KEY_TYPE)
	return open, secret, nil
}
