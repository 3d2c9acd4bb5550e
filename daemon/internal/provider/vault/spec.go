package vault

import (
	"math/big"
	"slices"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// spec is a kind of key: a type of the transit engine. bytes is the length of a secret key.
type spec struct {
	name    string
	keyType cryptoki.KeyType
	bits    uint64
	curve   string
	bytes   uint64
}

// kinds are the types of the engine that PKCS#11's mechanisms can use. A key of type hmac has bytes of its own.
var kinds = []spec{
	{name: "rsa-2048", keyType: cryptoki.CKK_RSA, bits: 2048},
	{name: "rsa-3072", keyType: cryptoki.CKK_RSA, bits: 3072},
	{name: "rsa-4096", keyType: cryptoki.CKK_RSA, bits: 4096},
	{name: "ecdsa-p256", keyType: cryptoki.CKK_EC, curve: "P-256"},
	{name: "ecdsa-p384", keyType: cryptoki.CKK_EC, curve: "P-384"},
	{name: "ecdsa-p521", keyType: cryptoki.CKK_EC, curve: "P-521"},
	{name: "ed25519", keyType: cryptoki.CKK_EC_EDWARDS, curve: "Ed25519"},
	{name: "aes128-gcm96", keyType: cryptoki.CKK_AES, bytes: 16},
	{name: "aes256-gcm96", keyType: cryptoki.CKK_AES, bytes: 32},
	{name: typeHMAC, keyType: cryptoki.CKK_GENERIC_SECRET},
}

const typeHMAC = "hmac"

// specNamed finds a kind by the engine's name. size is the length of a key of type hmac.
func specNamed(name string, size uint64) (spec, error) {
	for _, k := range kinds {
		if k.name != name {
			continue
		}
		if name == typeHMAC {
			if size == 0 {
				size = 32
			}
			k.bytes = size
		}
		return k, nil
	}
	return spec{}, fault.New(fault.KeyTypeInconsistent, "Vault has a key of type %.40q, which PKCS#11's mechanisms here cannot use", name)
}

// specOf finds the kind of the key that attributes with a value or a request describe.
func specOf(keyType cryptoki.KeyType, open cryptoki.Attributes) (spec, error) {
	wanted := spec{keyType: keyType}
	switch keyType {
	case cryptoki.CKK_EC, cryptoki.CKK_EC_EDWARDS:
		on, err := curve.Of(open)
		if err != nil {
			return spec{}, err
		}
		wanted.curve = on.Name
	case cryptoki.CKK_RSA:
		bits, ok := open.Ulong(cryptoki.CKA_MODULUS_BITS)
		if !ok {
			bits = uint64(new(big.Int).SetBytes(open.Bytes(cryptoki.CKA_MODULUS)).BitLen())
		}
		wanted.bits = bits
	case cryptoki.CKK_AES, cryptoki.CKK_GENERIC_SECRET:
		length, ok := open.Ulong(cryptoki.CKA_VALUE_LEN)
		if !ok {
			length = uint64(len(open.Bytes(cryptoki.CKA_VALUE)))
		}
		wanted.bytes = length
		if keyType == cryptoki.CKK_GENERIC_SECRET && length >= minMAC/8 && length <= maxMAC/8 {
			return specNamed(typeHMAC, length)
		}
	default:
		return spec{}, fault.New(fault.KeyTypeInconsistent, "Vault has no %s keys; use provider software", keyType)
	}
	for _, k := range kinds {
		if k.name != typeHMAC && k.keyType == wanted.keyType && k.bits == wanted.bits && k.curve == wanted.curve && k.bytes == wanted.bytes {
			return k, nil
		}
	}
	switch {
	case wanted.curve != "":
		return spec{}, fault.New(fault.CurveNotSupported, "Vault has no keys on %s; choose P-256, P-384, P-521 or Ed25519", wanted.curve)
	case keyType == cryptoki.CKK_RSA:
		return spec{}, fault.New(fault.KeySizeRange, "Vault takes RSA keys of 2048, 3072 or 4096 bits, not %d", wanted.bits)
	}
	return spec{}, fault.New(fault.KeySizeRange, "Vault takes AES keys of 16 or 32 bytes and HMAC keys of 32 to 512, not a %s of %d", keyType, wanted.bytes)
}

// private tells whether the kind is a key pair.
func (s spec) private() bool { return s.bytes == 0 }

// usages are all usage attributes of private and secret keys.
var usages = []cryptoki.AttributeType{
	cryptoki.CKA_SIGN, cryptoki.CKA_VERIFY, cryptoki.CKA_ENCRYPT, cryptoki.CKA_DECRYPT, cryptoki.CKA_DERIVE,
	cryptoki.CKA_WRAP, cryptoki.CKA_UNWRAP, cryptoki.CKA_SIGN_RECOVER, cryptoki.CKA_VERIFY_RECOVER,
}

// can are the usage attributes that keys of a kind can have here. Vault's keys have no usages of their own: who may do
// what with them the daemon decides, and Vault's policies.
func (s spec) can() []cryptoki.AttributeType {
	switch s.keyType {
	case cryptoki.CKK_RSA:
		return []cryptoki.AttributeType{cryptoki.CKA_SIGN, cryptoki.CKA_DECRYPT, cryptoki.CKA_UNWRAP}
	case cryptoki.CKK_AES:
		return []cryptoki.AttributeType{cryptoki.CKA_DECRYPT, cryptoki.CKA_UNWRAP}
	case cryptoki.CKK_GENERIC_SECRET:
		return []cryptoki.AttributeType{cryptoki.CKA_SIGN, cryptoki.CKA_VERIFY}
	}
	return []cryptoki.AttributeType{cryptoki.CKA_SIGN}
}

// useful tells why a key that a template describes would be of no use.
func (s spec) useful(template cryptoki.Attributes) error {
	if slices.ContainsFunc(s.can(), template.Bool) {
		return nil
	}
	can := "CKA_SIGN"
	switch s.keyType {
	case cryptoki.CKK_RSA:
		can = "CKA_SIGN or CKA_DECRYPT"
	case cryptoki.CKK_EC:
		can = "CKA_SIGN: Vault has no key agreement"
	case cryptoki.CKK_AES:
		can = "CKA_DECRYPT: Vault chooses the initialisation vector of an encryption itself, so that PKCS#11 can only decrypt"
	}
	return fault.New(fault.TemplateInconsistent, "the template asks for no use that Vault has for %s keys; set %s", s.keyType, can)
}

// allowed are the mechanisms that the engine does with a kind of key, and the hashing ones that reduce to them.
func (s spec) allowed() []cryptoki.MechanismType {
	switch s.keyType {
	case cryptoki.CKK_RSA:
		return append(variants(cryptoki.CKM_RSA_PKCS, cryptoki.CKM_RSA_PKCS_PSS), cryptoki.CKM_RSA_PKCS_OAEP)
	case cryptoki.CKK_EC:
		return variants(cryptoki.CKM_ECDSA)
	case cryptoki.CKK_EC_EDWARDS:
		return []cryptoki.MechanismType{cryptoki.CKM_EDDSA}
	case cryptoki.CKK_AES:
		return []cryptoki.MechanismType{cryptoki.CKM_AES_GCM}
	}
	var all []cryptoki.MechanismType
	for _, h := range hashes {
		all = append(all, h.mac, h.general)
	}
	return all
}

// granted are the attributes of the private or secret key that follow from what it became.
func (s spec) granted(template cryptoki.Attributes, exportable, generated bool) cryptoki.Attributes {
	mechanisms := s.allowed()
	if wanted, ok := template.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS); ok && len(wanted) > 0 {
		mechanisms = slices.DeleteFunc(mechanisms, func(t cryptoki.MechanismType) bool { return !slices.Contains(wanted, uint64(t)) })
	}
	granted := cryptoki.Attributes{cryptoki.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS, mechanisms)}
	if !exportable {
		granted = append(granted, cryptoki.Bool(cryptoki.CKA_SENSITIVE, true), cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, false))
		if generated {
			granted = append(granted, cryptoki.Bool(cryptoki.CKA_ALWAYS_SENSITIVE, true), cryptoki.Bool(cryptoki.CKA_NEVER_EXTRACTABLE, true))
		}
	}
	for _, usage := range usages {
		if template.Bool(usage) && !slices.Contains(s.can(), usage) {
			granted = append(granted, cryptoki.Bool(usage, false))
		}
	}
	return granted
}
