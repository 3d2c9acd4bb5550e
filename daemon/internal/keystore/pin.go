package keystore

import (
	"context"
	"sync"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// TryPIN checks a PIN. The try is counted, durably, before check is called with the PIN's hash, and the count is set
// back when check returns true: a crash gives no free try. Errors: fault.PINIncorrect, fault.PINLocked after
// maxFailed tries, fault.UserPINNotInitialized where no PIN is set.
//
// Tries of one PIN wait for each other. Otherwise many workers that log in at once with the right PIN would lock it,
// since each counts as failed while it is checked.
func (s *Store) TryPIN(ctx context.Context, token string, user bool, maxFailed int, check func(hash string) bool) (Token, error) {
	done, err := s.tries.take(ctx, token, user)
	if err != nil {
		return Token{}, s.engine.fault(err)
	}
	defer done()
	// So do tries through other daemons.
	over, err := s.engine.turn(ctx, token+" "+role(user))
	if err != nil {
		return Token{}, err
	}
	defer over()
	t, err := s.countTry(ctx, token, user, maxFailed)
	if err != nil {
		return Token{}, err
	}
	pin := t.pin(user)
	if !check(pin.Hash) {
		if left := maxFailed - pin.Failed; left > 0 {
			return Token{}, fault.New(fault.PINIncorrect, "the PIN is wrong; it can be tried %d more times", left)
		}
		return Token{}, fault.New(fault.PINIncorrect, "the PIN is wrong, and is locked now; ask an administrator to unlock the token")
	}
	// The caller may be gone, but the PIN was right: the count must not stay.
	err = s.transact(context.WithoutCancel(ctx), func(tx *Tx) error {
		// Unless the PIN was changed meanwhile: then the count is that of the new one.
		_, err := tx.runUncached(`UPDATE tokens SET `+role(user)+`_failed = 0 WHERE uid = ? AND `+role(user)+`_epoch = ?`, token, pin.Epoch)
		return err
	})
	if err != nil {
		return Token{}, err
	}
	pin.Failed = 0
	return *t, nil
}

// countTry counts a try as failed and returns the token with it, or refuses it.
func (s *Store) countTry(ctx context.Context, token string, user bool, maxFailed int) (*Token, error) {
	// Whoever hammers at a locked PIN must not keep writers waiting.
	t, err := s.Token(ctx, token)
	if err == nil {
		err = t.mayTry(user, maxFailed)
	}
	if err != nil {
		return nil, err
	}
	err = s.transact(ctx, func(tx *Tx) (err error) {
		if t, err = tx.Token(ctx, token); err != nil {
			return err
		}
		if err := t.mayTry(user, maxFailed); err != nil {
			return err
		}
		pin := t.pin(user)
		pin.Failed++
		// The count is no change that a cache must hear of: the revision stays.
		_, err = tx.runUncached(`UPDATE tokens SET `+role(user)+`_failed = ? WHERE uid = ?`, pin.Failed, token)
		return err
	})
	return &t, err
}

// mayTry refuses a try where there is no PIN or no try left.
func (t *Token) mayTry(user bool, maxFailed int) error {
	switch pin := t.pin(user); {
	case pin.Hash == "":
		return fault.New(fault.UserPINNotInitialized, "the token %q has no such PIN yet; set it first", t.Label)
	case pin.Failed >= maxFailed:
		return fault.New(fault.PINLocked, "the PIN is locked after %d wrong tries; ask an administrator to unlock the token", pin.Failed)
	}
	return nil
}

func (t *Token) pin(user bool) *PIN {
	if user {
		return &t.User
	}
	return &t.SO
}

// role is the beginning of the columns' names.
func role(user bool) string {
	if user {
		return "user"
	}
	return "so"
}

// turns lets tries of one PIN wait for each other.
type turns struct {
	mu      sync.Mutex
	waiting map[turn]*line
}

type turn struct {
	token string
	user  bool
}

// line is who waits; it goes when the last one leaves.
type line struct {
	people int
	busy   chan struct{}
}

// take waits for a turn and returns how to end it.
func (t *turns) take(ctx context.Context, token string, user bool) (done func(), err error) {
	key := turn{token, user}
	t.mu.Lock()
	l := t.waiting[key]
	if l == nil {
		if t.waiting == nil {
			t.waiting = map[turn]*line{}
		}
		l = &line{busy: make(chan struct{}, 1)}
		t.waiting[key] = l
	}
	l.people++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if l.people--; l.people == 0 {
			delete(t.waiting, key)
		}
	}
	select {
	case l.busy <- struct{}{}:
		return func() { <-l.busy; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
