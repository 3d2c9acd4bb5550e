package mechanism

import (
	"math"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

const block = 16

// OutputSize returns how many bytes an operation on `input` bytes gives, and whether exactly so or at most. Verifying
// gives none. A mechanism or key that CheckKey refuses gives 0.
func OutputSize(m cryptoki.Mechanism, use cryptoki.Flags, key cryptoki.Attributes, input int) (n int, exact bool) {
	i, ok := infos[m.Type]
	if !ok || i.Flags&use == 0 || use == cryptoki.CKF_VERIFY {
		return 0, ok && use == cryptoki.CKF_VERIFY
	}
	switch {
	case i.Flags&cryptoki.CKF_DIGEST != 0:
		return i.Hash.Size(), true
	case len(i.KeyTypes) == 0:
		return 0, false
	case i.KeyTypes[0] == cryptoki.CKK_RSA:
		if use == cryptoki.CKF_DECRYPT && m.Type != cryptoki.CKM_RSA_X_509 {
			return max(MaxInput(m, cryptoki.CKF_ENCRYPT, key), 0), false
		}
		return modulusBytes(key), true
	case m.Type == cryptoki.CKM_ECDH1_DERIVE:
		return (Bits(key) + 7) / 8, true
	case i.KeyTypes[0] == cryptoki.CKK_EC, i.KeyTypes[0] == cryptoki.CKK_EC_EDWARDS:
		return 2 * ((Bits(key) + 7) / 8), true
	case i.KeyTypes[0] == cryptoki.CKK_ML_DSA:
		set, err := parameterset.Of(key)
		if err != nil {
			return 0, false
		}
		return set.Signature, true
	case i.KeyTypes[0] == cryptoki.CKK_AES:
		return cipherSize(m, use, input)
	default:
		if p, ok := m.Params.(cryptoki.MACGeneralParams); ok {
			return int(min(p.Length, uint64(i.Hash.Size()))), true
		}
		return i.Hash.Size(), true
	}
}

func cipherSize(m cryptoki.Mechanism, use cryptoki.Flags, input int) (int, bool) {
	switch m.Type {
	case cryptoki.CKM_AES_CBC_PAD:
		if use == cryptoki.CKF_ENCRYPT {
			return (input/block + 1) * block, true
		}
		return input, false
	case cryptoki.CKM_AES_GCM:
		p, _ := m.Params.(cryptoki.GCMParams)
		tag := int(p.TagBits+7) / 8
		if use == cryptoki.CKF_ENCRYPT {
			return input + tag, true
		}
		return max(input-tag, 0), true
	default:
		return input, true
	}
}

// MaxInput returns how many bytes one operation takes: no limit (math.MaxInt) for what is hashed in the module, MaxData
// where the mechanism has none. It may be negative for an RSA key that is too short, which CheckKey refuses.
func MaxInput(m cryptoki.Mechanism, use cryptoki.Flags, key cryptoki.Attributes) int {
	i, ok := infos[m.Type]
	if !ok {
		return 0
	}
	if i.Hashing() || i.Flags&cryptoki.CKF_DIGEST != 0 {
		return math.MaxInt
	}
	switch m.Type {
	case cryptoki.CKM_RSA_PKCS:
		if use == cryptoki.CKF_DECRYPT {
			return modulusBytes(key)
		}
		return modulusBytes(key) - 11
	case cryptoki.CKM_RSA_X_509:
		return modulusBytes(key)
	case cryptoki.CKM_RSA_PKCS_PSS:
		p, _ := m.Params.(cryptoki.PSSParams)
		h, _ := HashOf(p.Hash)
		if h == 0 {
			return 0
		}
		return h.Size()
	case cryptoki.CKM_RSA_PKCS_OAEP:
		if use == cryptoki.CKF_DECRYPT {
			return modulusBytes(key)
		}
		p, _ := m.Params.(cryptoki.OAEPParams)
		h, _ := HashOf(p.Hash)
		if h == 0 {
			return 0
		}
		return modulusBytes(key) - 2*h.Size() - 2
	case cryptoki.CKM_ECDSA:
		// Any digest, and whatever longer input the curve then truncates.
		return 1024
	default:
		return MaxData
	}
}
