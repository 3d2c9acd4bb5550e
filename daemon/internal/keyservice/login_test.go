package keyservice_test

import (
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

func (f *fixture) flags(call keyservice.Call) cryptoki.Flags {
	f.t.Helper()
	slots, err := f.ListSlots(f.ctx, call, "test")
	ok(f.t, err)
	for _, s := range slots.Slots {
		if s.Token.UID == call.Token {
			return s.Token.Flags
		}
	}
	f.t.Fatal("the token is not listed")
	return 0
}

func TestLoginCountsTries(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "")
	app := f.application("web", token, everything...)
	call := f.public(app, token)
	const all = cryptoki.CKF_USER_PIN_COUNT_LOW | cryptoki.CKF_USER_PIN_FINAL_TRY | cryptoki.CKF_USER_PIN_LOCKED
	for _, c := range []struct {
		pin   string
		want  cryptoki.RV
		flags cryptoki.Flags
	}{
		{userPIN, cryptoki.CKR_OK, 0},
		{"wrong", cryptoki.CKR_PIN_INCORRECT, cryptoki.CKF_USER_PIN_COUNT_LOW},
		{userPIN, cryptoki.CKR_OK, 0},
		{"wrong", cryptoki.CKR_PIN_INCORRECT, cryptoki.CKF_USER_PIN_COUNT_LOW},
		{"", cryptoki.CKR_PIN_INCORRECT, cryptoki.CKF_USER_PIN_COUNT_LOW | cryptoki.CKF_USER_PIN_FINAL_TRY},
		{"wrong", cryptoki.CKR_PIN_INCORRECT, cryptoki.CKF_USER_PIN_LOCKED},
		{userPIN, cryptoki.CKR_PIN_LOCKED, cryptoki.CKF_USER_PIN_LOCKED},
	} {
		_, _, err := f.Login(f.ctx, call, cryptoki.CKU_USER, []byte(c.pin))
		refused(t, err, c.want)
		if got := f.flags(call) & all; got != c.flags {
			t.Fatalf("after %q the flags are %#x, want %#x", c.pin, got, c.flags)
		}
		if e := f.lastEvent("login"); c.want == cryptoki.CKR_OK && e.Outcome != "OK" || c.want != cryptoki.CKR_OK && e.Outcome != c.want.String() {
			t.Errorf("audit: %+v", e)
		}
	}
	// The SO is not locked by it and opens the lock.
	so := f.loggedIn(app, token, cryptoki.CKU_SO, soPIN)
	_, _, err := f.InitPIN(f.ctx, so, []byte("another-pin"))
	ok(t, err)
	_, _, err = f.Login(f.ctx, call, cryptoki.CKU_USER, []byte("another-pin"))
	ok(t, err)
	// So does an administrator.
	for range 3 {
		_, _, _ = f.Login(f.ctx, call, cryptoki.CKU_SO, []byte("wrong"))
	}
	if f.flags(call)&cryptoki.CKF_SO_PIN_LOCKED == 0 {
		t.Error("the SO PIN is not locked")
	}
	_, err = f.UnlockToken(f.ctx, keyservice.Call{Caller: f.admin, Token: "t"}, []byte(userPIN))
	ok(t, err)
	f.loggedIn(app, token, cryptoki.CKU_SO, soPIN)
	f.user(app, token)
}

func TestLoginRefuses(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "")
	user := f.application("user", token, policy.Use)
	_, _, err := f.Login(f.ctx, f.public(user, token), cryptoki.CKU_SO, []byte(soPIN))
	refused(t, err, cryptoki.CKR_ACTION_PROHIBITED)
	_, _, err = f.Login(f.ctx, f.public(user, token), cryptoki.UserType(7), []byte(soPIN))
	refused(t, err, cryptoki.CKR_USER_TYPE_INVALID)
	_, _, err = f.Login(f.ctx, f.public(user, "no such token"), cryptoki.CKU_USER, []byte(userPIN))
	refused(t, err, cryptoki.CKR_TOKEN_NOT_PRESENT)
	_, _, err = f.Login(f.ctx, f.public(f.admin, "no such token"), cryptoki.CKU_USER, []byte(userPIN))
	refused(t, err, cryptoki.CKR_TOKEN_NOT_PRESENT)
	bare, err := f.CreateToken(f.ctx, keyservice.Call{Caller: f.admin}, keyservice.NewToken{Label: "bare"})
	ok(t, err)
	_, _, err = f.Login(f.ctx, f.public(f.admin, bare.Token.UID), cryptoki.CKU_USER, []byte(userPIN))
	refused(t, err, cryptoki.CKR_USER_PIN_NOT_INITIALIZED)
	_, _, err = f.InitPIN(f.ctx, f.user(f.application("so", token, everything...), token), []byte("new-pin"))
	refused(t, err, cryptoki.CKR_USER_NOT_LOGGED_IN)
}

