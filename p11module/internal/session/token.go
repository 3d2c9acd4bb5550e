package session

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/p11module/internal/daemonclient"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// Facts is what the daemon says of a token. It does not change once made.
type Facts struct {
	UID        string
	Flags      cryptoki.Flags
	Mechanisms map[cryptoki.MechanismType]Mechanism
}

// Mechanism is a row of a token's mechanism table.
type Mechanism struct {
	MinKeySize, MaxKeySize uint64
	Flags                  cryptoki.Flags
}

// Token is what all sessions of the process with one token share: who is logged in, the objects, the sessions
// themselves. Its mutex is never held during a call to the daemon.
type Token struct {
	client *daemonclient.Client
	slot   uint64
	facts  atomic.Pointer[Facts]
	// changed tells the module that the token's flags or label may be others now, learn makes it ask for them.
	changed, learn func()

	mu       sync.Mutex
	sessions map[*Session]struct{}
	login    login
	// parked is the login that the last session's end left for a moment.
	parked *parked
	// held are the session objects of all sessions.
	held       index
	nextHandle uint64

	cache  cache
	random randomPool
}

// NewToken makes the state of the token in a slot.
func NewToken(client *daemonclient.Client, slot uint64, facts *Facts, changed, learn func()) *Token {
	t := &Token{client: client, slot: slot, changed: changed, learn: learn, sessions: map[*Session]struct{}{}, held: newIndex()}
	t.facts.Store(facts)
	t.cache.index = newIndex()
	return t
}

// Update takes what the daemon now says of the token. Another uid means another token in the slot: logins and objects
// of the old one are worthless.
func (t *Token) Update(facts *Facts) {
	old := t.facts.Swap(facts)
	if old.UID != facts.UID {
		t.ForgetPINs()
		t.forgetLogin()
		t.cache.drop()
	}
}

// Open opens a session (C_OpenSession).
func (t *Token) Open(handle uint64, flags cryptoki.Flags) (*Session, error) {
	if flags&cryptoki.CKF_SERIAL_SESSION == 0 {
		return nil, cryptoki.CKR_SESSION_PARALLEL_NOT_SUPPORTED
	}
	if flags&cryptoki.CKF_ASYNC_SESSION != 0 {
		return nil, cryptoki.CKR_SESSION_ASYNC_NOT_SUPPORTED
	}
	facts := t.facts.Load()
	if facts.Flags&cryptoki.CKF_TOKEN_INITIALIZED == 0 {
		return nil, fault.New(fault.TokenNotRecognized,
			"the token in slot %d is not initialised; initialise it with C_InitToken or `anyhsm token create`", t.slot)
	}
	writes := flags&cryptoki.CKF_RW_SESSION != 0
	if writes && facts.Flags&cryptoki.CKF_WRITE_PROTECTED != 0 {
		return nil, cryptoki.CKR_TOKEN_WRITE_PROTECTED
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !writes && t.login.is(cryptoki.CKU_SO) {
		return nil, cryptoki.CKR_SESSION_READ_WRITE_SO_EXISTS
	}
	s := &Session{token: t, handle: handle, writes: writes}
	t.sessions[s] = struct{}{}
	return s, nil
}

// Close closes a session: its objects and operations go, and with the last session the login.
func (t *Token) Close(s *Session) error {
	t.mu.Lock()
	if _, open := t.sessions[s]; !open {
		t.mu.Unlock()
		return cryptoki.CKR_SESSION_HANDLE_INVALID
	}
	delete(t.sessions, s)
	t.held.removeIf(func(o *Object) bool { return o.owner == s })
	last := len(t.sessions) == 0
	if last {
		t.park()
	}
	t.mu.Unlock()
	s.end()
	if last {
		t.random.wipe()
		t.forgetLogin()
	}
	return nil
}

// Sessions counts the open sessions, all and those that may write.
func (t *Token) Sessions() (all, writing uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.sessions {
		all++
		if s.writes {
			writing++
		}
	}
	return all, writing
}

// mechanism finds a mechanism in the token's table: CKR_MECHANISM_INVALID if the token cannot use it so. A table that is
// empty is that of a token whose provider was not there yet when the daemon was asked.
func (t *Token) mechanism(kind cryptoki.MechanismType, use cryptoki.Flags) error {
	if len(t.facts.Load().Mechanisms) == 0 {
		if t.learn(); len(t.facts.Load().Mechanisms) == 0 {
			return fault.New(fault.DeviceError, "the provider behind the token in slot %d is away; `anyhsm provider list` says why", t.slot)
		}
	}
	if row, ok := t.facts.Load().Mechanisms[kind]; !ok || row.Flags&use == 0 {
		return cryptoki.CKR_MECHANISM_INVALID
	}
	return nil
}

// loginRequired tells whether private objects need a user's login.
func (t *Token) loginRequired() bool {
	return t.facts.Load().Flags&cryptoki.CKF_LOGIN_REQUIRED != 0
}

// privateVisible tells whether private objects may be seen and made.
func (t *Token) privateVisible() bool {
	if !t.loginRequired() {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.login.is(cryptoki.CKU_USER)
}

// reply is the answer to a call that concerns one token.
type reply interface{ GetHeader() *anyhsmv1.ReplyHeader }

// moment is when a call began, and what was true then.
type moment struct {
	start time.Time
	epoch uint64
	login uint64
}

// begin makes the header of a call. The cache's epoch is read before the ticket: an answer that belongs to an older
// login is then always recognised.
func (t *Token) begin() (*anyhsmv1.CallHeader, moment) {
	at := moment{start: time.Now()}
	header := &anyhsmv1.CallHeader{Token: t.facts.Load().UID}
	at.epoch, header.Revision = t.cache.current()
	t.mu.Lock()
	defer t.mu.Unlock()
	header.Ticket = t.login.ticket
	at.login = t.login.generation
	return header, at
}

// read makes a call that changes no object, and learns from its answer.
func read[R reply](t *Token, do func(*anyhsmv1.CallHeader) (R, error)) (R, error) {
	answer, at, err := call(t, do)
	if err == nil {
		t.cache.notice(at, answer.GetHeader().GetRevision())
	}
	return answer, err
}

// call makes a call with the token's header and keeps the login's state in step with the answer.
func call[R reply](t *Token, do func(*anyhsmv1.CallHeader) (R, error)) (R, moment, error) {
	header, at := t.begin()
	answer, err := do(header)
	if err != nil {
		switch {
		case fault.Is(err, fault.UserNotLoggedIn) && len(header.GetTicket()) > 0 && len(header.GetContextTicket()) == 0:
			t.doubt(at)
		case fault.Is(err, fault.TokenNotPresent):
			t.changed()
		}
		return answer, at, err
	}
	t.refreshTicket(at, answer.GetHeader().GetTicket())
	return answer, at, nil
}

// context returns the deadline of one C_ call.
func (t *Token) context() (context.Context, context.CancelFunc) { return t.client.Call() }
