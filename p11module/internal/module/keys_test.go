package module_test

import (
	"bytes"
	"crypto/hmac"
	stdsha256 "crypto/sha256"
	"math/rand/v2"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/p11module/internal/session"
)

// TestInitChecks: what is wrong is said by the Init functions, without the daemon.
func TestInitChecks(t *testing.T) {
	h := start(t)
	s := h.user()
	rsaPub, rsa := h.rsa(s, token)
	_, ec := h.p256(s)
	noSign := h.aes(s, token, cryptoki.Bool(cryptoki.CKA_ENCRYPT, false))
	find(t, s)
	data, err := s.CreateObject(cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_DATA)})
	h.must(err)
	h.wantRPCs(0, func() {
		for _, test := range []struct {
			name string
			err  error
			rv   cryptoki.RV
		}{
			{"ECDSA with RSA", s.SignInit(ecdsa, rsa), cryptoki.CKR_KEY_TYPE_INCONSISTENT},
			{"unknown mechanism", s.SignInit(cryptoki.Mechanism{Type: cryptoki.CKM_VENDOR_DEFINED}, rsa), cryptoki.CKR_MECHANISM_INVALID},
			{"not for signing", s.SignInit(cbc, noSign), cryptoki.CKR_MECHANISM_INVALID},
			{"no PSS parameter", s.SignInit(cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_PSS}, rsa), cryptoki.CKR_MECHANISM_PARAM_INVALID},
			{"a data object", s.SignInit(pkcs, data), cryptoki.CKR_KEY_HANDLE_INVALID},
			{"no such session object", s.SignInit(pkcs, 0x80001234), cryptoki.CKR_KEY_HANDLE_INVALID},
			{"handle 0", s.SignInit(pkcs, 0), cryptoki.CKR_KEY_HANDLE_INVALID},
			{"a public key signs", s.SignInit(pkcs, rsaPub), cryptoki.CKR_KEY_FUNCTION_NOT_PERMITTED},
			{"a private key verifies", s.VerifyInit(ecdsa, ec), cryptoki.CKR_KEY_FUNCTION_NOT_PERMITTED},
			{"usage", s.EncryptInit(cbc, noSign), cryptoki.CKR_KEY_FUNCTION_NOT_PERMITTED},
			{"short IV", s.DecryptInit(cryptoki.Mechanism{Type: cryptoki.CKM_AES_CBC, Params: cryptoki.IVParams{IV: iv[:3]}}, noSign), cryptoki.CKR_MECHANISM_PARAM_INVALID},
			{"digest", s.DigestInit(pkcs), cryptoki.CKR_MECHANISM_INVALID},
		} {
			if test.err == nil {
				cancelAll(s)
			}
			t.Log(test.name)
			want(t, test.err, test.rv)
		}
	})
	h.must(s.Logout())
	want(t, s.SignInit(pkcs, rsa), cryptoki.CKR_KEY_HANDLE_INVALID)
}

// TestHandshake: two C_ calls, one call to the daemon.
func TestHandshake(t *testing.T) {
	h := start(t)
	s := h.user()
	_, key := h.p256(s)
	h.must(s.SignInit(ecdsa, key))
	cancelAll(s)
	h.wantRPCs(1, func() {
		h.must(s.SignInit(ecdsa, key))
		_, _, err := s.Sign(make([]byte, 32), 64)
		h.must(err)
	})
}

