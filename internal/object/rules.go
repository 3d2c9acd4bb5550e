package object

import "github.com/anyhsm/anyhsm/internal/cryptoki"

// classes is a set of object classes.
type classes uint8

const (
	data classes = 1 << iota
	certificate
	publicKey
	privateKey
	secretKey
	profile

	keys    = publicKey | privateKey | secretKey
	storage = data | certificate | keys
)

// families is a set of key types that share their attributes.
type families uint8

const (
	rsa families = 1 << iota
	ec
	aes
	generic
	mldsa

	symmetric = aes | generic
	anyType   = rsa | ec | symmetric | mldsa
)

// flags says what the standard's footnotes say of an attribute (section 4.1.2).
type flags uint16

const (
	// required: C_CreateObject must give it (footnote 1).
	required flags = 1 << iota
	// notCreate: C_CreateObject must not give it (2).
	notCreate
	// fact: it follows from the value, so one that is right is tolerated where it must not be given.
	fact
	// requiredGenerate: key generation must give it (3).
	requiredGenerate
	// notGenerate: key generation must not give it (4).
	notGenerate
	// modifiable: C_SetAttributeValue and C_CopyObject may change it (8).
	modifiable
	// copyable: only C_CopyObject may change it.
	copyable
	// onlyTrue: once true it stays true (11).
	onlyTrue
	// onlyFalse: once false it stays false (12).
	onlyFalse
	// secret: not revealed while the key is sensitive or not extractable (7).
	secret
	// integer: a big integer, kept without leading zeros.
	integer
	// byOfficer: only the SO sets it to true (10).
	byOfficer
	// usage: one of the CKF-like flags, masked by what the key type can do.
	usage

	// readOnly: only the token sets it (2, 4, 6).
	readOnly = notCreate | notGenerate
)

// rule is one attribute of some classes and key types.
type rule struct {
	attribute cryptoki.AttributeType
	classes   classes
	families  families
	kind      ValueKind
	flags     flags
}

