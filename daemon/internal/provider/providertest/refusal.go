package providertest

import (
	"bytes"
	"crypto/rsa"
	"fmt"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// testWrongData sends data of impossible lengths and ciphertexts that are none.
func (s *suite) testWrongData(t *testing.T) {
	if s.can(rsaRecipe(2048)) {
		s.wrongRSA(t, s.shared(t, rsaRecipe(2048)))
	}
	if s.can(aesRecipe(16)) {
		s.wrongAES(t)
	}
}

func (s *suite) wrongRSA(t *testing.T, k *testKey) {
	modulus := k.public.(*rsa.PublicKey).N.Bytes()
	pss := cryptoki.PSSParams{Hash: cryptoki.CKM_SHA256, MGF: cryptoki.CKG_MGF1_SHA256, SaltLength: 32}
	for _, tc := range []struct {
		name string
		m    cryptoki.Mechanism
		data []byte
		kind fault.Kind
	}{
		{"PKCS", cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, make([]byte, 246), fault.DataLenRange},
		{"PKCS", cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, make([]byte, 100_000), fault.DataLenRange},
		{"PKCS with a parameter", cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS, Params: pss}, make([]byte, 20), fault.MechanismParamInvalid},
		{"X.509", cryptoki.Mechanism{Type: cryptoki.CKM_RSA_X_509}, make([]byte, 257), fault.DataLenRange},
		{"X.509 of the modulus", cryptoki.Mechanism{Type: cryptoki.CKM_RSA_X_509}, modulus, fault.DataInvalid},
		{"X.509 beyond the modulus", cryptoki.Mechanism{Type: cryptoki.CKM_RSA_X_509}, bytes.Repeat([]byte{0xff}, 256), fault.DataInvalid},
		{"PSS", cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_PSS, Params: pss}, make([]byte, 20), fault.DataLenRange},
		{"PSS", cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_PSS, Params: pss}, nil, fault.DataLenRange},
	} {
		if !s.capabilities.Can(tc.m.Type, cryptoki.CKF_SIGN) {
			continue
		}
		t.Run(fmt.Sprintf("sign %s %d", tc.name, len(tc.data)), func(t *testing.T) {
			_, err := s.sign(t, s.shared(t, s.doing(rsaRecipe(2048), tc.m.Type)), tc.m, tc.data)
			wants(t, err, tc.kind, fault.DataLenRange)
		})
	}
	k = s.shared(t, s.to(rsaRecipe(2048), cryptoki.CKF_DECRYPT))
	oaep := cryptoki.OAEPParams{Hash: cryptoki.CKM_SHA256, MGF: cryptoki.CKG_MGF1_SHA256}
	if row, _ := s.capabilities.Mechanism(cryptoki.CKM_RSA_PKCS_OAEP); !takes(row, oaep.Hash, true) {
		oaep = cryptoki.OAEPParams{Hash: cryptoki.CKM_SHA_1, MGF: cryptoki.CKG_MGF1_SHA1}
	}
	for _, m := range []cryptoki.Mechanism{
		{Type: cryptoki.CKM_RSA_PKCS},
		{Type: cryptoki.CKM_RSA_X_509},
		{Type: cryptoki.CKM_RSA_PKCS_OAEP, Params: oaep},
	} {
		if !s.capabilities.Can(m.Type, cryptoki.CKF_DECRYPT) {
			continue
		}
		t.Run("decrypt "+m.Type.String(), func(t *testing.T) {
			for _, length := range []int{0, 1, 255, 257, 100_000} {
				_, err := s.decrypt(t, k, m, make([]byte, length))
				wants(t, err, fault.EncryptedDataLenRange)
			}
			if row, _ := s.capabilities.Mechanism(m.Type); row.ImplicitRejection {
				s.rejectsImplicitly(t, k, m)
				return
			}
			_, err := s.decrypt(t, k, m, bytes.Repeat([]byte{0xff}, 256))
			wants(t, err, fault.EncryptedDataInvalid)
			if m.Type != cryptoki.CKM_RSA_X_509 {
				_, err = s.decrypt(t, k, m, append([]byte{0}, random(255)...))
				wants(t, err, fault.EncryptedDataInvalid)
			}
		})
	}
}

// rejectsImplicitly decrypts what is wrongly padded: the answer tells nothing, not even by being another one next time.
func (s *suite) rejectsImplicitly(t *testing.T, k *testKey, m cryptoki.Mechanism) {
	for range 3 {
		wrong := append([]byte{0}, random(255)...)
		one, err := s.decrypt(t, k, m, wrong)
		if err != nil || len(one) > 245 {
			t.Fatalf("%d bytes from a ciphertext that is none: %v", len(one), err)
		}
		if other, err := s.decrypt(t, k, m, wrong); err != nil || !bytes.Equal(one, other) {
			t.Errorf("another answer the second time: %v", err)
		}
	}
}

