package keystore

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/internal/fault"
)

func TestChangeReplays(t *testing.T) { onEach(t, testChangeReplays) }

func testChangeReplays(t *testing.T, on database) {
	s := on.fresh(t)
	ctx := t.Context()
	token := newToken(t, s, "a")
	calls := 0
	run := func(id, application string) (string, bool, error) {
		c := Change{RequestID: id, Application: application, Event: audit.Event{Operation: "key.create", Application: application, Outcome: "OK"}}
		response, replayed, err := s.Change(ctx, c, func(tx *Tx) ([]byte, error) {
			calls++
			o := Object{Token: token.UID}
			err := tx.CreateObject(&o)
			tx.Event.Object = o.UID
			return fmt.Appendf(nil, "object %d", o.ID), err
		})
		return string(response), replayed, err
	}
	for _, c := range []struct {
		id, application, want string
		replayed              bool
		calls                 int
	}{
		{"r1", "web", "object 1", false, 1},
		{"r1", "web", "object 1", true, 1},
		{"r2", "web", "object 2", false, 2},
		{"r1", "web", "object 1", true, 2},
		{"", "web", "object 3", false, 3},
		{"", "web", "object 4", false, 4},
	} {
		got, replayed, err := run(c.id, c.application)
		if err != nil || got != c.want || replayed != c.replayed || calls != c.calls {
			t.Errorf("%+v: %q, %v, %v, %d calls", c, got, replayed, err, calls)
		}
	}
	_, _, err := run("r1", "mail")
	wantKind(t, "another application's request id", err, fault.NotGranted)
	if calls != 4 {
		t.Errorf("%d calls", calls)
	}
	if response, found, err := s.Request(ctx, "r2", "web"); err != nil || !found || string(response) != "object 2" {
		t.Errorf("Request: %q, %v, %v", response, found, err)
	}
	if response, found, err := s.Request(ctx, "r3", "web"); err != nil || found || response != nil {
		t.Errorf("an unknown Request: %q, %v, %v", response, found, err)
	}
	_, found, err := s.Request(ctx, "r2", "mail")
	wantKind(t, "another application's Request", err, fault.NotGranted)
	if found {
		t.Error("another application's Request was found")
	}
	events, err := s.Events(ctx, 1, 0) // the first is the token's
	if err != nil || len(events) != 4 || events[0].Object == "" {
		t.Errorf("events %+v, %v", events, err)
	}
	wantVerified(t, s)
}

func TestChangeIsAllOrNothing(t *testing.T) { onEach(t, testChangeIsAllOrNothing) }

func testChangeIsAllOrNothing(t *testing.T, on database) {
	s := on.fresh(t)
	token := newToken(t, s, "a")
	before, _ := s.AuditHead(t.Context())
	boom := errors.New("boom")
	c := Change{RequestID: "r", Application: "web", Event: audit.Event{Operation: "key.create"}}
	create := func(tx *Tx) error { return tx.CreateObject(&Object{Token: token.UID}) }
	for what, fail := range map[string]func() error{
		"error": func() error {
			_, _, err := s.Change(t.Context(), c, func(tx *Tx) ([]byte, error) { return []byte("x"), errors.Join(create(tx), boom) })
			return err
		},
		"panic": func() (err error) {
			defer func() { err, _ = recover().(error) }()
			s.Change(t.Context(), c, func(tx *Tx) ([]byte, error) { create(tx); panic(boom) })
			return nil
		},
		"context that ends": func() error {
			ctx, cancel := context.WithCancelCause(t.Context())
			// Nothing but the commit comes after the function.
			_, _, err := s.Change(ctx, Change{}, func(tx *Tx) ([]byte, error) { defer cancel(boom); return nil, create(tx) })
			if !fault.Is(err, fault.FunctionCanceled) {
				return err
			}
			return boom
		},
	} {
		if err := fail(); !errors.Is(err, boom) {
			t.Errorf("%s: %v", what, err)
		}
		if n, err := s.CountObjects(t.Context(), ""); n != 0 || err != nil {
			t.Errorf("%s: %d objects are left, %v", what, n, err)
		}
		if now, _ := s.Revision(t.Context(), token.UID); now != token.Revision {
			t.Errorf("%s: revision %d", what, now)
		}
		if head, _ := s.AuditHead(t.Context()); !reflect.DeepEqual(head, before) {
			t.Errorf("%s: an event is left", what)
		}
	}
	// A request that failed can be made again.
	if _, replayed, err := s.Change(t.Context(), c, func(tx *Tx) ([]byte, error) { return nil, create(tx) }); err != nil || replayed {
		t.Errorf("afterwards: %v, %v", replayed, err)
	}
	if o, err := s.Object(t.Context(), token.UID, 1); err != nil || o.ID != 1 {
		t.Errorf("afterwards: %+v, %v", o, err)
	}
}

// Of many calls with one request id one does the work, and all get its response.
func TestSameRequestAtOnce(t *testing.T) { onEach(t, testSameRequestAtOnce) }

