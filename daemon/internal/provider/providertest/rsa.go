package providertest

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"math/big"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// proveRSA checks a mechanism of an RSA key with Go's crypto and the public key.
func (s *suite) proveRSA(t *testing.T, k *testKey, m cryptoki.MechanismType, use cryptoki.Flags) {
	public := k.public.(*rsa.PublicKey)
	raw := cryptoki.Mechanism{Type: m}
	switch {
	case m == cryptoki.CKM_RSA_PKCS && use == cryptoki.CKF_SIGN:
		for _, data := range s.paddable(t, public.Size()) {
			length := len(data)
			signature, err := s.sign(t, k, raw, data)
			if err != nil {
				t.Fatalf("%d bytes: %v", length, err)
			}
			if err := rsa.VerifyPKCS1v15(public, 0, data, signature); err != nil {
				t.Errorf("%d bytes: Go's crypto does not take the signature: %v", length, err)
			}
		}
		if row, _ := s.capabilities.Mechanism(m); row.DigestInfo != nil {
			s.refuseUnstructured(t, k, row)
		}
	case m == cryptoki.CKM_RSA_PKCS:
		for _, length := range []int{0, 1, 48, public.Size() - 11} {
			if row, _ := s.capabilities.Mechanism(m); row.NoEmpty && length == 0 {
				continue
			}
			message := random(length)
			//lint:ignore SA1019 it is what applications still do
			ciphertext, err := rsa.EncryptPKCS1v15(rand.Reader, public, message)
			if err != nil {
				t.Fatal(err)
			}
			s.decrypts(t, k, raw, ciphertext, message)
		}
	case m == cryptoki.CKM_RSA_X_509 && use == cryptoki.CKF_SIGN:
		for _, data := range [][]byte{{1, 2, 3}, append([]byte{0}, random(public.Size()-1)...)} {
			signature, err := s.sign(t, k, raw, data)
			if err != nil {
				t.Fatal(err)
			}
			if got := power(public, signature); !bytes.Equal(got, pad(data, public.Size())) {
				t.Error("the signature to the public exponent is not the data")
			}
		}
	case m == cryptoki.CKM_RSA_X_509:
		message := append([]byte{0}, random(public.Size()-1)...)
		s.decrypts(t, k, raw, power(public, message), message)
	case m == cryptoki.CKM_RSA_PKCS_PSS:
		s.provePSS(t, k, cryptoki.PSSParams{Hash: cryptoki.CKM_SHA256, MGF: cryptoki.CKG_MGF1_SHA256, SaltLength: 32})
	case m == cryptoki.CKM_RSA_PKCS_OAEP:
		params := cryptoki.OAEPParams{Hash: cryptoki.CKM_SHA_1, MGF: cryptoki.CKG_MGF1_SHA1}
		if row, _ := s.capabilities.Mechanism(m); s.capabilities.OneAlgorithm || !takes(row, params.Hash, true) {
			params = cryptoki.OAEPParams{Hash: cryptoki.CKM_SHA256, MGF: cryptoki.CKG_MGF1_SHA256}
		}
		s.proveOAEP(t, k, params)
	}
}

func (s *suite) decrypts(t *testing.T, k *testKey, m cryptoki.Mechanism, ciphertext, message []byte) {
	t.Helper()
	got, err := s.decrypt(t, k, m, ciphertext)
	if err != nil {
		t.Fatalf("%d bytes: %v", len(message), err)
	}
	if !bytes.Equal(got, message) {
		t.Errorf("%d bytes came back as %d other ones", len(message), len(got))
	}
}

// paddable are data that CKM_RSA_PKCS signs.
func (s *suite) paddable(t *testing.T, modulus int) (all [][]byte) {
	t.Helper()
	row, _ := s.capabilities.Mechanism(cryptoki.CKM_RSA_PKCS)
	if row.DigestInfo == nil {
		for _, length := range []int{0, 1, 20, 36, 51, modulus - 11} {
			if length >= s.capabilities.MinData {
				all = append(all, random(length))
			}
		}
		return all
	}
	for _, digest := range row.DigestInfo {
		all = append(all, digestInfo(t, digest))
	}
	return all
}

