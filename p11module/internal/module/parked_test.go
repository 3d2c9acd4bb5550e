package module_test

import (
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// TestParkedLogin opens, logs in, looks and closes, as p11tool does for each object: only the first round asks for the
// login, and nothing but the right PIN is let in.
func TestParkedLogin(t *testing.T) {
	d := newDaemon(t)
	h := newHost(t, d, "")
	setup := h.user()
	h.p256(setup)
	h.must(h.CloseSession(setup.Handle()))

	round := func(pin string) error {
		s := h.open(slotA, ro)
		defer func() { h.must(h.CloseSession(s.Handle())) }()
		if err := s.Login(cryptoki.CKU_USER, []byte(pin)); err != nil {
			return err
		}
		if n := len(find(t, s, class(cryptoki.CKO_PRIVATE_KEY))); n != 1 {
			t.Errorf("%d private keys", n)
		}
		return nil
	}
	h.must(round(userPIN))
	logins := d.count("Login")
	h.wantRPCs(0, func() { h.must(round(userPIN)) })

	if err := round("wrong"); fault.RV(err) != cryptoki.CKR_PIN_INCORRECT {
		t.Errorf("a wrong PIN after a parked login: %v", err)
	}
	if d.count("Login") != logins+1 {
		t.Error("the daemon did not hear of the wrong PIN")
	}
	h.must(round(userPIN))
	if d.count("Login") != logins+2 {
		t.Error("a login was resumed after a wrong PIN")
	}

	// C_Logout ends a login for good.
	s := h.open(slotA, ro)
	h.must(s.Login(cryptoki.CKU_USER, []byte(userPIN)))
	h.must(s.Logout())
	h.must(h.CloseSession(s.Handle()))
	before := d.count("Login")
	h.must(round(userPIN))
	if d.count("Login") != before+1 {
		t.Error("a login was resumed after C_Logout")
	}

	// So does another PIN.
	h.must(round(userPIN))
	s = h.open(slotA, rw)
	h.must(s.SetPIN([]byte(userPIN), []byte("another")))
	h.must(h.CloseSession(s.Handle()))
	if err := round(userPIN); fault.RV(err) != cryptoki.CKR_PIN_INCORRECT {
		t.Errorf("the old PIN after C_SetPIN: %v", err)
	}
}

// TestParkedPublic sees to it that a session without a login sees no private object of a parked one.
func TestParkedPublic(t *testing.T) {
	d := newDaemon(t)
	h := newHost(t, d, "")
	s := h.user()
	_, private := h.p256(s, token)
	h.must(h.CloseSession(s.Handle()))
	public := h.open(slotA, ro)
	if found := find(t, public, class(cryptoki.CKO_PRIVATE_KEY)); len(found) != 0 {
		t.Errorf("private keys %v are seen without a login", found)
	}
	if err := public.SignInit(ecdsa, private); err == nil {
		t.Error("a private key can be used without a login")
	}
}
