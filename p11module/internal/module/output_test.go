package module_test

import (
	"bytes"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/p11module/internal/session"
)

var (
	iv     = []byte("0123456789abcdef")
	cbc    = cryptoki.Mechanism{Type: cryptoki.CKM_AES_CBC, Params: cryptoki.IVParams{IV: iv}}
	cbcPad = cryptoki.Mechanism{Type: cryptoki.CKM_AES_CBC_PAD, Params: cryptoki.IVParams{IV: iv}}
	ecb    = cryptoki.Mechanism{Type: cryptoki.CKM_AES_ECB}
	ctr    = cryptoki.Mechanism{Type: cryptoki.CKM_AES_CTR, Params: cryptoki.CTRParams{CounterBits: 32, CounterBlock: [16]byte{15: 250}}}
	gcm    = cryptoki.Mechanism{Type: cryptoki.CKM_AES_GCM, Params: cryptoki.GCMParams{IV: iv[:12], AAD: []byte("aad"), TagBits: 128}}
	pkcs   = cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}
	ecdsa  = cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}
	sha256 = cryptoki.Mechanism{Type: cryptoki.CKM_SHA256}
)

// output is a function with the two-call convention, ready to be called.
type output struct {
	name string
	// begin starts the operation; call is the function under test.
	begin func() error
	call  func(room int) ([]byte, int, error)
	// size is what a query answers, actual what comes out.
	size, actual int
	// rpcs is how many calls to the daemon the output costs.
	rpcs int
	// goesOn: the operation is still active after the output.
	goesOn bool
}

func outputs(h *host, s *session.Session) []output {
	_, rsa := h.rsa(s, token)
	_, ec := h.p256(s)
	aes := h.aes(s, token)
	public, _ := h.rsa(s)
	encrypt := func(m cryptoki.Mechanism, key uint64, data []byte) []byte {
		h.must(s.EncryptInit(m, key))
		out, _, err := s.Encrypt(data, 1000)
		h.must(err)
		return bytes.Clone(out)
	}
	rsaPublic := find(h.t, s, cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PUBLIC_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_RSA), token)[0]
	short := encrypt(pkcs, rsaPublic, []byte("five!"))
	padded := encrypt(cbcPad, aes, []byte("five!"))
	tagged := encrypt(gcm, aes, []byte("five!"))
	all := func(steps ...error) error {
		for _, err := range steps {
			if err != nil {
				return err
			}
		}
		return nil
	}
	update := func(_ []byte, _ int, err error) error { return err }
	return []output{
		{
			name: "Sign RSA", begin: func() error { return s.SignInit(pkcs, rsa) }, size: 256, actual: 256, rpcs: 1,
			call: func(room int) ([]byte, int, error) { return s.Sign([]byte("data"), room) },
		},
		{
			name: "Sign ECDSA", begin: func() error { return s.SignInit(ecdsa, ec) }, size: 64, actual: 64, rpcs: 1,
			call: func(room int) ([]byte, int, error) { return s.Sign(make([]byte, 32), room) },
		},
		{
			name: "SignFinal", begin: func() error { return all(s.SignInit(sha256p, rsa), s.SignUpdate([]byte("da"))) }, size: 256, actual: 256, rpcs: 1,
			call: s.SignFinal,
		},
		{
			name: "Encrypt RSA", begin: func() error { return s.EncryptInit(pkcs, public) }, size: 256, actual: 256,
			call: func(room int) ([]byte, int, error) { return s.Encrypt([]byte("data"), room) },
		},
		{
			name: "Encrypt CBC_PAD", begin: func() error { return s.EncryptInit(cbcPad, aes) }, size: 32, actual: 32, rpcs: 1,
			call: func(room int) ([]byte, int, error) { return s.Encrypt(make([]byte, 16), room) },
		},
		{
			name: "EncryptUpdate CBC_PAD", begin: func() error { return s.EncryptInit(cbcPad, aes) }, size: 16, actual: 16, rpcs: 1, goesOn: true,
			call: func(room int) ([]byte, int, error) { return s.EncryptUpdate(make([]byte, 20), room) },
		},
		{
			name: "EncryptUpdate CTR", begin: func() error { return s.EncryptInit(ctr, aes) }, size: 5, actual: 5, rpcs: 1, goesOn: true,
			call: func(room int) ([]byte, int, error) { return s.EncryptUpdate(make([]byte, 5), room) },
		},
		{
			name: "EncryptFinal CBC_PAD", begin: func() error {
				return all(s.EncryptInit(cbcPad, aes), update(s.EncryptUpdate([]byte("five!"), 16)))
			}, size: 16, actual: 16, rpcs: 1, call: s.EncryptFinal,
		},
		{
			name: "EncryptFinal GCM", begin: func() error {
				return all(s.EncryptInit(gcm, aes), update(s.EncryptUpdate([]byte("five!"), 0)))
			}, size: 21, actual: 21, rpcs: 1, call: s.EncryptFinal,
		},
		{
			name: "Decrypt RSA", begin: func() error { return s.DecryptInit(pkcs, rsa) }, size: 245, actual: 5, rpcs: 1,
			call: func(room int) ([]byte, int, error) { return s.Decrypt(short, room) },
		},
		{
			name: "Decrypt CBC_PAD", begin: func() error { return s.DecryptInit(cbcPad, aes) }, size: 16, actual: 5, rpcs: 1,
			call: func(room int) ([]byte, int, error) { return s.Decrypt(padded, room) },
		},
		{
			name: "DecryptFinal CBC_PAD", begin: func() error {
				return all(s.DecryptInit(cbcPad, aes), update(s.DecryptUpdate(padded, 16)))
			}, size: 16, actual: 5, rpcs: 1, call: s.DecryptFinal,
		},
		{
			name: "Decrypt GCM", begin: func() error { return s.DecryptInit(gcm, aes) }, size: 5, actual: 5, rpcs: 1,
			call: func(room int) ([]byte, int, error) { return s.Decrypt(tagged, room) },
		},
		{
			name: "DecryptFinal GCM", begin: func() error {
				return all(s.DecryptInit(gcm, aes), update(s.DecryptUpdate(tagged, 0)))
			}, size: 5, actual: 5, rpcs: 1, call: s.DecryptFinal,
		},
		{
			name: "Digest", begin: func() error { return s.DigestInit(sha256) }, size: 32, actual: 32,
			call: func(room int) ([]byte, int, error) { return s.Digest([]byte("data"), room) },
		},
		{
			name: "DigestFinal", begin: func() error { return all(s.DigestInit(sha256), s.DigestUpdate([]byte("da"))) }, size: 32, actual: 32,
			call: s.DigestFinal,
		},
	}
}