func TestSetPIN(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "")
	app := f.application("web", token, everything...)
	call := f.user(app, token)
	old := call
	_, private := f.pair(call)

	_, _, err := f.SetPIN(f.ctx, again(call), []byte("wrong"), []byte("new-pin"))
	refused(t, err, cryptoki.CKR_PIN_INCORRECT)
	_, _, err = f.SetPIN(f.ctx, again(call), []byte(userPIN), []byte("123"))
	refused(t, err, cryptoki.CKR_PIN_LEN_RANGE)
	call = again(call)
	_, reply, err := f.SetPIN(f.ctx, call, []byte(userPIN), []byte("new-pin"))
	ok(t, err)
	// The old ticket is void, the new one is good, also the one that a retry brings.
	_, _, err = f.Sign(f.ctx, old, ref(private), ecdsaRaw, digest, false)
	refused(t, err, cryptoki.CKR_USER_NOT_LOGGED_IN)
	_, repeated, err := f.SetPIN(f.ctx, call, []byte(userPIN), []byte("new-pin"))
	ok(t, err)
	for _, ticket := range [][]byte{reply.Ticket, repeated.Ticket} {
		call.Ticket = ticket
		_, _, err = f.Sign(f.ctx, call, ref(private), ecdsaRaw, digest, false)
		ok(t, err)
	}
	if f.flags(call)&cryptoki.CKF_USER_PIN_COUNT_LOW != 0 {
		t.Error("the retry counted as a wrong PIN")
	}
	// In a public session it is the user's PIN, and no ticket comes back.
	_, reply, err = f.SetPIN(f.ctx, f.public(app, token), []byte("new-pin"), []byte(userPIN))
	ok(t, err)
	if len(reply.Ticket) != 0 {
		t.Error("a public session got a ticket")
	}
	// As SO it is the SO's.
	so := f.loggedIn(app, token, cryptoki.CKU_SO, soPIN)
	_, _, err = f.SetPIN(f.ctx, again(so), []byte(soPIN), []byte("new-so-pin"))
	ok(t, err)
	f.loggedIn(app, token, cryptoki.CKU_SO, "new-so-pin")
	f.user(app, token)
	only := f.application("only", token, policy.Use)
	_, _, err = f.SetPIN(f.ctx, f.public(only, token), []byte(userPIN), []byte("new-pin"))
	refused(t, err, cryptoki.CKR_TOKEN_WRITE_PROTECTED)
}

func TestRenewTicket(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "")
	app := f.application("web", token, everything...)
	call := f.user(app, token)
	login, _, err := f.RenewTicket(f.ctx, call)
	ok(t, err)
	call.Ticket = login.Ticket
	_, private := f.pair(call)
	f.open()
	_, _, err = f.Sign(f.ctx, call, ref(private), ecdsaRaw, digest, false)
	ok(t, err)
	_, _, err = f.RenewTicket(f.ctx, f.public(app, token))
	refused(t, err, cryptoki.CKR_USER_NOT_LOGGED_IN)
	f.application("web", token, policy.SO)
	_, _, err = f.RenewTicket(f.ctx, call)
	refused(t, err, cryptoki.CKR_ACTION_PROHIBITED)
}

func TestNoLoginToken(t *testing.T) {
	f := newFixture(t)
	made, err := f.CreateToken(f.ctx, keyservice.Call{Caller: f.admin}, keyservice.NewToken{Label: "open", NoLogin: true})
	ok(t, err)
	token := made.Token.UID
	call := f.public(f.application("web", token, everything...), token)
	if f.flags(call)&cryptoki.CKF_LOGIN_REQUIRED != 0 || made.LoginRequired {
		t.Error("the token wants a login")
	}
	_, private := f.pair(call)
	_, _, err = f.Sign(f.ctx, call, ref(private), ecdsaRaw, digest, false)
	ok(t, err)
	listing, _, err := f.ListObjects(f.ctx, call, 0, "")
	ok(t, err)
	if len(listing.Objects) != 2 {
		t.Errorf("%d objects are visible", len(listing.Objects))
	}
}