func testSameRequestAtOnce(t *testing.T, on database) {
	path := on.make(t)
	// Two stores on one file: two daemons.
	stores := []*Store{open(t, path), open(t, path)}
	token := newToken(t, stores[0], "a")
	for round := range 20 {
		var calls, fresh atomic.Int64
		responses := make([]string, 16)
		var callers sync.WaitGroup
		for i := range responses {
			callers.Go(func() {
				response, replayed, err := stores[i%2].Change(t.Context(), Change{RequestID: fmt.Sprint("r", round), Application: "web"}, func(tx *Tx) ([]byte, error) {
					calls.Add(1)
					o := Object{Token: token.UID}
					err := tx.CreateObject(&o)
					return []byte(o.UID), err
				})
				if err != nil {
					t.Error(err)
				}
				if !replayed {
					fresh.Add(1)
				}
				responses[i] = string(response)
			})
		}
		callers.Wait()
		if calls.Load() != 1 || fresh.Load() != 1 {
			t.Errorf("round %d: %d calls, %d winners", round, calls.Load(), fresh.Load())
		}
		for _, response := range responses {
			if response == "" || response != responses[0] {
				t.Errorf("round %d: responses %q and %q", round, response, responses[0])
			}
		}
	}
	if n, err := stores[1].CountObjects(t.Context(), token.UID); err != nil || n != 20 {
		t.Errorf("%d objects, %v", n, err)
	}
}

// Two daemons write at once; the chain stays one chain, every object has a number of its own.
func TestConcurrentWritersAndReaders(t *testing.T) { onEach(t, testConcurrentWritersAndReaders) }

