package keyservice

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// The mechanisms that a key may prove itself with, the most usual ones first.
var (
	signProofs = []cryptoki.Mechanism{
		{Type: cryptoki.CKM_SHA256_RSA_PKCS},
		{Type: cryptoki.CKM_SHA384_RSA_PKCS},
		{Type: cryptoki.CKM_SHA512_RSA_PKCS},
		{Type: cryptoki.CKM_SHA256_RSA_PKCS_PSS, Params: cryptoki.PSSParams{Hash: cryptoki.CKM_SHA256, MGF: cryptoki.CKG_MGF1_SHA256, SaltLength: 32}},
		{Type: cryptoki.CKM_SHA384_RSA_PKCS_PSS, Params: cryptoki.PSSParams{Hash: cryptoki.CKM_SHA384, MGF: cryptoki.CKG_MGF1_SHA384, SaltLength: 48}},
		{Type: cryptoki.CKM_SHA512_RSA_PKCS_PSS, Params: cryptoki.PSSParams{Hash: cryptoki.CKM_SHA512, MGF: cryptoki.CKG_MGF1_SHA512, SaltLength: 64}},
		{Type: cryptoki.CKM_ECDSA_SHA256},
		{Type: cryptoki.CKM_ECDSA_SHA384},
		{Type: cryptoki.CKM_ECDSA_SHA512},
		{Type: cryptoki.CKM_EDDSA},
		{Type: cryptoki.CKM_ML_DSA},
	}
	decryptProofs = []cryptoki.Mechanism{
		{Type: cryptoki.CKM_RSA_PKCS_OAEP, Params: cryptoki.OAEPParams{Hash: cryptoki.CKM_SHA256, MGF: cryptoki.CKG_MGF1_SHA256}},
		{Type: cryptoki.CKM_RSA_PKCS_OAEP, Params: cryptoki.OAEPParams{Hash: cryptoki.CKM_SHA_1, MGF: cryptoki.CKG_MGF1_SHA1}},
		{Type: cryptoki.CKM_RSA_PKCS_OAEP, Params: cryptoki.OAEPParams{Hash: cryptoki.CKM_SHA512, MGF: cryptoki.CKG_MGF1_SHA512}},
		{Type: cryptoki.CKM_RSA_PKCS},
	}
	macProofs = []cryptoki.Mechanism{
		{Type: cryptoki.CKM_SHA256_HMAC},
		{Type: cryptoki.CKM_SHA384_HMAC},
		{Type: cryptoki.CKM_SHA512_HMAC},
		{Type: cryptoki.CKM_SHA224_HMAC},
		{Type: cryptoki.CKM_SHA_1_HMAC},
	}
)

// prove has the key at a place do what only the key of this object can do, and says by which mechanism. The public key
// is the judge; of a secret key it is the key at another place.
func (s *Service) prove(ctx context.Context, t target, p place, others []place) (string, error) {
	key, err := s.key(ctx, p.backend, t.reference(p))
	if err != nil {
		return "", err
	}
	trial := trial{Service: s, target: t, place: p, data: make([]byte, 32)}
	_, _ = rand.Read(trial.data) // never fails
	var by cryptoki.MechanismType
	if class, _ := t.Attributes.Class(); class == cryptoki.CKO_SECRET_KEY {
		by, err = trial.secret(ctx, key, others)
	} else {
		by, err = trial.private(ctx, key)
	}
	switch {
	case err != nil:
		return "", fault.New(fault.From(err).Kind, "the key in provider %s did not prove to be the same: %w", p.name, err)
	case by == 0:
		return "", fault.New(fault.ActionProhibited, "nothing that the key may do shows whether the key in provider %s is the same, so it is not used; "+
			"the object's usage attributes or CKA_ALLOWED_MECHANISMS leave no mechanism that both have", p.name)
	}
	return by.String(), nil
}

// trial is what a key is tested with.
type trial struct {
	*Service
	target
	place place
	data  []byte
}

var errOtherKey = fault.New(fault.Conflict, "its answer is another key's")

// may tells whether the object allows a mechanism and the place does it.
func (t trial) may(p place, asked cryptoki.MechanismType, raw cryptoki.Mechanism, usage cryptoki.AttributeType, use cryptoki.Flags, length int) bool {
	return t.Attributes.Bool(usage) &&
		p.refuses(t.target, task{use: use, asked: asked, raw: same(raw), length: length}) == nil
}

// private tests a private key. The mechanism is 0 if there is nothing that it could be tested with.
func (t trial) private(ctx context.Context, key provider.Key) (cryptoki.MechanismType, error) {
	attributes := t.Attributes.Clone()
	attributes.Set(cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PUBLIC_KEY))
	public, err := softkey.FromAttributes(attributes)
	if err != nil {
		return 0, err
	}
	if signer, ok := key.(provider.Signer); ok {
		for _, m := range signProofs {
			raw, input := m, t.data
			if info, _ := mechanism.Lookup(m.Type); info.Hashing() {
				if raw, input, err = mechanism.Reduce(m, sum(info.Hash, t.data)); err != nil {
					return 0, err
				}
			}
			if !t.may(t.place, m.Type, raw, cryptoki.CKA_SIGN, cryptoki.CKF_SIGN, len(input)) {
				continue
			}
			signature, err := signer.Sign(ctx, raw, input)
			if err == nil && public.Verify(raw, input, signature) != nil {
				err = errOtherKey
			}
			return m.Type, err
		}
	}
	if decrypter, ok := key.(provider.Decrypter); ok {
		for _, m := range decryptProofs {
			if !t.may(t.place, m.Type, m, cryptoki.CKA_DECRYPT, cryptoki.CKF_DECRYPT, 0) {
				continue
			}
			sent, err := public.Encrypt(m, t.data)
			if err != nil {
				return 0, err
			}
			plain, err := decrypter.Decrypt(ctx, m, sent)
			if err == nil && !bytes.Equal(plain, t.data) {
				err = errOtherKey
			}
			return m.Type, err
		}
	}
	if deriver, ok := key.(provider.Deriver); ok {
		return t.agreement(ctx, deriver)
	}
	return 0, nil
}

