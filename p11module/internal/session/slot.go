package session

import (
	"sync"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// slot holds the one active operation of a kind in a session. The session's mutex guards it.
type slot[T any] struct {
	op   *T
	busy bool
	// cancelled tells that a busy operation must not come back.
	cancelled bool
}

func (x *slot[T]) cancel() {
	if x.busy {
		x.cancelled = true
	}
	x.op = nil
}

// vacant fails with CKR_OPERATION_ACTIVE where an operation is under way.
func vacant[T any](mu *sync.Mutex, x *slot[T]) error {
	mu.Lock()
	defer mu.Unlock()
	if x.op != nil || x.busy {
		return cryptoki.CKR_OPERATION_ACTIVE
	}
	return nil
}

// start makes an operation the active one.
func start[T any](s *Session, x *slot[T], op *T) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return cryptoki.CKR_SESSION_CLOSED
	}
	if x.op != nil || x.busy {
		return cryptoki.CKR_OPERATION_ACTIVE
	}
	x.op, x.cancelled = op, false
	return nil
}

// claim takes the active operation for one call. Until release no other thread gets it.
func claim[T any](s *Session, x *slot[T]) (*T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.busy {
		return nil, cryptoki.CKR_OPERATION_ACTIVE
	}
	if x.op == nil {
		return nil, cryptoki.CKR_OPERATION_NOT_INITIALIZED
	}
	x.busy = true
	return x.op, nil
}

// release gives a claimed operation back, or ends it.
func release[T any](s *Session, x *slot[T], goesOn bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x.busy = false
	if !goesOn || x.cancelled {
		x.op, x.cancelled = nil, false
	}
}