// rules are all attributes that objects here have, in the order in which an object lists them.
var rules = []rule{
	{cryptoki.CKA_CLASS, storage | profile, anyType, Ulong, required},
	{cryptoki.CKA_TOKEN, storage | profile, anyType, Bool, copyable},
	{cryptoki.CKA_PRIVATE, storage | profile, anyType, Bool, copyable},
	{cryptoki.CKA_LABEL, storage, anyType, Bytes, modifiable},
	{cryptoki.CKA_UNIQUE_ID, storage | profile, anyType, Bytes, readOnly},
	{cryptoki.CKA_MODIFIABLE, storage | profile, anyType, Bool, copyable},
	{cryptoki.CKA_COPYABLE, storage | profile, anyType, Bool, modifiable | onlyFalse},
	{cryptoki.CKA_DESTROYABLE, storage | profile, anyType, Bool, copyable},
	{cryptoki.CKA_PROFILE_ID, profile, anyType, Ulong, readOnly},

	{cryptoki.CKA_APPLICATION, data, anyType, Bytes, modifiable},
	{cryptoki.CKA_OBJECT_ID, data, anyType, Bytes, modifiable},
	{cryptoki.CKA_VALUE, data, anyType, Bytes, modifiable},

	{cryptoki.CKA_CERTIFICATE_TYPE, certificate, anyType, Ulong, required},
	{cryptoki.CKA_CERTIFICATE_CATEGORY, certificate, anyType, Ulong, 0},
	{cryptoki.CKA_VALUE, certificate, anyType, Bytes, 0},
	{cryptoki.CKA_ISSUER, certificate, anyType, Bytes, modifiable},
	{cryptoki.CKA_SERIAL_NUMBER, certificate, anyType, Bytes, modifiable},
	{cryptoki.CKA_URL, certificate, anyType, Bytes, 0},
	{cryptoki.CKA_HASH_OF_SUBJECT_PUBLIC_KEY, certificate, anyType, Bytes, 0},
	{cryptoki.CKA_HASH_OF_ISSUER_PUBLIC_KEY, certificate, anyType, Bytes, 0},
	{cryptoki.CKA_NAME_HASH_ALGORITHM, certificate, anyType, Ulong, 0},
	{cryptoki.CKA_JAVA_MIDP_SECURITY_DOMAIN, certificate, anyType, Ulong, 0},
	{cryptoki.CKA_SUBJECT, certificate, anyType, Bytes, required},
	{cryptoki.CKA_CHECK_VALUE, certificate | secretKey, anyType, Bytes, 0},

	{cryptoki.CKA_KEY_TYPE, keys, anyType, Ulong, required},
	{cryptoki.CKA_ID, keys | certificate, anyType, Bytes, modifiable},
	{cryptoki.CKA_START_DATE, keys, anyType, Date, modifiable},
	{cryptoki.CKA_END_DATE, keys, anyType, Date, modifiable},
	{cryptoki.CKA_START_DATE, certificate, anyType, Date, 0},
	{cryptoki.CKA_END_DATE, certificate, anyType, Date, 0},
	{cryptoki.CKA_SUBJECT, publicKey | privateKey, anyType, Bytes, modifiable},
	{cryptoki.CKA_SENSITIVE, privateKey | secretKey, anyType, Bool, modifiable | onlyTrue},
	{cryptoki.CKA_EXTRACTABLE, privateKey | secretKey, anyType, Bool, modifiable | onlyFalse},
	{cryptoki.CKA_ENCRYPT, publicKey | secretKey, anyType, Bool, modifiable | usage},
	{cryptoki.CKA_DECRYPT, privateKey | secretKey, anyType, Bool, modifiable | usage},
	{cryptoki.CKA_SIGN, privateKey | secretKey, anyType, Bool, modifiable | usage},
	{cryptoki.CKA_SIGN_RECOVER, privateKey, anyType, Bool, modifiable | usage},
	{cryptoki.CKA_VERIFY, publicKey | secretKey, anyType, Bool, modifiable | usage},
	{cryptoki.CKA_VERIFY_RECOVER, publicKey, anyType, Bool, modifiable | usage},
	{cryptoki.CKA_WRAP, publicKey | secretKey, anyType, Bool, modifiable | usage},
	{cryptoki.CKA_UNWRAP, privateKey | secretKey, anyType, Bool, modifiable | usage},
	{cryptoki.CKA_DERIVE, keys, anyType, Bool, modifiable | usage},
	{cryptoki.CKA_ENCAPSULATE, publicKey, anyType, Bool, modifiable | usage},
	{cryptoki.CKA_DECAPSULATE, privateKey, anyType, Bool, modifiable | usage},
	{cryptoki.CKA_LOCAL, keys, anyType, Bool, readOnly},
	{cryptoki.CKA_KEY_GEN_MECHANISM, keys, anyType, Ulong, readOnly},
	{cryptoki.CKA_ALWAYS_SENSITIVE, privateKey | secretKey, anyType, Bool, readOnly},
	{cryptoki.CKA_NEVER_EXTRACTABLE, privateKey | secretKey, anyType, Bool, readOnly},
	{cryptoki.CKA_WRAP_WITH_TRUSTED, privateKey | secretKey, anyType, Bool, modifiable | onlyTrue},
	{cryptoki.CKA_ALWAYS_AUTHENTICATE, privateKey, anyType, Bool, 0},
	{cryptoki.CKA_TRUSTED, publicKey | secretKey | certificate, anyType, Bool, modifiable | byOfficer},
	{cryptoki.CKA_ALLOWED_MECHANISMS, keys, anyType, Ulongs, 0},
	{cryptoki.CKA_WRAP_TEMPLATE, publicKey | secretKey, anyType, Template, 0},
	{cryptoki.CKA_UNWRAP_TEMPLATE, privateKey | secretKey, anyType, Template, 0},
	{cryptoki.CKA_DERIVE_TEMPLATE, privateKey | secretKey, anyType, Template, 0},
	{cryptoki.CKA_PUBLIC_KEY_INFO, publicKey | privateKey | certificate, anyType, Bytes, 0},

	{cryptoki.CKA_MODULUS_BITS, publicKey, rsa, Ulong, notCreate | fact | requiredGenerate},
	{cryptoki.CKA_MODULUS, publicKey | privateKey, rsa, Bytes, required | notGenerate | integer},
	{cryptoki.CKA_PUBLIC_EXPONENT, publicKey, rsa, Bytes, required | integer},
	{cryptoki.CKA_PUBLIC_EXPONENT, privateKey, rsa, Bytes, required | notGenerate | fact | integer},
	{cryptoki.CKA_PRIVATE_EXPONENT, privateKey, rsa, Bytes, required | notGenerate | secret | integer},
	{cryptoki.CKA_PRIME_1, privateKey, rsa, Bytes, notGenerate | secret | integer},
	{cryptoki.CKA_PRIME_2, privateKey, rsa, Bytes, notGenerate | secret | integer},
	{cryptoki.CKA_EXPONENT_1, privateKey, rsa, Bytes, notGenerate | secret | integer},
	{cryptoki.CKA_EXPONENT_2, privateKey, rsa, Bytes, notGenerate | secret | integer},
	{cryptoki.CKA_COEFFICIENT, privateKey, rsa, Bytes, notGenerate | secret | integer},

	{cryptoki.CKA_EC_PARAMS, publicKey, ec, Bytes, required | requiredGenerate},
	{cryptoki.CKA_EC_PARAMS, privateKey, ec, Bytes, required | notGenerate | fact},
	{cryptoki.CKA_EC_POINT, publicKey, ec, Bytes, required | notGenerate},
	// The standard gives private EC keys no point; libp11 and others read it there, so ours have it.
	{cryptoki.CKA_EC_POINT, privateKey, ec, Bytes, notGenerate},
	{cryptoki.CKA_VALUE, privateKey, ec, Bytes, required | notGenerate | secret},

	{cryptoki.CKA_PARAMETER_SET, publicKey, mldsa, Ulong, required | requiredGenerate},
	{cryptoki.CKA_PARAMETER_SET, privateKey, mldsa, Ulong, required | notGenerate | fact},
	{cryptoki.CKA_VALUE, publicKey, mldsa, Bytes, required | notGenerate},
	// The standard wants one of the two. The library that signs starts from the seed.
	{cryptoki.CKA_SEED, privateKey, mldsa, Bytes, required | notGenerate | secret},
	{cryptoki.CKA_VALUE, privateKey, mldsa, Bytes, notGenerate | secret},

	{cryptoki.CKA_VALUE_LEN, secretKey, symmetric, Ulong, notCreate | fact | requiredGenerate},
	{cryptoki.CKA_VALUE, secretKey, symmetric, Bytes, required | notGenerate | secret},

	// Ours: it chooses the provider of a new key, and tells it afterwards.
	{cryptoki.CKA_ANYHSM_PROVIDER, privateKey | secretKey, anyType, Bytes, 0},
}

