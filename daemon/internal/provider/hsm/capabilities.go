package hsm

import (
	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// traits is what we know of a token beyond the table of its mechanisms.
type traits struct {
	// curves maps CKA_EC_PARAMS as we write it to the form that the token takes.
	curves map[string][]byte
	// rawSign and rawDecrypt tell that the token does CKM_RSA_X_509, on which we build the paddings that it lacks.
	rawSign, rawDecrypt bool
}

const (
	sign     = cryptoki.CKF_SIGN
	mac      = cryptoki.CKF_SIGN | cryptoki.CKF_VERIFY
	decrypt  = cryptoki.CKF_DECRYPT
	cipher   = cryptoki.CKF_ENCRYPT | cryptoki.CKF_DECRYPT
	derive   = cryptoki.CKF_DERIVE
	generate = cryptoki.CKF_GENERATE
	pair     = cryptoki.CKF_GENERATE_KEY_PAIR
)

// supported are the mechanisms that this provider drives, with the sizes that AnyHSM allows, in the order of the
// table. A token's own limits narrow them.
var supported = []provider.Mechanism{
	{Type: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN, MinSize: 2048, MaxSize: 8192, Flags: pair},
	{Type: cryptoki.CKM_RSA_PKCS, MinSize: 1024, MaxSize: 8192, Flags: sign | decrypt},
	{Type: cryptoki.CKM_RSA_X_509, MinSize: 1024, MaxSize: 8192, Flags: sign | decrypt},
	{Type: cryptoki.CKM_RSA_PKCS_PSS, MinSize: 1024, MaxSize: 8192, Flags: sign},
	{Type: cryptoki.CKM_RSA_PKCS_OAEP, MinSize: 1024, MaxSize: 8192, Flags: decrypt},
	{Type: cryptoki.CKM_EC_KEY_PAIR_GEN, Flags: pair},
	{Type: cryptoki.CKM_ECDSA, Flags: sign},
	{Type: cryptoki.CKM_ECDH1_DERIVE, Flags: derive},
	{Type: cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN, Flags: pair},
	{Type: cryptoki.CKM_EDDSA, Flags: sign},
	{Type: cryptoki.CKM_AES_KEY_GEN, MinSize: 16, MaxSize: 32, Flags: generate},
	{Type: cryptoki.CKM_AES_ECB, MinSize: 16, MaxSize: 32, Flags: cipher},
	{Type: cryptoki.CKM_AES_CBC, MinSize: 16, MaxSize: 32, Flags: cipher},
	{Type: cryptoki.CKM_AES_CBC_PAD, MinSize: 16, MaxSize: 32, Flags: cipher},
	{Type: cryptoki.CKM_AES_CTR, MinSize: 16, MaxSize: 32, Flags: cipher},
	{Type: cryptoki.CKM_AES_GCM, MinSize: 16, MaxSize: 32, Flags: cipher},
	{Type: cryptoki.CKM_GENERIC_SECRET_KEY_GEN, MinSize: 8, MaxSize: 8 * maxSecret, Flags: generate},
	{Type: cryptoki.CKM_SHA_1_HMAC, MinSize: 8, MaxSize: 8 * maxSecret, Flags: mac},
	{Type: cryptoki.CKM_SHA224_HMAC, MinSize: 8, MaxSize: 8 * maxSecret, Flags: mac},
	{Type: cryptoki.CKM_SHA256_HMAC, MinSize: 8, MaxSize: 8 * maxSecret, Flags: mac},
	{Type: cryptoki.CKM_SHA384_HMAC, MinSize: 8, MaxSize: 8 * maxSecret, Flags: mac},
	{Type: cryptoki.CKM_SHA512_HMAC, MinSize: 8, MaxSize: 8 * maxSecret, Flags: mac},
}

// maxSecret is the length of the longest generic secret in bytes.
const maxSecret = 4096

// examine asks the token what it can do.
func (p *Provider) examine(s *session) error {
	list, err := s.GetMechanismList(s.link.slot)
	if err != nil {
		return err
	}
	of := map[cryptoki.MechanismType]pkcs11.MechanismInfo{}
	for _, m := range list {
		if info, err := s.GetMechanismInfo(s.link.slot, []*pkcs11.Mechanism{m}); err == nil {
			of[cryptoki.MechanismType(m.Mechanism)] = info
		}
	}
	does := func(t cryptoki.MechanismType, flag cryptoki.Flags) bool {
		return cryptoki.Flags(of[t].Flags)&flag == flag
	}
	p.traits = traits{
		rawSign: does(cryptoki.CKM_RSA_X_509, sign), rawDecrypt: does(cryptoki.CKM_RSA_X_509, decrypt),
	}
	weierstrass, edwards, err := p.probeCurves(s, of)
	if err != nil {
		return err
	}
	c := provider.Capabilities{Kind: "hsm", Hardware: true, Keeps: true}
	for _, known := range append(weierstrass, edwards...) {
		c.Curves = append(c.Curves, known.Params)
	}
	for _, m := range supported {
		info, has := of[m.Type]
		m.Flags &= cryptoki.Flags(info.Flags)
		switch m.Type {
		case cryptoki.CKM_RSA_PKCS_PSS:
			// The padding is ours where the token only does the raw operation.
			if !has && p.traits.rawSign {
				info, m.Flags = of[cryptoki.CKM_RSA_X_509], sign
			}
		case cryptoki.CKM_RSA_PKCS_OAEP:
			if !has && p.traits.rawDecrypt {
				info, m.Flags = of[cryptoki.CKM_RSA_X_509], decrypt
			}
		}
		if m.Flags == 0 {
			continue
		}
		switch m.Type {
		case cryptoki.CKM_EC_KEY_PAIR_GEN, cryptoki.CKM_ECDSA, cryptoki.CKM_ECDH1_DERIVE:
			if len(weierstrass) == 0 {
				continue
			}
			// What the probe found, not what the token says: tokens count curves that they do not have.
			m.MinSize, m.MaxSize = uint64(weierstrass[0].Bits), uint64(weierstrass[len(weierstrass)-1].Bits)
			m.Flags |= cryptoki.CKF_EC_F_P | cryptoki.CKF_EC_OID | cryptoki.CKF_EC_UNCOMPRESS
		case cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN, cryptoki.CKM_EDDSA:
			if len(edwards) == 0 {
				continue
			}
			m.MinSize, m.MaxSize = uint64(edwards[0].Bits), uint64(edwards[len(edwards)-1].Bits)
			m.Flags |= cryptoki.CKF_EC_OID
		case cryptoki.CKM_GENERIC_SECRET_KEY_GEN:
			if m, err = s.probeSecrets(m); err != nil {
				return err
			}
		default:
			m = narrow(m, info)
		}
		if m.Type == cryptoki.CKM_RSA_PKCS && m.Flags&decrypt != 0 {
			if err := s.probePKCS(&m); err != nil {
				return err
			}
		}
		if m.MinSize > m.MaxSize {
			continue
		}
		m.Flags |= cryptoki.CKF_HW
		c.Mechanisms = append(c.Mechanisms, m)
	}
	if err := p.probeHashes(s, &c); err != nil {
		return err
	}
	p.capabilities = c
	return nil
}

// narrow cuts the sizes to those that the token says, in the unit of our table whatever the token's is.
func narrow(m provider.Mechanism, info pkcs11.MechanismInfo) provider.Mechanism {
	least, most := uint64(info.MinKeySize), uint64(info.MaxKeySize)
	switch m.Type {
	case cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN, cryptoki.CKM_RSA_PKCS, cryptoki.CKM_RSA_X_509,
		cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKM_RSA_PKCS_OAEP:
	case cryptoki.CKM_AES_KEY_GEN, cryptoki.CKM_AES_ECB, cryptoki.CKM_AES_CBC, cryptoki.CKM_AES_CBC_PAD,
		cryptoki.CKM_AES_CTR, cryptoki.CKM_AES_GCM:
		// The standard says bytes, and some tokens mean bits.
		if most >= 128 {
			least, most = (least+7)/8, most/8
		}
	default:
		// HMAC: the standard says bytes, our table has bits as for the generic secrets that are its keys.
		least, most = 8*least, 8*most
	}
	if least > m.MinSize {
		m.MinSize = least
	}
	if most != 0 && most < m.MaxSize {
		m.MaxSize = most
	}
	return m
}