// agreement tests a key that only derives, against a key of the moment.
func (t trial) agreement(ctx context.Context, key provider.Deriver) (cryptoki.MechanismType, error) {
	on, err := curve.Of(t.Attributes)
	if err != nil {
		return 0, err
	}
	curves := map[string]ecdh.Curve{"P-256": ecdh.P256(), "P-384": ecdh.P384(), "P-521": ecdh.P521()}
	c, ok := curves[on.Name]
	point, complete := on.Point(t.Attributes.Bytes(cryptoki.CKA_EC_POINT))
	if !ok || !complete {
		return 0, nil
	}
	moment, err := c.GenerateKey(rand.Reader)
	if err != nil {
		return 0, err
	}
	m := cryptoki.Mechanism{Type: cryptoki.CKM_ECDH1_DERIVE, Params: cryptoki.ECDH1Params{KDF: cryptoki.CKD_NULL, PublicData: moment.PublicKey().Bytes()}}
	if !t.may(t.place, m.Type, m, cryptoki.CKA_DERIVE, cryptoki.CKF_DERIVE, 0) {
		return 0, nil
	}
	public, err := c.NewPublicKey(point)
	if err != nil {
		return 0, err
	}
	want, err := moment.ECDH(public)
	if err != nil {
		return 0, err
	}
	defer clear(want)
	got, err := key.Derive(ctx, m, 0)
	if err == nil && !bytes.Equal(got, want) {
		err = errOtherKey
	}
	clear(got)
	return m.Type, err
}

// secret tests a secret key against the one at another place, the first that can do the same.
func (t trial) secret(ctx context.Context, key provider.Key, others []place) (by cryptoki.MechanismType, err error) {
	for _, p := range others {
		other, failed := t.key(ctx, p.backend, t.reference(p))
		if failed != nil {
			err = failed
			continue
		}
		if by, err = t.secretAgainst(ctx, key, p, other); by != 0 {
			return by, err
		}
	}
	return 0, err
}

func (t trial) secretAgainst(ctx context.Context, key provider.Key, p place, other provider.Key) (cryptoki.MechanismType, error) {
	one, ok1 := key.(provider.Signer)
	two, ok2 := other.(provider.Signer)
	for _, m := range macProofs {
		if !ok1 || !ok2 || !t.may(t.place, m.Type, m, cryptoki.CKA_SIGN, cryptoki.CKF_SIGN, len(t.data)) ||
			!t.may(p, m.Type, m, cryptoki.CKA_SIGN, cryptoki.CKF_SIGN, len(t.data)) {
			continue
		}
		got, err := one.Sign(ctx, m, t.data)
		if err != nil {
			return m.Type, err
		}
		want, err := two.Sign(ctx, m, t.data)
		if err == nil && !bytes.Equal(got, want) {
			err = errOtherKey
		}
		return m.Type, err
	}
	encrypter, ok1 := other.(provider.Encrypter)
	decrypter, ok2 := key.(provider.Decrypter)
	for _, m := range t.cipherProofs() {
		if !ok1 || !ok2 || !t.may(t.place, m.Type, m, cryptoki.CKA_DECRYPT, cryptoki.CKF_DECRYPT, len(t.data)) ||
			!t.may(p, m.Type, m, cryptoki.CKA_ENCRYPT, cryptoki.CKF_ENCRYPT, len(t.data)) {
			continue
		}
		sent, err := encrypter.Encrypt(ctx, m, t.data)
		if err != nil {
			return m.Type, err
		}
		plain, err := decrypter.Decrypt(ctx, m, sent)
		if err == nil && !bytes.Equal(plain, t.data) {
			err = errOtherKey
		}
		return m.Type, err
	}
	return 0, nil
}

// cipherProofs are modes with a fresh initialisation vector each.
func (t trial) cipherProofs() []cryptoki.Mechanism {
	iv := make([]byte, 16)
	_, _ = rand.Read(iv) // never fails
	return []cryptoki.Mechanism{
		{Type: cryptoki.CKM_AES_GCM, Params: cryptoki.GCMParams{IV: iv[:12], TagBits: 128}},
		{Type: cryptoki.CKM_AES_CBC, Params: cryptoki.IVParams{IV: iv}},
		{Type: cryptoki.CKM_AES_CTR, Params: cryptoki.CTRParams{CounterBits: 128, CounterBlock: [16]byte(iv)}},
		{Type: cryptoki.CKM_AES_ECB},
	}
}
