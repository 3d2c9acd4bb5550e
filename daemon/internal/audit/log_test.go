package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// sink is an Appender in memory.
type sink struct {
	mu      sync.Mutex
	events  []Event
	batches int
	// fail, if set, decides about a batch; gate, if set, holds each batch until it can be received from.
	fail func(batch int) error
	gate chan struct{}
}

func (s *sink) AppendEvents(_ context.Context, events []Event) error {
	if s.gate != nil {
		<-s.gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches++
	if s.fail != nil {
		if err := s.fail(s.batches); err != nil {
			return err
		}
	}
	s.events = append(s.events, events...)
	return nil
}

func (s *sink) has(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		if e.Detail == fmt.Sprint(n) {
			return true
		}
	}
	return false
}

var (
	errFull = fault.New(fault.DeviceMemory, "full")
	silent  = slog.New(slog.NewTextHandler(io.Discard, nil))
)

func event(n int) Event { return Event{Operation: "sign", Detail: fmt.Sprint(n)} }

func TestCloseWritesWhatIsQueued(t *testing.T) {
	s := &sink{}
	l := NewLog(s, Options{Delay: time.Hour})
	for n := range 100 {
		if err := l.Record(t.Context(), event(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if len(s.events) != 100 {
		t.Fatalf("%d events were written", len(s.events))
	}
	for n, e := range s.events {
		if e.Detail != fmt.Sprint(n) || e.Time.IsZero() {
			t.Fatalf("event %d is %+v", n, e)
		}
	}
	if err := l.Record(t.Context(), event(1)); !fault.Is(err, fault.DeviceError) {
		t.Errorf("Record after Close: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		l := NewLog(s, Options{Delay: 2 * time.Millisecond, Batch: 10})
		defer l.Close()
		for n := range 25 {
			if err := l.Record(t.Context(), event(n)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Millisecond)
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.events) != 25 || s.batches != 3 {
			t.Errorf("%d events in %d batches", len(s.events), s.batches)
		}
	})
}

func TestStrictWaitsUntilDurable(t *testing.T) {
	s := &sink{}
	l := NewLog(s, Options{Strict: true})
	var callers sync.WaitGroup
	for n := range 200 {
		callers.Go(func() {
			if err := l.Record(t.Context(), event(n)); err != nil {
				t.Error(err)
			}
			if !s.has(n) {
				t.Errorf("event %d was acknowledged before it was written", n)
			}
		})
	}
	callers.Wait()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestStrictCallersHearOfFailure(t *testing.T) {
	s := &sink{fail: func(batch int) error {
		if batch == 1 {
			return errFull
		}
		return nil
	}}
	l := NewLog(s, Options{Strict: true, Logger: silent})
	defer l.Close()
	if err := l.Record(t.Context(), event(1)); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
	if err := l.Record(t.Context(), event(2)); err != nil {
		t.Errorf("the next event: %v", err)
	}
	if s.has(1) || !s.has(2) {
		t.Error("the wrong event was written")
	}
}

// While the store takes nothing, events are kept; when no more can be kept, Record fails: no key is used unseen.
func TestFailingStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var healthy atomic.Bool
		s := &sink{fail: func(int) error {
			if healthy.Load() {
				return nil
			}
			return errFull
		}}
		l := NewLog(s, Options{Queue: 10, Batch: 5, Logger: silent})
		accepted := 0
		var refusal error
		for n := range 100 {
			if refusal = l.Record(t.Context(), event(n)); refusal != nil {
				break
			}
			accepted++
			time.Sleep(3 * time.Millisecond)
		}
		if !errors.Is(refusal, errFull) || accepted < 10 || accepted > 15 {
			t.Fatalf("after %d events: %v", accepted, refusal)
		}
		healthy.Store(true)
		time.Sleep(5 * time.Second)
		if err := l.Record(t.Context(), event(accepted)); err != nil {
			t.Fatalf("after the store has recovered: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if len(s.events) != accepted+1 {
			t.Errorf("%d events were written, %d were accepted", len(s.events), accepted+1)
		}
	})
}

func TestCloseWithAFailingStoreEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLog(&sink{fail: func(int) error { return errFull }}, Options{Logger: silent})
		if err := l.Record(t.Context(), event(1)); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); !errors.Is(err, errFull) {
			t.Errorf("Close: %v", err)
		}
	})
}

func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{gate: make(chan struct{})}
		l := NewLog(s, Options{Queue: 2, Batch: 1})
		// One is being written, two wait.
		for n := range 3 {
			if err := l.Record(t.Context(), event(n)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Record(short, event(3)); !fault.Is(err, fault.DeadlineExceeded) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a full queue: %v", err)
		}
		waiter := make(chan error)
		go func() { waiter <- l.Record(t.Context(), event(4)) }()
		synctest.Wait()
		s.gate <- struct{}{}
		if err := <-waiter; err != nil {
			t.Errorf("when there is room: %v", err)
		}
		// A waiter does not hold up Close, and is not told that its event was taken.
		go func() { waiter <- l.Record(t.Context(), event(5)) }()
		synctest.Wait()
		go l.Close()
		if err := <-waiter; !fault.Is(err, fault.DeviceError) {
			t.Errorf("a waiter at Close: %v", err)
		}
		close(s.gate)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if s.has(3) || !s.has(4) || s.has(5) {
			t.Error("the wrong events were written")
		}
	})
}

// Whatever Record acknowledged while Close ran is written.
func TestRecordRacesClose(t *testing.T) {
	for range 300 {
		s := &sink{}
		l := NewLog(s, Options{Queue: 1, Batch: 1, Delay: time.Microsecond})
		var accepted atomic.Int64
		var callers sync.WaitGroup
		for n := range 32 {
			callers.Go(func() {
				for {
					if l.Record(t.Context(), event(n)) != nil {
						return
					}
					accepted.Add(1)
				}
			})
		}
		time.Sleep(50 * time.Microsecond)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		callers.Wait()
		if int64(len(s.events)) != accepted.Load() {
			t.Fatalf("%d events were written, %d accepted", len(s.events), accepted.Load())
		}
	}
}

// A caller that is about to queue its event when Close begins still gets it in.
func TestCloseWaitsForSenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		l := NewLog(s, Options{})
		l.senders.Add(1) // as enqueue does
		closed := make(chan error)
		go func() { closed <- l.Close() }()
		synctest.Wait()
		l.queue <- entry{event: event(1)}
		l.senders.Done()
		if err := <-closed; err != nil || !s.has(1) {
			t.Errorf("the event was lost, %v", err)
		}
	})
}
