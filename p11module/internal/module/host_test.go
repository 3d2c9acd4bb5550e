package module_test

import (
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/p11module/internal/module"
	"github.com/anyhsm/anyhsm/p11module/internal/session"
)

const (
	ro = cryptoki.CKF_SERIAL_SESSION
	rw = cryptoki.CKF_SERIAL_SESSION | cryptoki.CKF_RW_SESSION
)

// host is an application with the module loaded.
type host struct {
	*module.Module
	t *testing.T
	d *daemon
}

func newHost(t *testing.T, d *daemon, settings string) *host {
	t.Helper()
	m, err := module.Open("anyhsm: endpoints=unix://" + d.path + settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return &host{m, t, d}
}

// start is a daemon with one application.
func start(t *testing.T) *host {
	t.Helper()
	return newHost(t, newDaemon(t), "")
}

func (h *host) open(slot uint64, flags cryptoki.Flags) *session.Session {
	h.t.Helper()
	handle, err := h.OpenSession(slot, flags)
	if err != nil {
		h.t.Fatal(err)
	}
	s, err := h.Session(handle)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// user is a session with the user logged in.
func (h *host) user() *session.Session {
	h.t.Helper()
	s := h.open(slotA, rw)
	h.must(s.Login(cryptoki.CKU_USER, []byte(userPIN)))
	return s
}

func (h *host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// want checks a return code.
func want(t *testing.T, err error, rv cryptoki.RV) {
	t.Helper()
	if fault.RV(err) != rv {
		t.Errorf("got %v (%v), want %v", fault.RV(err), err, rv)
	}
}

// rpcs returns how many calls the daemon gets while do runs.
func (h *host) rpcs(do func()) int {
	h.t.Helper()
	before := h.d.count("")
	do()
	return h.d.count("") - before
}

func (h *host) wantRPCs(n int, do func()) {
	h.t.Helper()
	if got := h.rpcs(do); got != n {
		h.t.Errorf("%d calls to the daemon, want %d", got, n)
	}
}

var (
	token   = cryptoki.Bool(cryptoki.CKA_TOKEN, true)
	sha256p = cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_RSA_PKCS}
)

func label(text string) cryptoki.Attribute { return cryptoki.String(cryptoki.CKA_LABEL, text) }

// p256 generates a key pair.
func (h *host) p256(s *session.Session, private ...cryptoki.Attribute) (pub, priv uint64) {
	h.t.Helper()
	c, _ := curve.ByName("P-256")
	pub, priv, err := s.GenerateKeyPair(cryptoki.Mechanism{Type: cryptoki.CKM_EC_KEY_PAIR_GEN},
		cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, c.Params), token}, append(cryptoki.Attributes{token}, private...))
	h.must(err)
	return pub, priv
}

// rsa generates a key pair.
func (h *host) rsa(s *session.Session, attributes ...cryptoki.Attribute) (pub, priv uint64) {
	h.t.Helper()
	pub, priv, err := s.GenerateKeyPair(cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN},
		append(cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_MODULUS_BITS, uint64(2048))}, attributes...), attributes)
	h.must(err)
	return pub, priv
}

// aes generates a key that only the daemon can use.
func (h *host) aes(s *session.Session, attributes ...cryptoki.Attribute) uint64 {
	h.t.Helper()
	key, err := s.GenerateKey(cryptoki.Mechanism{Type: cryptoki.CKM_AES_KEY_GEN},
		append(cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, uint64(32))}, attributes...))
	h.must(err)
	return key
}

// find searches in one go.
func find(t *testing.T, s *session.Session, template ...cryptoki.Attribute) []uint64 {
	t.Helper()
	if err := s.FindInit(template); err != nil {
		t.Fatal(err)
	}
	found, err := s.Find(1000)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.FindFinal(); err != nil {
		t.Fatal(err)
	}
	return found
}