func testConcurrentWritersAndReaders(t *testing.T, on database) {
	path := on.make(t)
	stores := []*Store{open(t, path), open(t, path)}
	token := newToken(t, stores[0], "a")
	const writers, each = 4, 25
	var all sync.WaitGroup
	stop := make(chan struct{})
	for w := range writers {
		all.Go(func() {
			for n := range each {
				o := Object{Token: token.UID}
				_, _, err := stores[w%2].Change(t.Context(), Change{RequestID: fmt.Sprint(w, "-", n), Application: "web", Event: audit.Event{Operation: "key.create"}},
					func(tx *Tx) ([]byte, error) { return nil, tx.CreateObject(&o) })
				if err == nil {
					err = stores[w%2].AppendEvents(t.Context(), []audit.Event{{Operation: "sign"}})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	var readers sync.WaitGroup
	for r := range 4 {
		readers.Go(func() {
			var last uint64
			for {
				select {
				case <-stop:
					return
				default:
				}
				revision, err := stores[r%2].Revision(t.Context(), token.UID)
				if err != nil || revision < last {
					t.Errorf("revision %d after %d, %v", revision, last, err)
				}
				last = revision
				if _, err := stores[r%2].Objects(t.Context(), ObjectQuery{Token: token.UID, Limit: 10}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	close(stop)
	readers.Wait()
	objects, err := stores[0].Objects(t.Context(), ObjectQuery{Token: token.UID})
	if err != nil || len(objects) != writers*each {
		t.Fatalf("%d objects, %v", len(objects), err)
	}
	if report := wantVerified(t, stores[1]); report.Events != 1+2*writers*each {
		t.Errorf("%d events", report.Events)
	}
}

func TestContexts(t *testing.T) { onEach(t, testContexts) }

func testContexts(t *testing.T, on database) {
	s := on.fresh(t)
	inside, release := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		_, _, err := s.Change(t.Context(), Change{}, func(*Tx) ([]byte, error) { close(inside); <-release; return nil, nil })
		done <- err
	}()
	<-inside
	// The writer is busy: others wait as long as they may; readers do not wait.
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, _, err := s.Change(short, Change{}, func(*Tx) ([]byte, error) { return nil, nil })
	wantKind(t, "a writer that may not wait", err, fault.DeadlineExceeded)
	if _, err := s.Tokens(t.Context()); err != nil {
		t.Errorf("a reader: %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Tokens(cancelled)
	wantKind(t, "a cancelled reader", err, fault.FunctionCanceled)
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Somebody else holds the file's lock for too long: an error that invites to call again.
func TestBusyStore(t *testing.T) {
	s := onSQLite.fresh(t)
	other := open(t, s.Name())
	err := other.transact(t.Context(), func(*Tx) error {
		short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := s.InitMeta(short, "x", []byte("y"))
		wantKind(t, "with a deadline", err, fault.DeadlineExceeded)
		if _, err := s.write.Exec("PRAGMA busy_timeout = 20"); err != nil {
			return err
		}
		_, err = s.InitMeta(t.Context(), "x", []byte("y"))
		wantKind(t, "after the lock's timeout", err, fault.Conflict)
		if !fault.Conflict.Row().Retry {
			t.Error("a busy store does not invite to call again")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.InitMeta(t.Context(), "x", []byte("y")); err != nil {
		t.Errorf("when the lock is free: %v", err)
	}
}

func TestClosedStore(t *testing.T) { onEach(t, testClosedStore) }

func testClosedStore(t *testing.T, on database) {
	s := on.fresh(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tokens(t.Context()); err == nil {
		t.Error("a closed store can be read")
	}
	if _, _, err := s.Change(t.Context(), Change{}, func(*Tx) ([]byte, error) { return nil, nil }); err == nil {
		t.Error("a closed store can be changed")
	}
}

// A forged or removed head of the audit is not made good by the next event.
func TestForgedAuditHead(t *testing.T) { onEach(t, testForgedAuditHead) }

func testForgedAuditHead(t *testing.T, on database) {
	second := []byte{0, 0, 0, 0, 0, 0, 0, 2}
	for what, forge := range map[string]func(tx *Tx, hash []byte) error{
		"tail and head cut": func(tx *Tx, hash []byte) error {
			return errors.Join(tx.exec(`DELETE FROM audit WHERE sequence = 3`), tx.PutMeta(metaAuditHead, slices.Concat(second, hash)))
		},
		"head removed": func(tx *Tx, _ []byte) error { return tx.PutMeta(metaAuditHead, nil) },
		"head set back": func(tx *Tx, hash []byte) error {
			return tx.PutMeta(metaAuditHead, slices.Concat(second, hash, make([]byte, 32)))
		},
		"head is of no length": func(tx *Tx, _ []byte) error { return tx.PutMeta(metaAuditHead, []byte{1}) },
	} {
		t.Run(what, func(t *testing.T) {
			s := on.fresh(t)
			for range 3 {
				if err := s.AppendEvents(t.Context(), []audit.Event{{Operation: "sign"}}); err != nil {
					t.Fatal(err)
				}
			}
			events, err := s.Events(t.Context(), 1, 1)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.transact(t.Context(), func(tx *Tx) error { return forge(tx, events[0].Hash) }); err != nil {
				t.Fatal(err)
			}
			err = s.AppendEvents(t.Context(), []audit.Event{{Operation: "sign"}})
			wantKind(t, "another event", err, fault.StoreDamaged)
			if report, err := audit.Verify(t.Context(), s, keyed("root")); err == nil && report.Break == nil {
				t.Error("Verify finds nothing")
			}
		})
	}
}

func TestPrune(t *testing.T) { onEach(t, testPrune) }

func testPrune(t *testing.T, on database) {
	s := on.fresh(t)
	ctx := t.Context()
	now := time.Now()
	s.now = func() time.Time { return now }
	const remembered = 300
	s.remember = remembered
	token := newToken(t, s, "a")
	request := func(id string) (replayed bool) {
		_, replayed, err := s.Change(ctx, Change{RequestID: id, Application: "web"}, func(*Tx) ([]byte, error) { return nil, nil })
		if err != nil {
			t.Fatal(err)
		}
		return replayed
	}
	use := func(id string) error {
		_, _, err := s.Change(ctx, Change{}, func(tx *Tx) ([]byte, error) { return nil, tx.UseTicket(id, now.Add(5*time.Minute)) })
		return err
	}
	request("old")
	if err := use("ticket"); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "a used ticket", use("ticket"), fault.Conflict)
	// More removed objects than are remembered.
	since, _ := s.Revision(ctx, token.UID)
	change(t, s, func(tx *Tx) error {
		for range remembered + 5 {
			o := Object{Token: token.UID}
			if err := tx.CreateObject(&o); err != nil {
				return err
			}
			if err := tx.DeleteObject(token.UID, o.ID); err != nil {
				return err
			}
		}
		return nil
	})
	if ids, complete, err := s.Removed(ctx, token.UID, since); err != nil || !complete || len(ids) != remembered+5 {
		t.Fatalf("before: %d removed, %v, %v", len(ids), complete, err)
	}
	now = now.Add(23 * time.Hour)
	if err := s.Prune(ctx); err != nil {
		t.Fatal(err)
	}
	if !request("old") {
		t.Error("a request was forgotten after 23 hours")
	}
	if err := use("ticket"); err != nil {
		t.Errorf("a ticket that expired long ago is remembered: %v", err)
	}
	ids, complete, err := s.Removed(ctx, token.UID, since)
	if err != nil || complete || len(ids) != remembered {
		t.Errorf("after: %d removed, complete %v, %v", len(ids), complete, err)
	}
	// The first five were created and removed in ten revisions.
	if ids, complete, err := s.Removed(ctx, token.UID, since+10); err != nil || !complete || len(ids) != remembered {
		t.Errorf("since the first that is remembered: %d removed, complete %v, %v", len(ids), complete, err)
	}
	now = now.Add(2 * time.Hour)
	if err := s.Prune(ctx); err != nil {
		t.Fatal(err)
	}
	if request("old") {
		t.Error("a request is remembered after 25 hours")
	}
}
