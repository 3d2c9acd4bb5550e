// Package session is what an application does in a session: log in, make and find objects, use keys. All state of
// sessions, logins and operations is here; the daemon answers calls that are each complete in themselves.
package session

import (
	"sync"
	"sync/atomic"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Session is an open session. Its mutex is never held during a call to the daemon: an operation that is in such a call
// is marked busy instead, and another thread that wants it gets CKR_OPERATION_ACTIVE.
type Session struct {
	token  *Token
	handle uint64
	writes bool
	// deviceError is ulDeviceError: the number of the last failure's row in the error table (internal/fault).
	deviceError atomic.Uint64

	mu      sync.Mutex
	closed  bool
	find    slot[search]
	encrypt slot[cipher]
	decrypt slot[cipher]
	digest  slot[digestion]
	sign    slot[signature]
	verify  slot[verification]
}

// Info is CK_SESSION_INFO.
type Info struct {
	Slot        uint64
	State       cryptoki.State
	Flags       cryptoki.Flags
	DeviceError uint64
}

// Handle returns the session's handle.
func (s *Session) Handle() uint64 { return s.handle }

// Token returns the token that the session is with.
func (s *Session) Token() *Token { return s.token }

// Info is C_GetSessionInfo.
func (s *Session) Info() Info {
	flags := cryptoki.CKF_SERIAL_SESSION
	if s.writes {
		flags |= cryptoki.CKF_RW_SESSION
	}
	return Info{Slot: s.token.slot, State: s.state(), Flags: flags, DeviceError: s.deviceError.Load()}
}

func (s *Session) state() cryptoki.State {
	s.token.mu.Lock()
	login := s.token.login
	s.token.mu.Unlock()
	switch {
	case login.is(cryptoki.CKU_SO):
		return cryptoki.CKS_RW_SO_FUNCTIONS
	case login.is(cryptoki.CKU_USER) && s.writes:
		return cryptoki.CKS_RW_USER_FUNCTIONS
	case login.is(cryptoki.CKU_USER):
		return cryptoki.CKS_RO_USER_FUNCTIONS
	case s.writes:
		return cryptoki.CKS_RW_PUBLIC_SESSION
	default:
		return cryptoki.CKS_RO_PUBLIC_SESSION
	}
}

// remember keeps a failure of the daemon or the device for ulDeviceError, and passes the error on.
func (s *Session) remember(err error) error {
	if err != nil && fault.RV(err) == cryptoki.CKR_DEVICE_ERROR {
		s.deviceError.Store(uint64(fault.From(err).Kind))
	}
	return err
}

// end ends all operations of a closed session.
func (s *Session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.find.cancel()
	s.encrypt.cancel()
	s.decrypt.cancel()
	s.digest.cancel()
	s.sign.cancel()
	s.verify.cancel()
}

// endPrivate ends the operations that use private keys or list private objects: nobody is logged in any more.
func (s *Session) endPrivate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.find.cancel()
	if op := s.encrypt.op; op != nil && op.key.private() {
		s.encrypt.cancel()
	}
	if op := s.decrypt.op; op != nil && op.key.private() {
		s.decrypt.cancel()
	}
	if op := s.sign.op; op != nil && op.key.private() {
		s.sign.cancel()
	}
	if op := s.verify.op; op != nil && op.key.private() {
		s.verify.cancel()
	}
}

// Cancel is C_SessionCancel, and what an Init function with a NULL mechanism means. An operation that is not active
// is no error.
func (s *Session) Cancel(flags cryptoki.Flags) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for flag, cancel := range map[cryptoki.Flags]func(){
		cryptoki.CKF_FIND_OBJECTS: s.find.cancel,
		cryptoki.CKF_ENCRYPT:      s.encrypt.cancel,
		cryptoki.CKF_DECRYPT:      s.decrypt.cancel,
		cryptoki.CKF_DIGEST:       s.digest.cancel,
		cryptoki.CKF_SIGN:         s.sign.cancel,
		cryptoki.CKF_VERIFY:       s.verify.cancel,
	} {
		if flags&flag != 0 {
			cancel()
		}
	}
	return nil
}