// TestSignVerify signs with each mechanism, one-shot and in parts, and verifies here.
func TestSignVerify(t *testing.T) {
	h := start(t)
	s := h.user()
	rsaPub, rsa := h.rsa(s, token)
	ecPub, ec := h.p256(s)
	pss := cryptoki.PSSParams{Hash: cryptoki.CKM_SHA256, MGF: cryptoki.CKG_MGF1_SHA256, SaltLength: 32}
	digest := stdsha256.Sum256([]byte("a message of some length"))
	for _, test := range []struct {
		m         cryptoki.Mechanism
		pub, priv uint64
		data      []byte
	}{
		{pkcs, rsaPub, rsa, []byte("a message of some length")},
		{sha256p, rsaPub, rsa, []byte("a message of some length")},
		{cryptoki.Mechanism{Type: cryptoki.CKM_SHA512_RSA_PKCS}, rsaPub, rsa, []byte("a message of some length")},
		{cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_PSS, Params: pss}, rsaPub, rsa, digest[:]},
		{cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_RSA_PKCS_PSS, Params: pss}, rsaPub, rsa, []byte("a message of some length")},
		{ecdsa, ecPub, ec, digest[:]},
		{cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA_SHA384}, ecPub, ec, []byte("a message of some length")},
	} {
		t.Run(test.m.Type.String(), func(t *testing.T) {
			h.must(s.SignInit(test.m, test.priv))
			one, _, err := s.Sign(test.data, 256)
			h.must(err)
			h.must(s.SignInit(test.m, test.priv))
			for _, b := range test.data {
				h.must(s.SignUpdate([]byte{b}))
			}
			two, _, err := s.SignFinal(256)
			h.must(err)
			h.wantRPCs(0, func() {
				for _, signature := range [][]byte{one, two} {
					h.must(s.VerifyInit(test.m, test.pub))
					h.must(s.Verify(test.data, signature))
					h.must(s.VerifyInit(test.m, test.pub))
					for _, b := range test.data {
						h.must(s.VerifyUpdate([]byte{b}))
					}
					h.must(s.VerifyFinal(signature))
					h.must(s.VerifyInit(test.m, test.pub))
					other := bytes.Clone(test.data)
					other[3] ^= 1
					want(t, s.Verify(other, signature), cryptoki.CKR_SIGNATURE_INVALID)
				}
			})
		})
	}
}

// TestMACs: with a key of the daemon, with a sealed session key, and with one that the application brought.
func TestMACs(t *testing.T) {
	h := start(t)
	s := h.user()
	m := cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_HMAC}
	generic := cryptoki.Mechanism{Type: cryptoki.CKM_GENERIC_SECRET_KEY_GEN}
	length := cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, uint64(32))
	stored, err := s.GenerateKey(generic, cryptoki.Attributes{length, token})
	h.must(err)
	sealed, err := s.GenerateKey(generic, cryptoki.Attributes{length, cryptoki.Bool(cryptoki.CKA_SENSITIVE, true)})
	h.must(err)
	readable, err := s.GenerateKey(generic, cryptoki.Attributes{
		length, cryptoki.Bool(cryptoki.CKA_SENSITIVE, false), cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, true),
	})
	h.must(err)
	brought, err := s.CreateObject(secretKey(cryptoki.CKK_GENERIC_SECRET, []byte("0123456789abcdef")))
	h.must(err)
	for name, test := range map[string]struct {
		key  uint64
		rpcs int
	}{"stored": {stored, 1}, "sealed": {sealed, 1}, "readable": {readable, 0}, "brought": {brought, 0}} {
		t.Run(name, func(t *testing.T) {
			var mac []byte
			h.wantRPCs(test.rpcs, func() {
				h.must(s.SignInit(m, test.key))
				out, _, err := s.Sign([]byte("data"), 32)
				h.must(err)
				mac = out
			})
			h.wantRPCs(test.rpcs, func() {
				h.must(s.VerifyInit(m, test.key))
				h.must(s.VerifyUpdate([]byte("da")))
				h.must(s.VerifyUpdate([]byte("ta")))
				h.must(s.VerifyFinal(mac))
			})
			h.must(s.VerifyInit(m, test.key))
			want(t, s.Verify([]byte("date"), mac), cryptoki.CKR_SIGNATURE_INVALID)
			if test.key == brought {
				independent := hmac.New(stdsha256.New, []byte("0123456789abcdef"))
				independent.Write([]byte("data"))
				if !bytes.Equal(mac, independent.Sum(nil)) {
					t.Errorf("MAC %x", mac)
				}
			}
		})
	}
}

func secretKey(kind cryptoki.KeyType, value []byte, more ...cryptoki.Attribute) cryptoki.Attributes {
	return append(cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, kind),
		cryptoki.Bytes(cryptoki.CKA_VALUE, value),
	}, more...)
}