// kindsElsewhere are the encodings of attributes that no object here has but a search may name.
var kindsElsewhere = map[cryptoki.AttributeType]ValueKind{
	cryptoki.CKA_HW_FEATURE_TYPE:      Ulong,
	cryptoki.CKA_RESET_ON_INIT:        Bool,
	cryptoki.CKA_HAS_RESET:            Bool,
	cryptoki.CKA_MECHANISM_TYPE:       Ulong,
	cryptoki.CKA_PRIME_BITS:           Ulong,
	cryptoki.CKA_SUBPRIME_BITS:        Ulong,
	cryptoki.CKA_VALUE_BITS:           Ulong,
	cryptoki.CKA_SECONDARY_AUTH:       Bool,
	cryptoki.CKA_AUTH_PIN_FLAGS:       Ulong,
	cryptoki.CKA_ENCAPSULATE_TEMPLATE: Template,
	cryptoki.CKA_DECAPSULATE_TEMPLATE: Template,
}

var byType = func() map[cryptoki.AttributeType][]*rule {
	m := map[cryptoki.AttributeType][]*rule{}
	for i := range rules {
		m[rules[i].attribute] = append(m[rules[i].attribute], &rules[i])
	}
	return m
}()

// find returns the rule of an attribute for one class and one family.
func find(c classes, f families, t cryptoki.AttributeType) (*rule, bool) {
	for _, r := range byType[t] {
		if r.classes&c != 0 && (r.families&f != 0 || r.families == anyType) {
			return r, true
		}
	}
	return nil, false
}

func classOf(c cryptoki.ObjectClass) classes {
	switch c {
	case cryptoki.CKO_DATA:
		return data
	case cryptoki.CKO_CERTIFICATE:
		return certificate
	case cryptoki.CKO_PUBLIC_KEY:
		return publicKey
	case cryptoki.CKO_PRIVATE_KEY:
		return privateKey
	case cryptoki.CKO_SECRET_KEY:
		return secretKey
	case cryptoki.CKO_PROFILE:
		return profile
	default:
		return 0
	}
}

func familyOf(t cryptoki.KeyType) families {
	switch t {
	case cryptoki.CKK_RSA:
		return rsa
	case cryptoki.CKK_EC, cryptoki.CKK_EC_EDWARDS:
		return ec
	case cryptoki.CKK_AES:
		return aes
	case cryptoki.CKK_ML_DSA:
		return mldsa
	case cryptoki.CKK_GENERIC_SECRET, cryptoki.CKK_MD5_HMAC, cryptoki.CKK_SHA_1_HMAC, cryptoki.CKK_SHA224_HMAC,
		cryptoki.CKK_SHA256_HMAC, cryptoki.CKK_SHA384_HMAC, cryptoki.CKK_SHA512_HMAC, cryptoki.CKK_SHA3_224_HMAC,
		cryptoki.CKK_SHA3_256_HMAC, cryptoki.CKK_SHA3_384_HMAC, cryptoki.CKK_SHA3_512_HMAC,
		cryptoki.CKK_SHA512_224_HMAC, cryptoki.CKK_SHA512_256_HMAC:
		return generic
	default:
		return 0
	}
}

// shape returns class and family of complete attributes.
func shape(attributes cryptoki.Attributes) (classes, families) {
	class, ok := attributes.Class()
	if !ok {
		return 0, 0
	}
	c := classOf(class)
	if c&keys == 0 {
		return c, anyType
	}
	keyType, ok := attributes.KeyType()
	if !ok {
		return c, 0
	}
	return c, familyOf(keyType)
}