func (s *suite) wrongAES(t *testing.T) {
	iv := cryptoki.IVParams{IV: make([]byte, 16)}
	gcm := cryptoki.GCMParams{IV: make([]byte, 12), TagBits: 128}
	for _, tc := range []struct {
		m      cryptoki.Mechanism
		use    cryptoki.Flags
		length int
		kind   fault.Kind
	}{
		{cryptoki.Mechanism{Type: cryptoki.CKM_AES_ECB}, cryptoki.CKF_ENCRYPT, 15, fault.DataLenRange},
		{cryptoki.Mechanism{Type: cryptoki.CKM_AES_ECB}, cryptoki.CKF_DECRYPT, 17, fault.EncryptedDataLenRange},
		{cryptoki.Mechanism{Type: cryptoki.CKM_AES_CBC, Params: iv}, cryptoki.CKF_ENCRYPT, 1, fault.DataLenRange},
		{cryptoki.Mechanism{Type: cryptoki.CKM_AES_CBC, Params: iv}, cryptoki.CKF_DECRYPT, 31, fault.EncryptedDataLenRange},
		{cryptoki.Mechanism{Type: cryptoki.CKM_AES_CBC_PAD, Params: iv}, cryptoki.CKF_DECRYPT, 0, fault.EncryptedDataLenRange},
		{cryptoki.Mechanism{Type: cryptoki.CKM_AES_CBC_PAD, Params: iv}, cryptoki.CKF_DECRYPT, 15, fault.EncryptedDataLenRange},
		{cryptoki.Mechanism{Type: cryptoki.CKM_AES_GCM, Params: gcm}, cryptoki.CKF_DECRYPT, 0, fault.EncryptedDataLenRange},
		{cryptoki.Mechanism{Type: cryptoki.CKM_AES_GCM, Params: gcm}, cryptoki.CKF_DECRYPT, 15, fault.EncryptedDataLenRange},
		{cryptoki.Mechanism{Type: cryptoki.CKM_AES_GCM, Params: gcm}, cryptoki.CKF_DECRYPT, 16, fault.EncryptedDataInvalid},
	} {
		if !s.capabilities.Can(tc.m.Type, tc.use) {
			continue
		}
		t.Run(fmt.Sprintf("%s %d", tc.m.Type, tc.length), func(t *testing.T) {
			k := s.shared(t, s.doing(aesRecipe(16), tc.m.Type))
			var err error
			if tc.use == cryptoki.CKF_ENCRYPT {
				_, err = s.encrypt(t, k, tc.m, make([]byte, tc.length))
			} else {
				_, err = s.decrypt(t, k, tc.m, make([]byte, tc.length))
			}
			wants(t, err, tc.kind)
		})
	}
	if !s.capabilities.Can(cryptoki.CKM_AES_CBC_PAD, cryptoki.CKF_DECRYPT|cryptoki.CKF_ENCRYPT) || !s.capabilities.Can(cryptoki.CKM_AES_CBC, cryptoki.CKF_ENCRYPT) {
		return
	}
	t.Run("a wrong padding", func(t *testing.T) {
		k := s.shared(t, s.doing(aesRecipe(16), cryptoki.CKM_AES_CBC_PAD))
		for _, last := range []byte{0, 17, 255} {
			block := make([]byte, 16)
			block[15] = last
			ciphertext, err := s.encrypt(t, k, cryptoki.Mechanism{Type: cryptoki.CKM_AES_CBC, Params: iv}, block)
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.decrypt(t, k, cryptoki.Mechanism{Type: cryptoki.CKM_AES_CBC_PAD, Params: iv}, ciphertext)
			wants(t, err, fault.EncryptedDataInvalid)
		}
	})
}

// testWrongKeys uses mechanisms with keys of other types.
func (s *suite) testWrongKeys(t *testing.T) {
	uses := []struct {
		m   cryptoki.Mechanism
		use cryptoki.Flags
		of  cryptoki.KeyType
	}{
		{cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, cryptoki.CKF_SIGN, cryptoki.CKK_RSA},
		{cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, cryptoki.CKF_SIGN, cryptoki.CKK_EC},
		{cryptoki.Mechanism{Type: cryptoki.CKM_EDDSA}, cryptoki.CKF_SIGN, cryptoki.CKK_EC_EDWARDS},
		{cryptoki.Mechanism{Type: cryptoki.CKM_ML_DSA}, cryptoki.CKF_SIGN, cryptoki.CKK_ML_DSA},
		{cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_HMAC}, cryptoki.CKF_SIGN, cryptoki.CKK_GENERIC_SECRET},
		{cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, cryptoki.CKF_DECRYPT, cryptoki.CKK_RSA},
		{cryptoki.Mechanism{Type: cryptoki.CKM_AES_ECB}, cryptoki.CKF_DECRYPT, cryptoki.CKK_AES},
		{cryptoki.Mechanism{Type: cryptoki.CKM_AES_ECB}, cryptoki.CKF_ENCRYPT, cryptoki.CKK_AES},
		{cryptoki.Mechanism{Type: cryptoki.CKM_ECDH1_DERIVE, Params: cryptoki.ECDH1Params{KDF: cryptoki.CKD_NULL, PublicData: []byte{4}}}, cryptoki.CKF_DERIVE, cryptoki.CKK_EC},
	}
	for _, r := range s.samples() {
		k := s.shared(t, r)
		for _, use := range uses {
			if use.of == r.keyType || !s.capabilities.Can(use.m.Type, use.use) {
				continue
			}
			t.Run(fmt.Sprintf("%s with %s", use.m.Type, r.name), func(t *testing.T) {
				var err error
				switch use.use {
				case cryptoki.CKF_SIGN:
					_, err = s.sign(t, k, use.m, random(32))
				case cryptoki.CKF_DECRYPT:
					_, err = s.decrypt(t, k, use.m, random(256))
				case cryptoki.CKF_ENCRYPT:
					_, err = s.encrypt(t, k, use.m, random(32))
				default:
					_, err = s.derive(t, k, use.m, 0)
				}
				wants(t, err, fault.KeyTypeInconsistent)
			})
		}
		// No mechanism of anybody's.
		_, err := s.sign(t, k, cryptoki.Mechanism{Type: cryptoki.CKM_VENDOR_DEFINED + 4711}, random(32))
		wants(t, err, fault.MechanismInvalid)
	}
	request := s.anyRecipe(t).request()
	request.Identity = s.identity()
	request.Mechanism.Type = cryptoki.CKM_VENDOR_DEFINED + 4711
	_, err := s.provider.Generate(s.ctx(t), request)
	wants(t, err, fault.MechanismInvalid)
}
