package module_test

import (
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/p11module/internal/session"
)

// look is what a program that starts asks of slots and tokens.
func look(h *host) {
	h.t.Helper()
	slots, err := h.SlotList(true)
	h.must(err)
	for _, slot := range slots {
		_, err := h.SlotInfo(slot)
		h.must(err)
		_, err = h.TokenInfo(slot)
		h.must(err)
		mechanisms, err := h.MechanismList(slot)
		h.must(err)
		for _, m := range mechanisms {
			_, err := h.MechanismInfo(slot, m)
			h.must(err)
		}
	}
}

func readAll(h *host, s *session.Session, objects []uint64) {
	h.t.Helper()
	for _, object := range objects {
		for _, t := range []cryptoki.AttributeType{cryptoki.CKA_CLASS, cryptoki.CKA_LABEL, cryptoki.CKA_ID, cryptoki.CKA_MODULUS, cryptoki.CKA_EC_POINT, cryptoki.CKA_VALUE, cryptoki.CKA_ALWAYS_AUTHENTICATE} {
			_, err := s.Attributes(object, []cryptoki.AttributeType{t, cryptoki.CKA_TOKEN})
			h.must(err)
		}
	}
}

// TestBudget counts the calls of DESIGN 3.6's rows, as the applications make them.
func TestBudget(t *testing.T) {
	d := newDaemon(t)
	setup := newHost(t, d, "")
	s := setup.user()
	setup.p256(s)
	setup.rsa(s, token)
	for _, slot := range []uint64{slotA, slotOpen} {
		s := setup.open(slot, rw)
		for range 3 {
			_, err := s.CreateObject(data("x", token))
			setup.must(err)
		}
	}
	for name, test := range map[string]struct {
		most int
		run  func(h *host)
	}{
		"C_Initialize": {0, func(*host) {}},
		"pkcs11-tool -O": {4, func(h *host) {
			look(h)
			s := h.open(slotA, ro)
			h.must(s.Login(cryptoki.CKU_USER, []byte(userPIN)))
			readAll(h, s, find(t, s))
		}},
		"pkcs11-tool --keypairgen": {6, func(h *host) {
			look(h)
			s := h.open(slotA, rw)
			h.must(s.Login(cryptoki.CKU_USER, []byte(userPIN)))
			pub, priv := h.p256(s)
			readAll(h, s, []uint64{pub, priv})
		}},
		"Java": {8, func(h *host) {
			look(h)
			s := h.open(slotA, rw)
			h.must(s.Login(cryptoki.CKU_USER, []byte(userPIN)))
			for _, c := range []cryptoki.ObjectClass{cryptoki.CKO_CERTIFICATE, cryptoki.CKO_PRIVATE_KEY, cryptoki.CKO_SECRET_KEY} {
				readAll(h, s, find(t, s, token, class(c)))
			}
			for range 2 {
				session := h.open(slotA, ro)
				key := find(t, session, class(cryptoki.CKO_PRIVATE_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_EC))[0]
				h.must(session.SignInit(ecdsa, key))
				_, _, err := session.Sign(make([]byte, 32), 64)
				h.must(err)
				h.must(h.CloseSession(session.Handle()))
			}
		}},
		"p11tool --list-all": {6, func(h *host) {
			look(h)
			for _, slot := range []uint64{slotA, slotOpen} {
				s := h.open(slot, ro)
				objects := find(t, s)
				h.must(h.CloseSession(s.Handle()))
				for _, object := range objects {
					s := h.open(slot, ro)
					readAll(h, s, []uint64{object})
					h.must(h.CloseSession(s.Handle()))
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			before := d.count("")
			h := newHost(t, d, "")
			test.run(h)
			if n := d.count("") - before; n > test.most {
				t.Errorf("%d calls to the daemon, at most %d are allowed", n, test.most)
			} else {
				t.Logf("%d of %d calls", n, test.most)
			}
		})
	}
}
