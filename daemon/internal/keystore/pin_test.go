package keystore

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/internal/fault"
)

func right(string) bool { return true }
func wrong(string) bool { return false }

func TestTryPIN(t *testing.T) { onEach(t, testTryPIN) }

func testTryPIN(t *testing.T, on database) {
	s := on.fresh(t)
	ctx := t.Context()
	token := newToken(t, s, "a")
	failed := func(user bool) int {
		got, err := s.Token(ctx, token.UID)
		if err != nil {
			t.Fatal(err)
		}
		return got.pin(user).Failed
	}
	for user, hash := range map[bool]string{true: "user-hash", false: "so-hash"} {
		for n := 1; n <= 2; n++ {
			_, err := s.TryPIN(ctx, token.UID, user, 3, wrong)
			wantKind(t, "a wrong PIN", err, fault.PINIncorrect)
			if got := failed(user); got != n {
				t.Errorf("%d tries are counted, want %d", got, n)
			}
		}
		if got := failed(!user); got != 0 {
			t.Errorf("the other PIN has %d tries", got)
		}
		got, err := s.TryPIN(ctx, token.UID, user, 3, func(given string) bool {
			// The try is counted, for everybody to see, before the PIN is looked at.
			if n := failed(user); n != 3 {
				t.Errorf("%d tries are counted during the check", n)
			}
			return given == hash
		})
		if err != nil || got.UID != token.UID || got.pin(user).Failed != 0 || failed(user) != 0 {
			t.Errorf("the right PIN: %+v, %v", got, err)
		}
		for range 3 {
			_, err := s.TryPIN(ctx, token.UID, user, 3, wrong)
			wantKind(t, "a wrong PIN", err, fault.PINIncorrect)
		}
		_, err = s.TryPIN(ctx, token.UID, user, 3, func(string) bool { t.Error("a locked PIN is looked at"); return true })
		wantKind(t, "a locked PIN", err, fault.PINLocked)
		change(t, s, func(tx *Tx) error {
			locked, err := tx.Token(ctx, token.UID)
			if err != nil {
				return err
			}
			locked.pin(user).Failed = 0
			return tx.UpdateToken(locked)
		})
		if _, err := s.TryPIN(ctx, token.UID, user, 3, right); err != nil {
			t.Errorf("after unlocking: %v", err)
		}
	}
	_, err := s.TryPIN(ctx, "none", true, 3, right)
	wantKind(t, "no such token", err, fault.NotFound)
	bare := Token{Label: "bare"}
	change(t, s, func(tx *Tx) error { return tx.CreateToken(&bare) })
	_, err = s.TryPIN(ctx, bare.UID, true, 3, right)
	wantKind(t, "no PIN is set", err, fault.UserPINNotInitialized)
}

// The lock outlives the daemon, and the last try before a crash counts.
func TestTriesOutliveACrash(t *testing.T) { onEach(t, testTriesOutliveACrash) }

func testTriesOutliveACrash(t *testing.T, on database) {
	path := on.make(t)
	s := open(t, path)
	token := newToken(t, s, "a")
	func() {
		defer func() { _ = recover() }()
		s.TryPIN(t.Context(), token.UID, true, 1, func(string) bool { panic("the daemon dies while it checks") })
	}()
	again := open(t, path)
	_, err := again.TryPIN(t.Context(), token.UID, true, 1, right)
	wantKind(t, "after the crash", err, fault.PINLocked)
}

// Many workers that log in at once with the right PIN do not lock it; with a wrong one they get no more tries than one.
func TestTriesAtOnce(t *testing.T) { onEach(t, testTriesAtOnce) }

func testTriesAtOnce(t *testing.T, on database) {
	s := on.fresh(t)
	token := newToken(t, s, "a")
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			if _, err := s.TryPIN(t.Context(), token.UID, true, 3, func(string) bool { time.Sleep(time.Millisecond); return true }); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var looked, locked atomic.Int64
	for range 40 {
		all.Go(func() {
			_, err := s.TryPIN(t.Context(), token.UID, true, 3, func(string) bool { looked.Add(1); return false })
			if fault.Is(err, fault.PINLocked) {
				locked.Add(1)
			}
		})
	}
	all.Wait()
	if looked.Load() != 3 || locked.Load() != 37 {
		t.Errorf("%d were looked at, %d found it locked", looked.Load(), locked.Load())
	}
	if len(s.tries.waiting) != 0 {
		t.Errorf("%d lines are left", len(s.tries.waiting))
	}
}

func TestTryMayNotWait(t *testing.T) { onEach(t, testTryMayNotWait) }

func testTryMayNotWait(t *testing.T, on database) {
	s := on.fresh(t)
	token := newToken(t, s, "a")
	inside, release := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		_, err := s.TryPIN(t.Context(), token.UID, true, 3, func(string) bool { close(inside); <-release; return true })
		done <- err
	}()
	<-inside
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := s.TryPIN(short, token.UID, true, 3, right)
	wantKind(t, "a try that may not wait", err, fault.DeadlineExceeded)
	// The other PIN has a line of its own.
	if _, err := s.TryPIN(t.Context(), token.UID, false, 3, right); err != nil {
		t.Error(err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A client that hangs up does not leave a try behind that was right.
func TestCallerGoesAway(t *testing.T) { onEach(t, testCallerGoesAway) }

func testCallerGoesAway(t *testing.T, on database) {
	s := on.fresh(t)
	token := newToken(t, s, "a")
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := s.TryPIN(ctx, token.UID, true, 3, func(string) bool { cancel(); return true }); err != nil {
		t.Error(err)
	}
	if got, _ := s.Token(t.Context(), token.UID); got.User.Failed != 0 {
		t.Errorf("%d tries are left", got.User.Failed)
	}
}