// TestMultiPart: parts of any length give what one call gives, whether the key is here or with the daemon.
func TestMultiPart(t *testing.T) {
	h := start(t)
	s := h.user()
	value := []byte("0123456789abcdef0123456789abcdef")
	local, err := s.CreateObject(secretKey(cryptoki.CKK_AES, value))
	h.must(err)
	stored, err := s.CreateObject(secretKey(cryptoki.CKK_AES, value, token))
	h.must(err)
	rng := rand.New(rand.NewPCG(1, 2))
	for _, m := range []cryptoki.Mechanism{ecb, cbc, cbcPad, ctr, gcm} {
		t.Run(m.Type.String(), func(t *testing.T) {
			for round := range 12 {
				key, other := local, stored
				if round%2 == 1 {
					key, other = stored, local
				}
				plain := make([]byte, rng.IntN(200))
				if m.Type == cryptoki.CKM_AES_ECB || m.Type == cryptoki.CKM_AES_CBC {
					plain = plain[:len(plain)/16*16]
				}
				for i := range plain {
					plain[i] = byte(rng.Uint32())
				}
				h.must(s.EncryptInit(m, other))
				whole, _, err := s.Encrypt(plain, 1000)
				h.must(err)
				h.must(s.EncryptInit(m, key))
				if parts := inParts(h, rng, plain, s.EncryptUpdate, s.EncryptFinal); !bytes.Equal(parts, whole) {
					t.Fatalf("%d bytes in parts: %x, want %x", len(plain), parts, whole)
				}
				h.must(s.DecryptInit(m, key))
				if back := inParts(h, rng, whole, s.DecryptUpdate, s.DecryptFinal); !bytes.Equal(back, plain) {
					t.Fatalf("decrypted in parts: %x, want %x", back, plain)
				}
				h.must(s.DecryptInit(m, other))
				back, _, err := s.Decrypt(whole, 1000)
				if err != nil || !bytes.Equal(back, plain) {
					t.Fatalf("decrypted: %x, %v, want %x", back, err, plain)
				}
			}
		})
	}
}

func inParts(h *host, rng *rand.Rand, data []byte, update func([]byte, int) ([]byte, int, error), final func(int) ([]byte, int, error)) []byte {
	h.t.Helper()
	var all []byte
	for len(data) > 0 {
		n := min(len(data), rng.IntN(40))
		_, size, err := update(data[:n], session.Query)
		h.must(err)
		out, got, err := update(data[:n], size)
		h.must(err)
		if got != size || len(out) != size {
			h.t.Fatalf("a query said %d, %d came", size, len(out))
		}
		all = append(all, out...)
		data = data[n:]
	}
	out, _, err := final(1000)
	h.must(err)
	return append(all, out...)
}

// TestCounterUsedUp: two blocks of counter are two blocks of data.
func TestCounterUsedUp(t *testing.T) {
	h := start(t)
	s := h.user()
	key := h.aes(s)
	m := cryptoki.Mechanism{Type: cryptoki.CKM_AES_CTR, Params: cryptoki.CTRParams{CounterBits: 8, CounterBlock: [16]byte{15: 254}}}
	h.must(s.EncryptInit(m, key))
	_, _, err := s.EncryptUpdate(make([]byte, 31), 100)
	h.must(err)
	_, _, err = s.EncryptUpdate(make([]byte, 1), 100)
	h.must(err)
	_, _, err = s.EncryptUpdate(make([]byte, 1), 100)
	want(t, err, cryptoki.CKR_DATA_LEN_RANGE)
}

func TestRSADecryption(t *testing.T) {
	h := start(t)
	s := h.user()
	public, private := h.rsa(s, token)
	oaep := cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_OAEP, Params: cryptoki.OAEPParams{Hash: cryptoki.CKM_SHA256, MGF: cryptoki.CKG_MGF1_SHA256, Label: []byte("lbl")}}
	for _, m := range []cryptoki.Mechanism{pkcs, oaep} {
		h.must(s.EncryptInit(m, public))
		ciphertext, _, err := s.Encrypt([]byte("secret"), 256)
		h.must(err)
		h.wantRPCs(1, func() {
			h.must(s.DecryptInit(m, private))
			plain, _, err := s.Decrypt(ciphertext, 6)
			if err != nil || string(plain) != "secret" {
				t.Errorf("decrypted %q, %v", plain, err)
			}
		})
		h.must(s.DecryptInit(m, private))
		_, _, err = s.Decrypt(make([]byte, 300), 300)
		want(t, err, cryptoki.CKR_ENCRYPTED_DATA_LEN_RANGE)
	}
}

