package object

import (
	"crypto/sha1"
	"encoding/binary"
	"math/bits"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
)

// generates says what the generation mechanisms make.
var generates = map[cryptoki.MechanismType]cryptoki.KeyType{
	cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN:   cryptoki.CKK_RSA,
	cryptoki.CKM_EC_KEY_PAIR_GEN:         cryptoki.CKK_EC,
	cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN: cryptoki.CKK_EC_EDWARDS,
	cryptoki.CKM_ML_DSA_KEY_PAIR_GEN:     cryptoki.CKK_ML_DSA,
	cryptoki.CKM_AES_KEY_GEN:             cryptoki.CKK_AES,
	cryptoki.CKM_GENERIC_SECRET_KEY_GEN:  cryptoki.CKK_GENERIC_SECRET,
}

// abilities are the uses that a key of a family has in this product or by the standard. A template that asks for another
// one is not refused: pkcs11-tool and Java ask for SIGN and DECRYPT on any key. The object then says false.
var abilities = map[families]map[classes][]cryptoki.AttributeType{
	rsa: {
		publicKey:  {cryptoki.CKA_ENCRYPT, cryptoki.CKA_VERIFY, cryptoki.CKA_WRAP},
		privateKey: {cryptoki.CKA_DECRYPT, cryptoki.CKA_SIGN, cryptoki.CKA_UNWRAP},
	},
	ec: {
		// SunPKCS11 never sets CKA_DERIVE on EC keys and derives with them all the same.
		publicKey:  {cryptoki.CKA_VERIFY, cryptoki.CKA_DERIVE},
		privateKey: {cryptoki.CKA_SIGN, cryptoki.CKA_DERIVE},
	},
	mldsa: {
		publicKey:  {cryptoki.CKA_VERIFY},
		privateKey: {cryptoki.CKA_SIGN},
	},
	aes: {secretKey: {
		cryptoki.CKA_ENCRYPT, cryptoki.CKA_DECRYPT, cryptoki.CKA_SIGN, cryptoki.CKA_VERIFY, cryptoki.CKA_WRAP,
		cryptoki.CKA_UNWRAP, cryptoki.CKA_DERIVE,
	}},
	generic: {secretKey: {cryptoki.CKA_SIGN, cryptoki.CKA_VERIFY, cryptoki.CKA_DERIVE}},
}

// able tells whether a key can do what a usage attribute says.
func able(c classes, keyType cryptoki.KeyType, t cryptoki.AttributeType) bool {
	if keyType == cryptoki.CKK_EC_EDWARDS && t == cryptoki.CKA_DERIVE {
		return false
	}
	for _, a := range abilities[familyOf(keyType)][c] {
		if a == t {
			return true
		}
	}
	return false
}

// defaults returns all attributes of the object in the order of the rules.
func defaults(purpose Purpose, mechanism cryptoki.MechanismType, c classes, f families, given cryptoki.Attributes) cryptoki.Attributes {
	complete := make(cryptoki.Attributes, 0, len(rules)/2)
	keyType, _ := given.KeyType()
	for i := range rules {
		r := &rules[i]
		if r.classes&c == 0 || r.families&f == 0 {
			continue
		}
		value, ok := given.Get(r.attribute)
		if ok && r.flags&usage != 0 && value[0] != 0 && !able(c, keyType, r.attribute) {
			value = []byte{0}
		}
		if !ok {
			value, ok = fallback(purpose, mechanism, c, keyType, r, given, complete)
		}
		if ok {
			complete = append(complete, cryptoki.Attribute{Type: r.attribute, Value: value})
		}
	}
	return complete
}

