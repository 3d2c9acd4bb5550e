package breaker

import (
	"errors"
	"sync"
	"testing"
	"time"
)

// clocked is a breaker with a clock that the test moves.
type clocked struct {
	Breaker
	t    *testing.T
	time time.Time
}

func newClocked(t *testing.T) *clocked {
	c := &clocked{t: t, time: time.Unix(1_000_000, 0)}
	c.clock = func() time.Time { return c.time }
	return c
}

// call makes a call with an outcome, which must be let through.
func (c *clocked) call(outcomes ...Outcome) {
	c.t.Helper()
	for _, outcome := range outcomes {
		call, ok := c.Begin()
		if !ok {
			c.t.Fatalf("a call was not let through: %+v", c.Status())
		}
		call.Done(outcome, errors.New("boom"))
	}
}

func (c *clocked) want(state State) {
	c.t.Helper()
	status := c.Status()
	_, ready := map[State]bool{Closed: true, HalfOpen: true}[state]
	if status.State != state || c.Ready() != ready {
		c.t.Fatalf("%+v, ready %v, want %s", status, c.Ready(), state)
	}
}

func TestOpensAfterFailuresInARow(t *testing.T) {
	c := newClocked(t)
	c.call(Failed, Failed, Succeeded, Failed, Failed, Neither)
	c.want(Closed)
	began := c.time
	c.call(Failed)
	c.want(Open)
	if s := c.Status(); s.Since != began || s.Cause.Error() != "boom" || s.Failures != 3 {
		t.Errorf("%+v", s)
	}
	if _, ok := c.Begin(); ok {
		t.Error("an open breaker lets a call through")
	}
}

func TestOpensWhenHalfFails(t *testing.T) {
	c := newClocked(t)
	for range window/2 - 1 {
		c.call(Succeeded, Failed)
	}
	c.want(Closed)
	c.call(Succeeded, Failed)
	c.want(Open)
}

// One call tries; the others are kept away meanwhile. The pauses double up to the longest, and vary.
func TestTries(t *testing.T) {
	c := newClocked(t)
	c.call(Failed, Failed, Failed)
	expected := firstPause
	for range 10 {
		pause := c.Status().Retry.Sub(c.time)
		if pause < expected*8/10 || pause > expected*12/10 {
			t.Fatalf("a pause of %v, want about %v", pause, expected)
		}
		c.time = c.time.Add(pause - 1)
		c.want(Open)
		c.time = c.time.Add(1)
		c.want(HalfOpen)
		try, ok := c.Begin()
		if _, second := c.Begin(); !ok || second || c.Ready() {
			t.Fatal("not exactly one call tries")
		}
		try.Done(Failed, errors.New("still"))
		if expected *= 2; expected > longestPause {
			expected = longestPause
		}
	}
	if c.Status().Cause.Error() != "still" {
		t.Error(c.Status().Cause)
	}
	c.time = c.Status().Retry
	// A try that was given up says nothing: the next call tries.
	c.call(Neither, Succeeded)
	c.want(Closed)
}

// What a call says that began before the breaker opened does not count.
func TestLateAnswers(t *testing.T) {
	c := newClocked(t)
	early, _ := c.Begin()
	c.call(Failed, Failed, Failed)
	early.Done(Succeeded, nil)
	c.want(Open)
	c.time = c.Status().Retry
	c.call(Succeeded)
	c.want(Closed)
	early.Done(Failed, errors.New("long ago"))
	if c.Status().Failures != 0 {
		t.Errorf("%+v", c.Status())
	}
}

// A breaker that closes only to open again goes on with long pauses; one that was closed for long begins anew.
func TestFlapping(t *testing.T) {
	c := newClocked(t)
	c.call(Failed, Failed, Failed)
	for range 4 {
		c.time = c.Status().Retry
		c.call(Succeeded)
		c.call(Failed, Failed, Failed)
	}
	if pause := c.Status().Retry.Sub(c.time); pause < 12*time.Second {
		t.Errorf("a pause of %v after four in a row", pause)
	}
	c.time = c.Status().Retry
	c.call(Succeeded)
	c.time = c.time.Add(10 * time.Minute)
	c.call(Failed, Failed, Failed)
	if pause := c.Status().Retry.Sub(c.time); pause > 2*time.Second {
		t.Errorf("a pause of %v after a long time", pause)
	}
}

func TestConcurrentCalls(t *testing.T) {
	var b Breaker
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			for n := range 200 {
				if call, ok := b.Begin(); ok {
					call.Done(Outcome((i+n)%3), errors.New("boom"))
				}
				b.Status()
			}
		})
	}
	wg.Wait()
	if b.Status().State == HalfOpen && b.trying {
		t.Error("a try is left over")
	}
}
