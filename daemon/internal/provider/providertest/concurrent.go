package providertest

import (
	"bytes"
	"sync"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// workers is more than any provider has sessions in these tests.
const workers = 24

// testConcurrent uses keys from many goroutines while others make, look for and destroy keys.
func (s *suite) testConcurrent(t *testing.T) {
	recipes := s.samples()
	keys := make([]*testKey, len(recipes))
	for i, r := range recipes {
		if r.keyType == cryptoki.CKK_AES || r.keyType == cryptoki.CKK_GENERIC_SECRET {
			keys[i] = s.secret(t, r)
		} else {
			keys[i] = s.shared(t, r)
		}
	}
	destroyer, destroys := s.provider.(provider.Destroyer)
	var wait sync.WaitGroup
	for worker := range workers {
		wait.Go(func() {
			for round := range 3 {
				i := (worker + round) % len(keys)
				switch {
				case worker%8 == 7:
					s.churn(t, destroyer, destroys)
				case recipes[i].keyType == cryptoki.CKK_AES:
					s.roundTrip(t, keys[i])
				default:
					s.proveKey(t, keys[i], recipes[i].keyType)
				}
				// Failing calls must not spoil the sessions of others.
				_, err := keys[0].Key.(provider.Signer).Sign(t.Context(), cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, make([]byte, 5000))
				if err == nil {
					t.Error("5000 bytes were signed")
				}
			}
		})
	}
	wait.Wait()
}

// churn makes a key, uses and destroys it.
func (s *suite) churn(t *testing.T, destroyer provider.Destroyer, destroys bool) {
	r := s.anyRecipe(t)
	request := r.request()
	request.Identity = s.identity()
	generated, err := s.provider.Generate(s.ctx(t), request)
	if err != nil {
		t.Error(err)
		return
	}
	ref := provider.Reference{Identity: request.Identity, Ref: generated.Ref, Attributes: request.Private}
	if _, err := s.provider.Key(s.ctx(t), ref); err != nil {
		t.Error(err)
	}
	if !destroys {
		return
	}
	if err := destroyer.Destroy(s.ctx(t), ref); err != nil {
		t.Error(err)
	}
	if _, err := s.provider.Key(s.ctx(t), ref); s.capabilities.Keeps && !fault.Is(err, fault.KeyHandleInvalid) {
		t.Errorf("a destroyed key: %v", err)
	}
}

// roundTrip encrypts and decrypts.
func (s *suite) roundTrip(t *testing.T, k *testKey) {
	m := cryptoki.Mechanism{Type: cryptoki.CKM_AES_ECB}
	if !s.capabilities.Can(m.Type, cryptoki.CKF_ENCRYPT|cryptoki.CKF_DECRYPT) {
		return
	}
	message := random(1600)
	ciphertext, err := k.Key.(provider.Encrypter).Encrypt(s.ctx(t), m, message)
	if err != nil {
		t.Error(err)
		return
	}
	got, err := k.Key.(provider.Decrypter).Decrypt(s.ctx(t), m, ciphertext)
	if err != nil || !bytes.Equal(got, message) {
		t.Errorf("not what was encrypted: %v", err)
	}
}