func digestInfo(t *testing.T, digest cryptoki.MechanismType) []byte {
	t.Helper()
	h, _ := mechanism.HashOf(digest)
	data, err := mechanism.DigestInfo(h, random(h.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// refuseUnstructured sends what is no DigestInfo that the provider signs.
func (s *suite) refuseUnstructured(t *testing.T, k *testKey, row provider.Mechanism) {
	t.Helper()
	good := digestInfo(t, row.DigestInfo[0])
	wrong := [][]byte{nil, random(1), random(36), random(51), good[1:], good[:len(good)-1], append(bytes.Clone(good), 0)}
	for _, h := range hashes {
		if !takes(provider.Mechanism{Hashes: row.DigestInfo}, h.hash, true) {
			wrong = append(wrong, digestInfo(t, h.hash))
		}
	}
	for _, data := range wrong {
		_, err := s.sign(t, k, cryptoki.Mechanism{Type: row.Type}, data)
		wants(t, err, fault.DataInvalid)
	}
}

// power is the public operation of RSA.
func power(public *rsa.PublicKey, data []byte) []byte {
	c := new(big.Int).Exp(new(big.Int).SetBytes(data), big.NewInt(int64(public.E)), public.N)
	return c.FillBytes(make([]byte, public.Size()))
}

func pad(data []byte, length int) []byte { return append(make([]byte, length-len(data)), data...) }

func (s *suite) provePSS(t *testing.T, k *testKey, params cryptoki.PSSParams) {
	t.Helper()
	public := k.public.(*rsa.PublicKey)
	h, _ := mechanism.HashOf(params.Hash)
	digest := random(h.Size())
	signature, err := s.sign(t, k, cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_PSS, Params: params}, digest)
	if err != nil {
		t.Errorf("PSS with %+v: %v", params, err)
		return
	}
	generator, _ := mechanism.MGFHash(params.MGF)
	if generator == h {
		if err := rsa.VerifyPSS(public, h, digest, signature, &rsa.PSSOptions{SaltLength: int(params.SaltLength)}); err != nil && params.SaltLength > 0 {
			t.Errorf("PSS with %+v: Go's crypto does not take the signature: %v", params, err)
		}
	}
	if !verifyPSS(public, digest, signature, h, generator, int(params.SaltLength)) {
		t.Errorf("PSS with %+v: RFC 8017 does not take the signature", params)
	}
}

// verifyPSS is EMSA-PSS-VERIFY of RFC 8017, written for a mask with another hash, which Go's crypto does not do.
func verifyPSS(public *rsa.PublicKey, digest, signature []byte, h, generator crypto.Hash, salt int) bool {
	bits := public.N.BitLen() - 1
	length := (bits + 7) / 8
	encoded := power(public, signature)
	encoded = encoded[len(encoded)-length:]
	if encoded[length-1] != 0xbc || encoded[0]&^(0xff>>(8*length-bits)) != 0 {
		return false
	}
	block, seed := bytes.Clone(encoded[:length-h.Size()-1]), encoded[length-h.Size()-1:length-1]
	for i, b := range mgf1(generator, seed, len(block)) {
		block[i] ^= b
	}
	block[0] &= 0xff >> (8*length - bits)
	lead := len(block) - salt - 1
	if !bytes.Equal(block[:lead], make([]byte, lead)) || block[lead] != 1 {
		return false
	}
	return bytes.Equal(seed, hashed(h, make([]byte, 8), digest, block[lead+1:]))
}

func mgf1(h crypto.Hash, seed []byte, length int) []byte {
	var out []byte
	for i := 0; len(out) < length; i++ {
		out = append(out, hashed(h, seed, []byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})...)
	}
	return out[:length]
}

func hashed(h crypto.Hash, parts ...[]byte) []byte {
	d := h.New()
	for _, part := range parts {
		d.Write(part)
	}
	return d.Sum(nil)
}

func (s *suite) proveOAEP(t *testing.T, k *testKey, params cryptoki.OAEPParams) {
	t.Helper()
	public := k.public.(*rsa.PublicKey)
	h, _ := mechanism.HashOf(params.Hash)
	generator, _ := mechanism.MGFHash(params.MGF)
	m := cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_OAEP, Params: params}
	for _, length := range []int{0, 1, public.Size() - 2*h.Size() - 2} {
		message := random(length)
		options := &rsa.OAEPOptions{Hash: h, MGFHash: generator, Label: params.Label}
		ciphertext, err := rsa.EncryptOAEPWithOptions(rand.Reader, public, message, options)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.decrypt(t, k, m, ciphertext)
		if err != nil || !bytes.Equal(got, message) {
			t.Errorf("OAEP with %+v and %d bytes: not what Go's crypto encrypted: %v", params, length, err)
		}
	}
	other := &rsa.OAEPOptions{Hash: h, MGFHash: generator, Label: append([]byte("not "), params.Label...)}
	ciphertext, err := rsa.EncryptOAEPWithOptions(rand.Reader, public, []byte("secret"), other)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.decrypt(t, k, m, ciphertext)
	wants(t, err, fault.EncryptedDataInvalid)
}

// testParameters goes through the hashes, masks, salts and labels of the RSA paddings.
func (s *suite) testParameters(t *testing.T) {
	if !s.can(rsaRecipe(2048)) {
		return
	}
	if row, ok := s.capabilities.Mechanism(cryptoki.CKM_RSA_PKCS_PSS); ok {
		k := s.shared(t, s.doing(rsaRecipe(2048), row.Type))
		t.Run("PSS", func(t *testing.T) { s.testPSSParameters(t, k, s.narrowed(row)) })
	}
	if row, ok := s.capabilities.Mechanism(cryptoki.CKM_RSA_PKCS_OAEP); ok {
		k := s.shared(t, s.doing(s.to(rsaRecipe(2048), cryptoki.CKF_DECRYPT), row.Type))
		t.Run("OAEP", func(t *testing.T) { s.testOAEPParameters(t, k, s.narrowed(row)) })
	}
}