func TestAlwaysAuthenticate(t *testing.T) {
	h := start(t)
	s := h.user()
	_, key := h.p256(s, cryptoki.Bool(cryptoki.CKA_ALWAYS_AUTHENTICATE, true))
	data := make([]byte, 32)
	h.must(s.SignInit(ecdsa, key))
	_, n, err := s.Sign(data, session.Query)
	if err != nil || n != 64 {
		t.Errorf("query: %d, %v", n, err)
	}
	_, _, err = s.Sign(data, 64)
	want(t, err, cryptoki.CKR_USER_NOT_LOGGED_IN)
	if state := s.Info().State; state != cryptoki.CKS_RW_USER_FUNCTIONS {
		t.Errorf("a missing context login ended the user's (state %d)", state)
	}
	for range 2 {
		h.must(s.SignInit(ecdsa, key))
		want(t, s.Login(cryptoki.CKU_CONTEXT_SPECIFIC, []byte("wrong")), cryptoki.CKR_PIN_INCORRECT)
		h.must(s.Login(cryptoki.CKU_CONTEXT_SPECIFIC, []byte(userPIN)))
		want(t, s.Login(cryptoki.CKU_CONTEXT_SPECIFIC, []byte(userPIN)), cryptoki.CKR_OPERATION_NOT_INITIALIZED)
		_, _, err = s.Sign(data, 64)
		h.must(err)
	}
	h.must(s.SignInit(ecdsa, key))
	_, _, err = s.Sign(data, 64)
	want(t, err, cryptoki.CKR_USER_NOT_LOGGED_IN)
}

func TestRandom(t *testing.T) {
	h := start(t)
	s := h.open(slotA, ro)
	h.must(s.SeedRandom([]byte("seed")))
	for _, n := range []int{0, 1, 32, 200_000} {
		data, err := s.GenerateRandom(n)
		if err != nil || len(data) != n {
			t.Errorf("%d random bytes, %v; want %d", len(data), err, n)
		}
	}
}

func TestDigests(t *testing.T) {
	h := start(t)
	s := h.user()
	stored, err := s.CreateObject(secretKey(cryptoki.CKK_GENERIC_SECRET, []byte("0123456789abcdef"), token,
		cryptoki.Bool(cryptoki.CKA_SENSITIVE, false), cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, true)))
	h.must(err)
	h.must(s.DigestInit(sha256))
	h.must(s.DigestKey(stored))
	got, _, err := s.DigestFinal(32)
	if expected := stdsha256.Sum256([]byte("0123456789abcdef")); err != nil || !bytes.Equal(got, expected[:]) {
		t.Errorf("digest %x, %v", got, err)
	}
	h.must(s.DigestInit(sha256))
	want(t, s.DigestKey(h.aes(s)), cryptoki.CKR_KEY_INDIGESTIBLE)
}

// TestAlwaysAuthenticateDecrypts: a result that did not fit needs no second login.
func TestAlwaysAuthenticateDecrypts(t *testing.T) {
	h := start(t)
	s := h.user()
	public, private, err := s.GenerateKeyPair(cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN},
		cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_MODULUS_BITS, uint64(2048))},
		cryptoki.Attributes{token, cryptoki.Bool(cryptoki.CKA_ALWAYS_AUTHENTICATE, true)})
	h.must(err)
	h.must(s.EncryptInit(pkcs, public))
	ciphertext, _, err := s.Encrypt([]byte("secret"), 256)
	h.must(err)
	h.must(s.DecryptInit(pkcs, private))
	_, _, err = s.Decrypt(ciphertext, 256)
	want(t, err, cryptoki.CKR_USER_NOT_LOGGED_IN)
	h.must(s.DecryptInit(pkcs, private))
	h.must(s.Login(cryptoki.CKU_CONTEXT_SPECIFIC, []byte(userPIN)))
	h.wantRPCs(1, func() {
		_, _, err = s.Decrypt(ciphertext, 3)
		want(t, err, cryptoki.CKR_BUFFER_TOO_SMALL)
		plain, _, err := s.Decrypt(ciphertext, 6)
		if err != nil || string(plain) != "secret" {
			t.Errorf("decrypted %q, %v", plain, err)
		}
	})
}