// TestOutputRule: a query and a small buffer cost nothing and end nothing, a result is made once, and only once.
func TestOutputRule(t *testing.T) {
	h := start(t)
	s := h.user()
	for _, o := range outputs(h, s) {
		t.Run(o.name, func(t *testing.T) {
			t.Run("in one call", func(t *testing.T) {
				h.wantRPCs(o.rpcs, func() {
					h.must(o.begin())
					out, n, err := o.call(o.size)
					if err != nil || n != o.actual || len(out) != o.actual {
						t.Errorf("%d bytes, n %d, %v; want %d", len(out), n, err, o.actual)
					}
				})
			})
			cancelAll(s)
			t.Run("query, small, fits", func(t *testing.T) {
				h.must(o.begin())
				h.wantRPCs(0, func() {
					for range 2 {
						out, n, err := o.call(session.Query)
						if err != nil || n != o.size || out != nil {
							t.Errorf("a query: %x, n %d, %v", out, n, err)
						}
					}
				})
				h.wantRPCs(o.rpcs, func() {
					for range 3 {
						out, n, err := o.call(o.actual - 1)
						want(t, err, cryptoki.CKR_BUFFER_TOO_SMALL)
						if n != o.actual || out != nil {
							t.Errorf("too small: %x, n %d, want %d", out, n, o.actual)
						}
					}
					if _, n, err := o.call(session.Query); err != nil || n != o.actual {
						t.Errorf("a query behind it: n %d, %v", n, err)
					}
					out, n, err := o.call(o.actual)
					if err != nil || n != o.actual || len(out) != n {
						t.Errorf("it fits: %d bytes, n %d, %v", len(out), n, err)
					}
				})
				_, _, err := o.call(1000)
				if o.goesOn {
					want(t, err, cryptoki.CKR_OK)
				} else {
					want(t, err, cryptoki.CKR_OPERATION_NOT_INITIALIZED)
				}
			})
			cancelAll(s)
		})
	}
}