// narrowed is the row as one key has it, where a key has one algorithm: for SHA-256 where the template names no hash.
func (s *suite) narrowed(row provider.Mechanism) provider.Mechanism {
	if s.capabilities.OneAlgorithm {
		row.Hashes = []cryptoki.MechanismType{cryptoki.CKM_SHA256}
	}
	return row
}

// hashes are those that paddings are tried with.
var hashes = []struct {
	hash cryptoki.MechanismType
	mgf  uint64
}{
	{cryptoki.CKM_SHA_1, cryptoki.CKG_MGF1_SHA1},
	{cryptoki.CKM_SHA224, cryptoki.CKG_MGF1_SHA224},
	{cryptoki.CKM_SHA256, cryptoki.CKG_MGF1_SHA256},
	{cryptoki.CKM_SHA384, cryptoki.CKG_MGF1_SHA384},
	{cryptoki.CKM_SHA512, cryptoki.CKG_MGF1_SHA512},
	{cryptoki.CKM_SHA3_256, cryptoki.CKG_MGF1_SHA3_256},
}

func takes(row provider.Mechanism, hash cryptoki.MechanismType, sameMGF bool) bool {
	if row.SameMGF && !sameMGF {
		return false
	}
	for _, h := range row.Hashes {
		if h == hash {
			return true
		}
	}
	return row.Hashes == nil
}

func (s *suite) testPSSParameters(t *testing.T, k *testKey, row provider.Mechanism) {
	for _, h := range hashes {
		for _, g := range hashes {
			hash, _ := mechanism.HashOf(h.hash)
			params := cryptoki.PSSParams{Hash: h.hash, MGF: g.mgf, SaltLength: uint64(hash.Size())}
			if takes(row, h.hash, h.mgf == g.mgf) {
				s.provePSS(t, k, params)
				continue
			}
			_, err := s.sign(t, k, cryptoki.Mechanism{Type: row.Type, Params: params}, random(hash.Size()))
			wants(t, err, fault.MechanismParamInvalid)
		}
	}
	if takes(row, cryptoki.CKM_SHA256, true) {
		for _, salt := range []uint64{0, 1, 20, 100, 222} {
			t.Run(fmt.Sprintf("salt %d", salt), func(t *testing.T) {
				params := cryptoki.PSSParams{Hash: cryptoki.CKM_SHA256, MGF: cryptoki.CKG_MGF1_SHA256, SaltLength: salt}
				if !row.SaltIsHash && salt >= row.MinSalt {
					s.provePSS(t, k, params)
					return
				}
				_, err := s.sign(t, k, cryptoki.Mechanism{Type: row.Type, Params: params}, random(32))
				wants(t, err, fault.MechanismParamInvalid)
			})
		}
		for name, params := range map[string]cryptoki.Params{
			"a salt beyond the key":   cryptoki.PSSParams{Hash: cryptoki.CKM_SHA256, MGF: cryptoki.CKG_MGF1_SHA256, SaltLength: 223},
			"an absurd salt":          cryptoki.PSSParams{Hash: cryptoki.CKM_SHA256, MGF: cryptoki.CKG_MGF1_SHA256, SaltLength: 1 << 62},
			"no hash":                 cryptoki.PSSParams{MGF: cryptoki.CKG_MGF1_SHA256, SaltLength: 32},
			"no mask":                 cryptoki.PSSParams{Hash: cryptoki.CKM_SHA256, SaltLength: 32},
			"no parameter":            nil,
			"another's parameter":     cryptoki.IVParams{IV: make([]byte, 16)},
			"the hash is a mechanism": cryptoki.PSSParams{Hash: cryptoki.CKM_SHA256_RSA_PKCS, MGF: cryptoki.CKG_MGF1_SHA256, SaltLength: 32},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := s.sign(t, k, cryptoki.Mechanism{Type: row.Type, Params: params}, random(32))
				wants(t, err, fault.MechanismParamInvalid, fault.KeySizeRange)
			})
		}
	}
}

func (s *suite) testOAEPParameters(t *testing.T, k *testKey, row provider.Mechanism) {
	for _, h := range hashes {
		for _, g := range hashes {
			for _, label := range [][]byte{nil, []byte("a label")} {
				params := cryptoki.OAEPParams{Hash: h.hash, MGF: g.mgf, Label: label}
				if takes(row, h.hash, h.mgf == g.mgf) && (len(label) == 0 || !row.NoLabel) {
					s.proveOAEP(t, k, params)
					continue
				}
				_, err := s.decrypt(t, k, cryptoki.Mechanism{Type: row.Type, Params: params}, random(256))
				wants(t, err, fault.MechanismParamInvalid)
			}
		}
	}
	for _, params := range []cryptoki.Params{
		nil, cryptoki.OAEPParams{MGF: cryptoki.CKG_MGF1_SHA1}, cryptoki.OAEPParams{Hash: cryptoki.CKM_SHA_1}, cryptoki.IVParams{},
	} {
		_, err := s.decrypt(t, k, cryptoki.Mechanism{Type: row.Type, Params: params}, random(256))
		wants(t, err, fault.MechanismParamInvalid)
	}
}
