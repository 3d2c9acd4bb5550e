package hsm

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

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

// probeSecrets finds out how long the generic secrets are that the token makes, in bits. What tokens say of it cannot be
// used: the standard counts bits, and many count bytes.
func (s *session) probeSecrets(m provider.Mechanism) (provider.Mechanism, error) {
	makes := func(length uint64) (bool, error) {
		key, err := s.GenerateKey(s.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(uint(m.Type), nil)}, template(
			cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_GENERIC_SECRET),
			cryptoki.Bool(cryptoki.CKA_TOKEN, false), cryptoki.Bool(cryptoki.CKA_SIGN, true), cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, length)))
		if err == nil {
			return true, s.destroy(key)
		}
		if sessionLost(err) {
			return false, err
		}
		return false, nil
	}
	// limit looks for the last length that is made, from one that is made towards one that need not be.
	limit := func(good, end uint64) (uint64, error) {
		if ok, err := makes(end); ok || err != nil {
			return end, err
		}
		for bad := end; max(good, bad)-min(good, bad) > 1; {
			middle := (good + bad) / 2
			ok, err := makes(middle)
			if err != nil {
				return 0, err
			}
			if ok {
				good = middle
			} else {
				bad = middle
			}
		}
		return good, nil
	}
	const usual = 32
	if ok, err := makes(usual); !ok || err != nil {
		// A token without session objects: its limits stay unknown.
		return m, err
	}
	least, err := limit(usual, m.MinSize/8)
	if err != nil {
		return m, err
	}
	most, err := limit(usual, m.MaxSize/8)
	m.MinSize, m.MaxSize = 8*least, 8*most
	return m, err
}

// probePKCS finds out what the token makes of PKCS#1's paddings. The key is made here: a token may take long to make one.
func (s *session) probePKCS(m *provider.Mechanism) error {
	own, err := rsa.GenerateKey(rand.Reader, int(m.MinSize))
	if err != nil {
		return err
	}
	open, secret, err := softkey.PrivateAttributes(own)
	if err != nil {
		return err
	}
	handle, err := s.CreateObject(s.handle, template(append(append(open, secret...),
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PRIVATE_KEY), cryptoki.Bool(cryptoki.CKA_TOKEN, false), cryptoki.Bool(cryptoki.CKA_DECRYPT, true))...))
	if err != nil {
		if sessionLost(err) {
			return err
		}
		// It takes no keys from outside. All that is lost is some words in the table.
		return nil
	}
	defer func() { _ = s.destroy(handle) }()
	decrypts := func(ciphertext []byte) ([]byte, error) {
		return s.operate(s.DecryptInit, s.Decrypt, cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, &object{handle: handle}, ciphertext)
	}
	//lint:ignore SA1019 it is what applications still do
	empty, err := rsa.EncryptPKCS1v15(rand.Reader, &own.PublicKey, nil)
	if err != nil {
		return err
	}
	plaintext, err := decrypts(empty)
	if sessionLost(err) {
		return err
	}
	m.NoEmpty = err != nil || len(plaintext) != 0
	for range 2 {
		// Of 65536 numbers one decrypts to what begins as the padding does.
		wrong := make([]byte, own.Size())
		_, _ = rand.Read(wrong[1:])
		_, err := decrypts(wrong)
		if sessionLost(err) {
			return err
		}
		if err != nil {
			return nil
		}
	}
	m.ImplicitRejection = true
	return nil
}