func cancelAll(s *session.Session) { _ = s.Cancel(^cryptoki.Flags(0)) }

func TestKeptResultIsForTheSameInput(t *testing.T) {
	h := start(t)
	s := h.user()
	key := h.aes(s)
	encrypt := func(text string) []byte {
		h.must(s.EncryptInit(cbcPad, key))
		out, _, err := s.Encrypt([]byte(text), 100)
		h.must(err)
		return bytes.Clone(out)
	}
	one, two := encrypt("one"), encrypt("other")
	h.must(s.DecryptInit(cbcPad, key))
	_, _, err := s.Decrypt(one, 1)
	want(t, err, cryptoki.CKR_BUFFER_TOO_SMALL)
	out, _, err := s.Decrypt(two, 100)
	if err != nil || string(out) != "other" {
		t.Errorf("decrypted %q, %v", out, err)
	}
}

func TestErrorsEndOperations(t *testing.T) {
	h := start(t)
	s := h.user()
	public, private := h.rsa(s, token)
	key := h.aes(s, token)
	ended := cryptoki.CKR_OPERATION_NOT_INITIALIZED

	h.must(s.SignInit(pkcs, private))
	_, _, err := s.Sign(make([]byte, 300), 256)
	want(t, err, cryptoki.CKR_DATA_LEN_RANGE)
	_, _, err = s.Sign(make([]byte, 3), 256)
	want(t, err, ended)

	h.must(s.SignInit(pkcs, private))
	want(t, s.SignInit(pkcs, private), cryptoki.CKR_OPERATION_ACTIVE)
	h.must(s.SignUpdate(make([]byte, 245)))
	want(t, s.SignUpdate(make([]byte, 1)), cryptoki.CKR_DATA_LEN_RANGE)
	_, _, err = s.SignFinal(256)
	want(t, err, ended)

	h.must(s.SignInit(sha256p, private))
	h.must(s.SignUpdate([]byte("x")))
	_, _, err = s.Sign([]byte("x"), 256)
	want(t, err, cryptoki.CKR_OPERATION_ACTIVE)

	h.must(s.VerifyInit(pkcs, public))
	want(t, s.Verify([]byte("x"), make([]byte, 256)), cryptoki.CKR_SIGNATURE_INVALID)
	want(t, s.Verify([]byte("x"), make([]byte, 256)), ended)
	h.must(s.VerifyInit(pkcs, public))
	want(t, s.Verify([]byte("x"), make([]byte, 255)), cryptoki.CKR_SIGNATURE_LEN_RANGE)

	h.must(s.DecryptInit(cbc, key))
	_, _, err = s.DecryptUpdate(make([]byte, 17), 100)
	h.must(err)
	_, _, err = s.DecryptFinal(100)
	want(t, err, cryptoki.CKR_ENCRYPTED_DATA_LEN_RANGE)
	_, _, err = s.DecryptFinal(100)
	want(t, err, ended)

	h.must(s.EncryptInit(cbc, key))
	_, _, err = s.EncryptUpdate(make([]byte, 17), 100)
	h.must(err)
	_, _, err = s.EncryptFinal(100)
	want(t, err, cryptoki.CKR_DATA_LEN_RANGE)

	h.must(s.DecryptInit(gcm, key))
	_, n, err := s.DecryptUpdate(make([]byte, 40), 100)
	if h.must(err); n != 0 {
		t.Errorf("%d bytes of plaintext before the tag was checked", n)
	}
	_, _, err = s.DecryptFinal(100)
	want(t, err, cryptoki.CKR_ENCRYPTED_DATA_INVALID)

	h.must(s.DigestInit(sha256))
	want(t, s.DigestInit(sha256), cryptoki.CKR_OPERATION_ACTIVE)
	h.must(s.DigestUpdate(nil))
	_, _, err = s.Digest(nil, 32)
	want(t, err, cryptoki.CKR_OPERATION_ACTIVE)
	want(t, s.DigestUpdate(nil), ended)

	h.must(s.SignInit(pkcs, private))
	h.must(s.Cancel(cryptoki.CKF_SIGN))
	h.must(s.Cancel(cryptoki.CKF_SIGN))
	_, _, err = s.Sign(nil, 256)
	want(t, err, ended)
}
