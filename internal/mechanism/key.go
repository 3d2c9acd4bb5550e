package mechanism

import (
	"math/bits"
	"slices"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

// permits says which attribute allows a use, and which classes of key it is for.
var permits = map[cryptoki.Flags]struct {
	attribute cryptoki.AttributeType
	classes   []cryptoki.ObjectClass
}{
	cryptoki.CKF_SIGN:    {cryptoki.CKA_SIGN, []cryptoki.ObjectClass{cryptoki.CKO_PRIVATE_KEY, cryptoki.CKO_SECRET_KEY}},
	cryptoki.CKF_VERIFY:  {cryptoki.CKA_VERIFY, []cryptoki.ObjectClass{cryptoki.CKO_PUBLIC_KEY, cryptoki.CKO_SECRET_KEY}},
	cryptoki.CKF_ENCRYPT: {cryptoki.CKA_ENCRYPT, []cryptoki.ObjectClass{cryptoki.CKO_PUBLIC_KEY, cryptoki.CKO_SECRET_KEY}},
	cryptoki.CKF_DECRYPT: {cryptoki.CKA_DECRYPT, []cryptoki.ObjectClass{cryptoki.CKO_PRIVATE_KEY, cryptoki.CKO_SECRET_KEY}},
	cryptoki.CKF_DERIVE:  {cryptoki.CKA_DERIVE, []cryptoki.ObjectClass{cryptoki.CKO_PRIVATE_KEY, cryptoki.CKO_SECRET_KEY}},
}

// CheckKey checks that a key may and can be used so: CKR_KEY_HANDLE_INVALID for an object that is no key,
// CKR_KEY_TYPE_INCONSISTENT, CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_MECHANISM_INVALID when CKA_ALLOWED_MECHANISMS lacks the
// mechanism, CKR_KEY_SIZE_RANGE, and CKR_MECHANISM_PARAM_INVALID for a salt that does not fit the key. CheckParams comes
// first: what it finds is not looked for here.
func CheckKey(m cryptoki.Mechanism, use cryptoki.Flags, key cryptoki.Attributes) error {
	i, ok := infos[m.Type]
	permit, known := permits[use]
	if !ok || !known {
		return unknown(m.Type)
	}
	class, _ := key.Class()
	keyType, typed := key.KeyType()
	if !typed || class != cryptoki.CKO_PUBLIC_KEY && class != cryptoki.CKO_PRIVATE_KEY && class != cryptoki.CKO_SECRET_KEY {
		return fault.New(fault.KeyHandleInvalid, "the object is no key; pass a key's handle")
	}
	if !slices.Contains(i.KeyTypes, keyType) {
		return fault.New(fault.KeyTypeInconsistent, "a key of type %v does not go with %v; use another key or mechanism", keyType, m.Type)
	}
	if !key.Bool(permit.attribute) || !slices.Contains(permit.classes, class) {
		return fault.New(fault.KeyFunctionNotPermitted, "the key's %v is not true; use another key, or make one that has it", permit.attribute)
	}
	if allowed, ok := key.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS); ok && len(allowed) > 0 && !slices.Contains(allowed, uint64(m.Type)) {
		return fault.New(fault.MechanismInvalid, "the key's CKA_ALLOWED_MECHANISMS lacks %v; use one that it has", m.Type)
	}
	size := size(key)
	if size < i.MinSize || size > i.MaxSize {
		return fault.New(fault.KeySizeRange, "the key's size %d is outside %d to %d, which %v takes", size, i.MinSize, i.MaxSize, m.Type)
	}
	if i.KeyTypes[0] == cryptoki.CKK_RSA {
		return checkModulus(m, i, key)
	}
	return nil
}

// checkModulus checks that paddings fit.
func checkModulus(m cryptoki.Mechanism, i Info, key cryptoki.Attributes) error {
	k := modulusBytes(key)
	switch p := m.Params.(type) {
	case cryptoki.PSSParams:
		h, ok := HashOf(p.Hash)
		if !ok {
			return bad(m, "a known hash")
		}
		room := (Bits(key)+6)/8 - h.Size() - 2
		if room < 0 {
			return fault.New(fault.KeySizeRange, "the key is too short for %v with that hash; use a longer key", m.Type)
		}
		if p.SaltLength > uint64(room) {
			return fault.New(fault.MechanismParamInvalid, "a salt of %d bytes does not fit the key; at most %d do", p.SaltLength, room)
		}
	case cryptoki.OAEPParams:
		h, ok := HashOf(p.Hash)
		if !ok {
			return bad(m, "a known hash")
		}
		if k < 2*h.Size()+2 {
			return fault.New(fault.KeySizeRange, "the key is too short for OAEP with that hash; use a longer key")
		}
	default:
		// 19 bytes of DigestInfo at most, and PKCS#1's 11.
		if i.Hashing() && k < i.Hash.Size()+19+11 {
			return fault.New(fault.KeySizeRange, "the key is too short for %v; use a longer key", m.Type)
		}
	}
	return nil
}

// Bits returns the size of a key in bits: of the modulus, of the curve's field, of the ML-DSA public key, of the secret's
// length; 0 if the attributes do not tell.
func Bits(key cryptoki.Attributes) int {
	keyType, _ := key.KeyType()
	switch keyType {
	case cryptoki.CKK_RSA:
		n := key.Bytes(cryptoki.CKA_MODULUS)
		for len(n) > 0 && n[0] == 0 {
			n = n[1:]
		}
		if len(n) > 0 {
			return 8*(len(n)-1) + bits.Len8(n[0])
		}
		if size, ok := key.Ulong(cryptoki.CKA_MODULUS_BITS); ok && size < 1<<20 {
			return int(size)
		}
		return 0
	case cryptoki.CKK_EC, cryptoki.CKK_EC_EDWARDS:
		c, err := curve.Of(key)
		if err != nil {
			return 0
		}
		return c.Bits
	case cryptoki.CKK_ML_DSA:
		set, err := parameterset.Of(key)
		if err != nil {
			return 0
		}
		return 8 * set.Public
	default:
		if value, ok := key.Get(cryptoki.CKA_VALUE); ok {
			return 8 * len(value)
		}
		if length, ok := key.Ulong(cryptoki.CKA_VALUE_LEN); ok && length < 1<<20 {
			return 8 * int(length)
		}
		return 0
	}
}

// size returns a key's size in the unit of Info.
func size(key cryptoki.Attributes) uint64 {
	if keyType, _ := key.KeyType(); keyType == cryptoki.CKK_AES || keyType == cryptoki.CKK_ML_DSA {
		return uint64(Bits(key) / 8)
	}
	return uint64(Bits(key))
}

func modulusBytes(key cryptoki.Attributes) int { return (Bits(key) + 7) / 8 }
