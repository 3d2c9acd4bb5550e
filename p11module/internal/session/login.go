package session

import (
	"context"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// login is who is logged in to a token; all sessions of the process share it.
type login struct {
	in       bool
	user     cryptoki.UserType
	ticket   []byte
	lifetime time.Duration
	// seal recognises the PIN, for as long as a login can be parked; then it is wiped.
	seal *pinSeal
	// generation counts logins and logouts, so that an answer that arrives late is not taken for a newer login's.
	generation uint64
	stopTimer  func() bool
}

func (l *login) is(user cryptoki.UserType) bool { return l.in && l.user == user }

// Login is C_Login.
func (s *Session) Login(user cryptoki.UserType, pin []byte) error {
	switch user {
	case cryptoki.CKU_CONTEXT_SPECIFIC:
		return s.remember(s.contextLogin(pin))
	case cryptoki.CKU_SO, cryptoki.CKU_USER:
		return s.remember(s.token.logIn(user, pin))
	default:
		return cryptoki.CKR_USER_TYPE_INVALID
	}
}

// admit applies the rules of C_Login that need no PIN. The token's mutex is held.
func (t *Token) admit(user cryptoki.UserType) error {
	switch {
	case t.login.is(user):
		return cryptoki.CKR_USER_ALREADY_LOGGED_IN
	case t.login.in:
		return cryptoki.CKR_USER_ANOTHER_ALREADY_LOGGED_IN
	}
	if user == cryptoki.CKU_SO {
		for s := range t.sessions {
			if !s.writes {
				return cryptoki.CKR_SESSION_READ_ONLY_EXISTS
			}
		}
	}
	return nil
}

func (t *Token) logIn(user cryptoki.UserType, pin []byte) error {
	t.mu.Lock()
	err := t.admit(user)
	t.mu.Unlock()
	if err != nil {
		return err
	}
	if t.resume(user, pin) {
		return nil
	}
	answer, err := t.askLogin(user, pin)
	if err != nil {
		// The tries that are left show in the token's flags.
		t.ForgetPINs()
		t.changed()
		return err
	}
	t.mu.Lock()
	// Another thread may have logged in or out, or closed the last session, while the daemon checked the PIN.
	if err := t.admit(user); err != nil {
		t.mu.Unlock()
		return err
	}
	if len(t.sessions) == 0 {
		t.mu.Unlock()
		return cryptoki.CKR_SESSION_CLOSED
	}
	t.login = login{
		in: true, user: user, ticket: answer.GetTicket(), seal: sealPIN(pin), generation: t.login.generation + 1,
		lifetime: time.Duration(min(answer.GetLifetimeSeconds(), 1<<31)) * time.Second,
	}
	t.scheduleRenewal()
	t.wipeSeal(t.login.generation)
	t.mu.Unlock()
	t.cache.drop()
	return nil
}

func (t *Token) askLogin(user cryptoki.UserType, pin []byte) (*anyhsmv1.LoginResponse, error) {
	ctx, cancel := t.context()
	defer cancel()
	header, at := t.begin()
	answer, err := t.client.Tokens.Login(ctx, &anyhsmv1.LoginRequest{Header: header, UserType: uint64(user), Pin: pin})
	if err == nil {
		t.cache.notice(at, answer.GetHeader().GetRevision())
	}
	return answer, err
}

// contextLogin gets a ticket for the one use of the active operation's key (CKA_ALWAYS_AUTHENTICATE).
func (s *Session) contextLogin(pin []byte) error {
	waiting := func() *authentication {
		if op := s.sign.op; op != nil && op.auth.waits() {
			return &op.auth
		}
		if op := s.decrypt.op; op != nil && op.auth.waits() {
			return &op.auth
		}
		return nil
	}
	s.mu.Lock()
	auth := waiting()
	s.mu.Unlock()
	if auth == nil {
		return fault.New(fault.OperationNotInitialized,
			"no active operation needs a login of its own; call C_SignInit or C_DecryptInit with a CKA_ALWAYS_AUTHENTICATE key first")
	}
	answer, err := s.token.askLogin(cryptoki.CKU_CONTEXT_SPECIFIC, pin)
	if err != nil {
		s.token.changed()
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if waiting() != auth {
		return cryptoki.CKR_OPERATION_NOT_INITIALIZED
	}
	auth.ticket = answer.GetTicket()
	return nil
}

// Logout is C_Logout.
func (s *Session) Logout() error {
	t := s.token
	t.mu.Lock()
	in := t.login.in
	t.mu.Unlock()
	if !in {
		return cryptoki.CKR_USER_NOT_LOGGED_IN
	}
	t.forgetLogin()
	return nil
}

// forgetLogin ends the login: private session objects are destroyed, handles of private objects end, operations with
// private keys too. Where nobody was logged in all stays: p11tool opens and closes a session for each object, and the
// cache must outlive that.
func (t *Token) forgetLogin() {
	t.mu.Lock()
	if !t.login.in {
		t.mu.Unlock()
		return
	}
	if t.login.stopTimer != nil {
		t.login.stopTimer()
	}
	t.login = login{generation: t.login.generation + 1}
	sessions := make([]*Session, 0, len(t.sessions))
	if t.loginRequired() {
		t.held.removeIf((*Object).private)
		for s := range t.sessions {
			sessions = append(sessions, s)
		}
	}
	t.mu.Unlock()
	t.cache.drop()
	for _, s := range sessions {
		s.endPrivate()
	}
}

// doubt asks whether the login still counts when the daemon did not do something for want of one. Its ticket may be too
// old, or the PIN another: whoever then logs in again must not hear that the user already is.
func (t *Token) doubt(at moment) {
	ctx, cancel := t.context()
	defer cancel()
	header, now := t.begin()
	if now.login != at.login {
		return
	}
	answer, err := t.client.Tokens.RenewTicket(ctx, &anyhsmv1.RenewTicketRequest{Header: header})
	if err == nil {
		t.refreshTicket(now, answer.GetTicket())
		return
	}
	t.mu.Lock()
	current := t.login.generation == at.login
	t.mu.Unlock()
	if current && fault.Is(err, fault.UserNotLoggedIn) {
		t.client.Log().Warn("the daemon ended the login: its ticket is too old or the PIN was changed", "slot", t.slot)
		t.forgetLogin()
	}
}

// refreshTicket takes a fresh ticket that came with an answer.
func (t *Token) refreshTicket(at moment, ticket []byte) {
	if len(ticket) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.login.in && t.login.generation == at.login {
		t.login.ticket = ticket
		t.scheduleRenewal()
	}
}

// scheduleRenewal renews the ticket when half its life is over, so that an idle application stays logged in. The
// token's mutex is held.
func (t *Token) scheduleRenewal() {
	if t.login.stopTimer != nil {
		t.login.stopTimer()
		t.login.stopTimer = nil
	}
	if t.login.lifetime > 0 {
		t.renewIn(t.login.lifetime / 2)
	}
}

func (t *Token) renewIn(wait time.Duration) {
	generation := t.login.generation
	// A daemon that is away at half life is asked again while the ticket lasts, ever more often but never in a rush.
	t.login.stopTimer = t.client.After(max(wait, time.Second/2), func(ctx context.Context) { t.renew(ctx, generation, wait) })
}

func (t *Token) renew(ctx context.Context, generation uint64, waited time.Duration) {
	header, at := t.begin()
	if at.login != generation {
		return
	}
	answer, err := t.client.Tokens.RenewTicket(ctx, &anyhsmv1.RenewTicketRequest{Header: header})
	switch {
	case err == nil:
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.login.in && t.login.generation == generation {
			t.login.ticket = answer.GetTicket()
			t.login.lifetime = time.Duration(min(answer.GetLifetimeSeconds(), 1<<31)) * time.Second
			t.scheduleRenewal()
		}
	case fault.From(err).Kind.Row().Retry && waited >= 2*time.Second:
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.login.in && t.login.generation == generation {
			t.renewIn(waited / 2)
		}
	default:
		// The next call with the ticket tells the application.
		t.client.Log().Warn("the login's ticket was not renewed", "slot", t.slot, "reason", err.Error())
	}
}

// authentication is the login that one use of a CKA_ALWAYS_AUTHENTICATE key needs.
type authentication struct {
	needed bool
	ticket []byte
}

func (a *authentication) waits() bool { return a.needed && a.ticket == nil }