// fallback returns the value of an attribute that the template does not give; false if the object has none yet.
func fallback(purpose Purpose, mechanism cryptoki.MechanismType, c classes, keyType cryptoki.KeyType, r *rule, given, complete cryptoki.Attributes) ([]byte, bool) {
	// A derived session secret whose template says nothing of secrecy is readable: SunPKCS11's ECDH reads the
	// CKA_VALUE of such a key, and whoever may derive may ask for that anyway.
	readable := purpose == Derive && !given.Bool(cryptoki.CKA_TOKEN) &&
		!given.Has(cryptoki.CKA_SENSITIVE) && !given.Has(cryptoki.CKA_EXTRACTABLE)
	switch t := r.attribute; t {
	case cryptoki.CKA_UNIQUE_ID:
		return nil, false // the store's
	case cryptoki.CKA_ANYHSM_PROVIDER:
		return nil, false // where the key is may change, and whoever did not ask need not know
	case cryptoki.CKA_PRIVATE:
		return boolean(c&(privateKey|secretKey) != 0), true
	case cryptoki.CKA_MODIFIABLE, cryptoki.CKA_COPYABLE, cryptoki.CKA_DESTROYABLE:
		return boolean(true), true
	case cryptoki.CKA_SENSITIVE:
		return boolean(!readable), true
	case cryptoki.CKA_EXTRACTABLE:
		return boolean(readable), true
	case cryptoki.CKA_LOCAL:
		return boolean(purpose == Generate), true
	case cryptoki.CKA_ALWAYS_SENSITIVE:
		return boolean(purpose == Generate && complete.Bool(cryptoki.CKA_SENSITIVE)), true
	case cryptoki.CKA_NEVER_EXTRACTABLE:
		return boolean(purpose == Generate && !complete.Bool(cryptoki.CKA_EXTRACTABLE)), true
	case cryptoki.CKA_KEY_GEN_MECHANISM:
		if purpose == Generate {
			return ulong(uint64(mechanism)), true
		}
		return ulong(cryptoki.Unavailable), true
	case cryptoki.CKA_NAME_HASH_ALGORITHM:
		return ulong(uint64(cryptoki.CKM_SHA_1)), true
	case cryptoki.CKA_ID:
		if c&(publicKey|privateKey) != 0 {
			return defaultID(given), true
		}
		return nil, true
	case cryptoki.CKA_PUBLIC_KEY_INFO:
		return publicKeyInfo(given), true
	case cryptoki.CKA_MODULUS_BITS:
		n := trim(given.Bytes(cryptoki.CKA_MODULUS))
		if len(n) == 0 {
			return nil, false
		}
		return ulong(uint64(8*(len(n)-1) + bits.Len8(n[0]))), true
	case cryptoki.CKA_VALUE_LEN:
		value, ok := given.Get(cryptoki.CKA_VALUE)
		return ulong(uint64(len(value))), ok
	case cryptoki.CKA_PUBLIC_EXPONENT:
		return []byte{1, 0, 1}, c == publicKey
	case cryptoki.CKA_DERIVE:
		// The standard's default is false; only for EC keys it would break Java.
		return boolean(able(c, keyType, t) && familyOf(keyType) == ec), true
	case cryptoki.CKA_ALLOWED_MECHANISMS, cryptoki.CKA_WRAP_TEMPLATE, cryptoki.CKA_UNWRAP_TEMPLATE,
		cryptoki.CKA_DERIVE_TEMPLATE, cryptoki.CKA_CHECK_VALUE:
		return nil, false // no list means no restriction
	default:
		if r.flags&usage != 0 {
			return boolean(able(c, keyType, t)), true
		}
		if r.families != anyType || c == profile {
			return nil, false // key material
		}
		switch r.kind {
		case Bool:
			return boolean(false), true
		case Ulong:
			return ulong(0), true
		default:
			return nil, true
		}
	}
}

// defaultID is the SHA-1 of the modulus, of the point or of the ML-DSA public key, as NSS and strongSwan compute it; empty if neither is known.
func defaultID(key cryptoki.Attributes) []byte {
	material := trim(key.Bytes(cryptoki.CKA_MODULUS))
	if value, ok := key.Get(cryptoki.CKA_EC_POINT); ok {
		material = value
		if c, err := curve.Of(key); err == nil {
			if point, ok := c.Point(value); ok {
				material = point
			}
		}
	}
	if _, public, ok := publicMLDSA(key); ok {
		material = public
	}
	if len(material) == 0 {
		return nil
	}
	id := sha1.Sum(material)
	return id[:]
}

func boolean(value bool) []byte {
	if value {
		return []byte{1}
	}
	return []byte{0}
}

func ulong(value uint64) []byte { return binary.LittleEndian.AppendUint64(nil, value) }
