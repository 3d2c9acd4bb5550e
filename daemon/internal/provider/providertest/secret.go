package providertest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"fmt"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// secret returns a secret key of a recipe whose value is known: imported where the provider takes keys, else one that
// may be exported.
func (s *suite) secret(t *testing.T, r recipe) *testKey {
	t.Helper()
	name := r.name + " known"
	s.mu.Lock()
	k, ok := s.keys[name]
	s.mu.Unlock()
	if ok {
		return k
	}
	if importer, ok := s.provider.(provider.Importer); ok {
		k = s.imported(t, importer, r, random(int(r.size)))
	} else {
		k = s.make(t, r.revealed().request())
		secret, err := ability[provider.Exporter](t, k.Key).Export(s.ctx(t))
		if err != nil {
			t.Fatal(err)
		}
		k.value = secret.Bytes(cryptoki.CKA_VALUE)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[name] = k
	return k
}

// imported brings a secret key in.
func (s *suite) imported(t *testing.T, importer provider.Importer, r recipe, value []byte) *testKey {
	t.Helper()
	attributes := r.restrict(common(cryptoki.CKO_SECRET_KEY, r.keyType, r.name+" imported", r.open))
	identity := s.identity()
	generated, err := importer.Import(s.ctx(t), identity, append(attributes.Clone(), cryptoki.Bytes(cryptoki.CKA_VALUE, value)))
	if err != nil {
		t.Fatalf("Import of %s: %v", r.name, err)
	}
	k := s.open(t, identity, generated, append(attributes, cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, uint64(len(value)))))
	k.value = value
	return k
}

// proveAES checks a mode in both directions with Go's crypto and the known value.
func (s *suite) proveAES(t *testing.T, k *testKey, m cryptoki.MechanismType) {
	block, err := aes.NewCipher(k.value)
	if err != nil {
		t.Fatal(err)
	}
	iv := random(16)
	lengths := []int{0, 1, 15, 16, 17, 64, 100_000}
	if m == cryptoki.CKM_AES_ECB || m == cryptoki.CKM_AES_CBC {
		lengths = []int{0, 16, 32, 160_000}
	}
	for _, length := range lengths {
		if limit := s.capabilities.MaxData; limit > 0 && length > limit {
			length = limit / aes.BlockSize * aes.BlockSize
		}
		message := random(length)
		switch m {
		case cryptoki.CKM_AES_ECB:
			var want []byte
			for i := 0; i < length; i += 16 {
				want = append(want, make([]byte, 16)...)
				block.Encrypt(want[i:], message[i:])
			}
			s.proveCipher(t, k, cryptoki.Mechanism{Type: m}, message, want)
		case cryptoki.CKM_AES_CBC, cryptoki.CKM_AES_CBC_PAD:
			padded := bytes.Clone(message)
			if m == cryptoki.CKM_AES_CBC_PAD {
				n := 16 - length%16
				padded = append(padded, bytes.Repeat([]byte{byte(n)}, n)...)
			}
			want := make([]byte, len(padded))
			cipher.NewCBCEncrypter(block, iv).CryptBlocks(want, padded)
			s.proveCipher(t, k, cryptoki.Mechanism{Type: m, Params: cryptoki.IVParams{IV: iv}}, message, want)
		case cryptoki.CKM_AES_CTR:
			for _, bits := range []uint64{128, 64, 32} {
				params := cryptoki.CTRParams{CounterBits: bits, CounterBlock: [16]byte(append(random(12), 0, 0, 0, 1))}
				want := make([]byte, length)
				cipher.NewCTR(block, params.CounterBlock[:]).XORKeyStream(want, message)
				s.proveCipher(t, k, cryptoki.Mechanism{Type: m, Params: params}, message, want)
			}
		case cryptoki.CKM_AES_GCM:
			s.proveGCM(t, k, block, message)
		}
	}
	s.refuseAES(t, k, m)
}

// proveGCM goes through the lengths of tag, initialisation vector and additional data.
func (s *suite) proveGCM(t *testing.T, k *testKey, block cipher.Block, message []byte) {
	for _, tc := range []struct{ iv, aad, tag int }{{12, 0, 16}, {12, 20, 16}, {12, 5, 12}, {12, 5, 13}, {16, 5, 16}, {1, 0, 16}} {
		params := cryptoki.GCMParams{IV: random(tc.iv), AAD: random(tc.aad), TagBits: uint64(8 * tc.tag)}
		m := cryptoki.Mechanism{Type: cryptoki.CKM_AES_GCM, Params: params}
		aead, err := cipher.NewGCMWithNonceSize(block, tc.iv)
		if tc.tag != 16 {
			aead, err = cipher.NewGCMWithTagSize(block, tc.tag)
		}
		if err != nil {
			t.Fatal(err)
		}
		want := aead.Seal(nil, params.IV, message, params.AAD)
		row, _ := s.capabilities.Mechanism(m.Type)
		if row.IVSize > 0 && tc.iv != row.IVSize || row.TagSize > 0 && tc.tag != row.TagSize {
			_, err := s.decrypt(t, k, m, want)
			wants(t, err, fault.MechanismParamInvalid)
			continue
		}
		if s.capabilities.MaxData > 0 && len(message)+tc.aad > s.capabilities.MaxData {
			_, err := s.decrypt(t, k, m, want)
			wants(t, err, fault.EncryptedDataLenRange)
			continue
		}
		s.proveCipher(t, k, m, message, want)
		for _, i := range []int{0, len(want) - 1} {
			damaged := bytes.Clone(want)
			damaged[i] ^= 1
			_, err := s.decrypt(t, k, m, damaged)
			wants(t, err, fault.EncryptedDataInvalid)
		}
	}
}

