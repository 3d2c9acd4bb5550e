package hsm

import (
	"errors"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/mechanism"
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
		default:
			m = narrow(m, info)
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
	case cryptoki.CKM_GENERIC_SECRET_KEY_GEN:
		// The standard says bits, and many tokens mean bytes: neither limit can be trusted to be the other's.
		return m
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

// probeCurves finds out which curves the token has by making session keys on them. It returns those of CKK_EC and
// those of CKK_EC_EDWARDS, the smallest first, and fills traits.curves.
func (p *Provider) probeCurves(s *session, of map[cryptoki.MechanismType]pkcs11.MechanismInfo) (weierstrass, edwards []*curve.Curve, err error) {
	p.traits.curves = map[string][]byte{}
	for _, c := range curve.All() {
		t := cryptoki.CKM_EC_KEY_PAIR_GEN
		if c.KeyType == cryptoki.CKK_EC_EDWARDS {
			t = cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN
		}
		if _, has := of[t]; !has {
			continue
		}
		params, err := s.probeCurve(t, c)
		if err != nil {
			return nil, nil, err
		}
		if params == nil {
			continue
		}
		p.traits.curves[string(c.Params)] = params
		if c.KeyType == cryptoki.CKK_EC_EDWARDS {
			edwards = append(edwards, c)
		} else {
			weierstrass = append(weierstrass, c)
		}
	}
	return weierstrass, edwards, nil
}

// probeCurve returns the form of a curve's parameters that the token takes; nil if it takes none.
func (s *session) probeCurve(t cryptoki.MechanismType, c *curve.Curve) ([]byte, error) {
	forms := [][]byte{c.Params}
	if c.KeyType == cryptoki.CKK_EC_EDWARDS {
		// PKCS#11 3.0's curveName, which some tokens want instead of the object identifier.
		const name = "edwards25519"
		forms = append(forms, append([]byte{0x13, byte(len(name))}, name...))
	}
	for _, params := range forms {
		session := cryptoki.Bool(cryptoki.CKA_TOKEN, false)
		public, private, err := s.GenerateKeyPair(s.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(uint(t), nil)},
			template(session, cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, params), cryptoki.Bool(cryptoki.CKA_VERIFY, true)),
			template(session, cryptoki.Bool(cryptoki.CKA_SIGN, true)))
		if sessionLost(err) {
			return nil, err
		}
		if err != nil {
			continue
		}
		_ = s.DestroyObject(s.handle, public)
		_ = s.DestroyObject(s.handle, private)
		return params, nil
	}
	return nil, nil
}

// hashes are those that RSA paddings can have as parameter.
var hashes = []struct {
	hash cryptoki.MechanismType
	mgf  uint64
}{
	{cryptoki.CKM_SHA_1, cryptoki.CKG_MGF1_SHA1},
	{cryptoki.CKM_SHA224, cryptoki.CKG_MGF1_SHA224},
	{cryptoki.CKM_SHA256, cryptoki.CKG_MGF1_SHA256},
	{cryptoki.CKM_SHA384, cryptoki.CKG_MGF1_SHA384},
	{cryptoki.CKM_SHA512, cryptoki.CKG_MGF1_SHA512},
}

// probeHashes finds out with which hashes a token does PSS and OAEP where the paddings cannot be ours because it does
// no raw RSA.
func (p *Provider) probeHashes(s *session, c *provider.Capabilities) error {
	var probe *pkcs11.ObjectHandle
	for i := range c.Mechanisms {
		m := &c.Mechanisms[i]
		pss := m.Type == cryptoki.CKM_RSA_PKCS_PSS && !p.traits.rawSign
		oaep := m.Type == cryptoki.CKM_RSA_PKCS_OAEP && !p.traits.rawDecrypt
		if !pss && !oaep {
			continue
		}
		if probe == nil {
			key, err := s.probeRSA()
			if err != nil {
				return err
			}
			defer func() { _ = s.DestroyObject(s.handle, key) }()
			probe = &key
		}
		m.Hashes = []cryptoki.MechanismType{}
		m.SameMGF, m.NoLabel = true, true
		for _, h := range hashes {
			err := s.probeHash(m.Type, h.hash, h.mgf, &object{handle: *probe})
			if sessionLost(err) {
				return err
			}
			if err == nil {
				m.Hashes = append(m.Hashes, h.hash)
			}
		}
	}
	return nil
}

// probeHash tries a padding with a hash; the error is nil if the token does it.
func (s *session) probeHash(t, hash cryptoki.MechanismType, mgf uint64, key *object) error {
	if t == cryptoki.CKM_RSA_PKCS_PSS {
		size := 0
		if h, ok := mechanism.HashOf(hash); ok {
			size = h.Size()
		}
		m := cryptoki.Mechanism{Type: t, Params: cryptoki.PSSParams{Hash: hash, MGF: mgf, SaltLength: 20}}
		_, err := s.operate(s.SignInit, s.Sign, m, key, make([]byte, size))
		return err
	}
	m := cryptoki.Mechanism{Type: t, Params: cryptoki.OAEPParams{Hash: hash, MGF: mgf}}
	_, err := s.operate(s.DecryptInit, s.Decrypt, m, key, make([]byte, 256))
	var begin *initError
	if errors.As(err, &begin) || sessionLost(err) {
		return err
	}
	// The operation had begun, which is the answer; that rubbish does not decrypt is no news.
	return nil
}

func (s *session) probeRSA() (pkcs11.ObjectHandle, error) {
	session := cryptoki.Bool(cryptoki.CKA_TOKEN, false)
	public, private, err := s.GenerateKeyPair(s.handle,
		[]*pkcs11.Mechanism{pkcs11.NewMechanism(uint(cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN), nil)},
		template(session, cryptoki.Ulong(cryptoki.CKA_MODULUS_BITS, uint64(2048)), cryptoki.Bytes(cryptoki.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1})),
		template(session, cryptoki.Bool(cryptoki.CKA_SIGN, true), cryptoki.Bool(cryptoki.CKA_DECRYPT, true)))
	if err == nil {
		_ = s.DestroyObject(s.handle, public)
	}
	return private, err
}
