package mechanism

import (
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

// MaxData is the most that one operation takes where the mechanism itself knows no limit.
const MaxData = 32 << 20

// CheckParams checks a mechanism's parameter for a use (CKF_SIGN…) before a key is known: CKR_MECHANISM_PARAM_INVALID,
// or CKR_MECHANISM_INVALID for a mechanism that is unknown or not for that use.
func CheckParams(m cryptoki.Mechanism, use cryptoki.Flags) error {
	i, ok := infos[m.Type]
	if !ok {
		return unknown(m.Type)
	}
	if i.Flags&use != use || use == 0 {
		return fault.New(fault.MechanismInvalid, "%v is not for this function; C_GetMechanismInfo tells what it is for", m.Type)
	}
	switch m.Type {
	case cryptoki.CKM_AES_CBC, cryptoki.CKM_AES_CBC_PAD:
		if p, ok := m.Params.(cryptoki.IVParams); !ok || len(p.IV) != 16 {
			return bad(m, "an initialisation vector of 16 bytes")
		}
		return nil
	case cryptoki.CKM_AES_CTR:
		if p, ok := m.Params.(cryptoki.CTRParams); !ok || p.CounterBits < 1 || p.CounterBits > 128 {
			return bad(m, "CK_AES_CTR_PARAMS with 1 to 128 counter bits")
		}
		return nil
	case cryptoki.CKM_AES_GCM:
		return checkGCM(m)
	case cryptoki.CKM_RSA_PKCS_OAEP:
		p, ok := m.Params.(cryptoki.OAEPParams)
		if !ok || !isDigest(p.Hash) {
			return bad(m, "CK_RSA_PKCS_OAEP_PARAMS with a known hash")
		}
		if _, ok := MGFHash(p.MGF); !ok || len(p.Label) > MaxData {
			return bad(m, "a known mask generation function")
		}
		return nil
	case cryptoki.CKM_ECDH1_DERIVE:
		return checkECDH(m)
	case cryptoki.CKM_EDDSA:
		if p, ok := m.Params.(cryptoki.EDDSAParams); m.Params != nil && (!ok || len(p.Context) > 255) {
			return bad(m, "no parameter, or CK_EDDSA_PARAMS with at most 255 bytes of context")
		}
		return nil
	}
	if m.Type == cryptoki.CKM_ML_DSA {
		return checkSignContext(m)
	}
	if i.Base == cryptoki.CKM_RSA_PKCS_PSS {
		return checkPSS(m, i)
	}
	if i.Flags&cryptoki.CKF_SIGN != 0 && general(m.Type) {
		if p, ok := m.Params.(cryptoki.MACGeneralParams); !ok || p.Length < 1 || p.Length > uint64(i.Hash.Size()) {
			return bad(m, "a length from 1 to the hash's")
		}
		return nil
	}
	if m.Params != nil {
		return bad(m, "no parameter")
	}
	return nil
}

func checkGCM(m cryptoki.Mechanism) error {
	p, ok := m.Params.(cryptoki.GCMParams)
	if !ok || len(p.IV) < 1 || len(p.IV) > 256 || len(p.AAD) > MaxData {
		return bad(m, "CK_GCM_PARAMS with an initialisation vector of 1 to 256 bytes")
	}
	switch p.TagBits {
	case 32, 64, 96, 104, 112, 120, 128: // SP 800-38D
		return nil
	}
	return bad(m, "a tag of 32, 64, 96, 104, 112, 120 or 128 bits")
}

func checkPSS(m cryptoki.Mechanism, i Info) error {
	p, ok := m.Params.(cryptoki.PSSParams)
	if !ok || !isDigest(p.Hash) {
		return bad(m, "CK_RSA_PKCS_PSS_PARAMS with a known hash")
	}
	if h, _ := HashOf(p.Hash); i.Hashing() && h != i.Hash {
		return bad(m, "the hash that the mechanism is named after")
	}
	if _, ok := MGFHash(p.MGF); !ok || p.SaltLength > maxRSA/8 {
		return bad(m, "a known mask generation function and a salt that fits the key")
	}
	return nil
}

func checkSignContext(m cryptoki.Mechanism) error {
	if p, ok := m.Params.(cryptoki.SignContextParams); m.Params != nil &&
		(!ok || p.Hedge > cryptoki.CKH_DETERMINISTIC_REQUIRED || len(p.Context) > parameterset.MaxContext) {
		return bad(m, "no parameter, or CK_SIGN_ADDITIONAL_CONTEXT with a known hedge variant and at most 255 bytes of context")
	}
	return nil
}

func checkECDH(m cryptoki.Mechanism) error {
	p, ok := m.Params.(cryptoki.ECDH1Params)
	if !ok || len(p.PublicData) == 0 || len(p.PublicData) > 1024 {
		return bad(m, "CK_ECDH1_DERIVE_PARAMS with the other side's point")
	}
	if p.KDF == cryptoki.CKD_NULL {
		if len(p.SharedData) != 0 {
			return bad(m, "no shared data with CKD_NULL")
		}
		return nil
	}
	if _, _, ok := KDFHash(p.KDF); !ok || len(p.SharedData) > 64<<10 {
		return bad(m, "a known key derivation function")
	}
	return nil
}

// isDigest tells whether a mechanism is one of those that PSS and OAEP name a hash by. MD5 is not.
func isDigest(t cryptoki.MechanismType) bool {
	i, ok := infos[t]
	return ok && i.Flags&cryptoki.CKF_DIGEST != 0 && t != cryptoki.CKM_MD5
}

// general tells whether a mechanism is a CKM_xxx_HMAC_GENERAL.
func general(t cryptoki.MechanismType) bool {
	for _, h := range hashes {
		if h.hmac != 0 && h.hmacGeneral == t {
			return true
		}
	}
	return false
}

func bad(m cryptoki.Mechanism, needs string) error {
	return fault.New(fault.MechanismParamInvalid, "the parameter of %v is wrong; it needs %s", m.Type, needs)
}