// proveCipher checks encryption and decryption.
func (s *suite) proveCipher(t *testing.T, k *testKey, m cryptoki.Mechanism, message, want []byte) {
	t.Helper()
	if s.capabilities.Can(m.Type, cryptoki.CKF_ENCRYPT) {
		got, err := s.encrypt(t, k, m, message)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: not the ciphertext that Go's crypto has: %v", len(message), err)
		}
	}
	if s.capabilities.Can(m.Type, cryptoki.CKF_DECRYPT) {
		got, err := s.decrypt(t, k, m, want)
		if err != nil || !bytes.Equal(got, message) {
			t.Errorf("%d bytes: not the message that Go's crypto encrypted: %v", len(message), err)
		}
	}
}

// refuseAES sends parameters that are wrong.
func (s *suite) refuseAES(t *testing.T, k *testKey, m cryptoki.MechanismType) {
	wrong := map[cryptoki.MechanismType][]cryptoki.Params{
		cryptoki.CKM_AES_ECB:     {cryptoki.IVParams{IV: make([]byte, 16)}},
		cryptoki.CKM_AES_CBC:     {nil, cryptoki.IVParams{}, cryptoki.IVParams{IV: make([]byte, 15)}, cryptoki.CTRParams{CounterBits: 128}},
		cryptoki.CKM_AES_CBC_PAD: {nil, cryptoki.IVParams{IV: make([]byte, 17)}},
		cryptoki.CKM_AES_CTR:     {nil, cryptoki.CTRParams{}, cryptoki.CTRParams{CounterBits: 129}},
		cryptoki.CKM_AES_GCM: {
			nil,
			cryptoki.GCMParams{TagBits: 128},
			cryptoki.GCMParams{IV: make([]byte, 12), TagBits: 0},
			cryptoki.GCMParams{IV: make([]byte, 12), TagBits: 129},
			cryptoki.GCMParams{IV: make([]byte, 12), TagBits: 1 << 60},
		},
	}
	for i, params := range wrong[m] {
		t.Run(fmt.Sprintf("wrong parameter %d", i), func(t *testing.T) {
			if s.capabilities.Can(m, cryptoki.CKF_ENCRYPT) {
				_, err := s.encrypt(t, k, cryptoki.Mechanism{Type: m, Params: params}, make([]byte, 32))
				wants(t, err, fault.MechanismParamInvalid)
			}
			if s.capabilities.Can(m, cryptoki.CKF_DECRYPT) {
				_, err := s.decrypt(t, k, cryptoki.Mechanism{Type: m, Params: params}, make([]byte, 32))
				wants(t, err, fault.MechanismParamInvalid)
			}
		})
	}
}

// proveMAC checks an HMAC with Go's crypto and the known value.
func (s *suite) proveMAC(t *testing.T, k *testKey, info mechanism.Info) {
	row, _ := s.capabilities.Mechanism(info.Type)
	if bits := uint64(8 * len(k.value)); bits < row.MinSize || bits > row.MaxSize {
		m := cryptoki.Mechanism{Type: info.Type}
		if general(info) {
			m.Params = cryptoki.MACGeneralParams{Length: 7}
		}
		_, err := s.sign(t, k, m, random(10))
		wants(t, err, fault.KeySizeRange)
		return
	}
	for _, length := range []int{0, 1, 64, 100_000} {
		message := random(length)
		if s.tooLong(length) {
			m := cryptoki.Mechanism{Type: info.Type}
			if general(info) {
				m.Params = cryptoki.MACGeneralParams{Length: 7}
			}
			_, err := s.sign(t, k, m, message)
			wants(t, err, fault.DataLenRange)
			continue
		}
		h := hmac.New(info.Hash.New, k.value)
		h.Write(message)
		want := h.Sum(nil)
		m := cryptoki.Mechanism{Type: info.Type}
		if general(info) {
			m.Params = cryptoki.MACGeneralParams{Length: 7}
			want = want[:7]
		}
		got, err := s.sign(t, k, m, message)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: not the MAC that Go's crypto has: %v", length, err)
		}
	}
}

// tooLong tells whether a message is longer, or shorter, than the provider takes.
func (s *suite) tooLong(length int) bool {
	return length < s.capabilities.MinData || s.capabilities.MaxData > 0 && length > s.capabilities.MaxData
}

// mac returns an HMAC that a key of so many bytes does.
func (s *suite) mac(length int) mechanism.Info {
	for _, t := range []cryptoki.MechanismType{cryptoki.CKM_SHA256_HMAC, cryptoki.CKM_SHA224_HMAC, cryptoki.CKM_SHA384_HMAC, cryptoki.CKM_SHA512_HMAC} {
		row, ok := s.capabilities.Mechanism(t)
		if bits := uint64(8 * length); ok && bits >= row.MinSize && bits <= row.MaxSize {
			info, _ := mechanism.Lookup(t)
			return info
		}
	}
	info, _ := mechanism.Lookup(cryptoki.CKM_SHA256_HMAC)
	return info
}

// general tells whether a MAC has a length as parameter.
func general(info mechanism.Info) bool {
	return mechanism.CheckParams(cryptoki.Mechanism{Type: info.Type}, cryptoki.CKF_SIGN) != nil
}
