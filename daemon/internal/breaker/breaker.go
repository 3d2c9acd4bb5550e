// Package breaker keeps calls away from something that fails: a circuit breaker. Closed, it lets all calls through; open,
// none; after a pause it lets one through to try (half-open), and what becomes of that one decides. The pauses grow, with
// jitter so that many daemons do not come back at the same moment.
//
// github.com/sony/gobreaker was considered: its pause does not grow, and it does not tell since when it is open and why,
// which is what people want to know. What would have to stand around it is as long as this.
package breaker

import (
	"math/rand/v2"
	"sync"
	"time"
)

// State is what a breaker does with calls.
type State string

// The states.
const (
	Closed   State = "closed"
	HalfOpen State = "half-open"
	Open     State = "open"
)

// Outcome is what a call says about what was called.
type Outcome int

// The outcomes. Neither is that of a call that was given up by its caller.
const (
	Succeeded Outcome = iota
	Failed
	Neither
)

const (
	// inARow failures open a breaker, and so does half of the last window calls.
	inARow = 3
	window = 20
	// The first pause, and the longest.
	firstPause, longestPause = time.Second, time.Minute
	// spread is the part of a pause that is random.
	spread = 0.4
)

// Status is what people want to know of a breaker.
type Status struct {
	State State
	// Since is when it left the closed state, Cause what failed last, Retry when the next call is let through to try; all
	// are empty if it is closed.
	Since, Retry time.Time
	Cause        error
	// Failures are those in a row up to now.
	Failures int
}

// Breaker is a circuit breaker; the zero value is closed and ready. It is safe for concurrent use.
type Breaker struct {
	mu sync.Mutex
	// generation counts changes of state: what a call of an earlier one comes back with says nothing any more.
	generation uint64
	open       bool
	// trying tells that the one call of the half-open state runs.
	trying       bool
	failures     int
	recent       [window]bool
	calls        int
	since, retry time.Time
	closed       time.Time
	pause        time.Duration
	cause        error
	// clock is for tests; time.Now if nil.
	clock func() time.Time
}

// Call is a call that was let through.
type Call struct {
	generation uint64
	breaker    *Breaker
}

// Begin lets a call through, or not. The caller calls Done on it when it has ended, whatever happens.
func (b *Breaker) Begin() (call Call, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open {
		if b.trying || b.now().Before(b.retry) {
			return Call{}, false
		}
		b.trying = true
	}
	return Call{generation: b.generation, breaker: b}, true
}

// Done tells what became of a call; cause is why it failed.
func (c Call) Done(outcome Outcome, cause error) {
	b := c.breaker
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.generation != b.generation {
		return
	}
	b.trying = false
	switch {
	case outcome == Neither:
	case b.open && outcome == Succeeded:
		b.open, b.closed = false, b.now()
		b.generation++
		b.failures, b.calls, b.cause = 0, 0, nil
	case b.open:
		b.failures++
		b.cause = cause
		b.rest()
	default:
		b.count(outcome == Failed, cause)
	}
}

// count counts a call in the closed state and opens the breaker where it must.
func (b *Breaker) count(failed bool, cause error) {
	b.recent[b.calls%window] = failed
	b.calls++
	if !failed {
		b.failures = 0
		return
	}
	b.failures++
	bad := 0
	for _, one := range b.recent {
		if one {
			bad++
		}
	}
	if b.failures < inARow && (b.calls < window || bad < window/2) {
		return
	}
	now := b.now()
	// One that was closed for only a moment goes on with the pauses where it was: the try succeeded, the rest did not.
	if now.Sub(b.closed) > 2*b.pause {
		b.pause = 0
	}
	b.open, b.since, b.cause = true, now, cause
	b.generation++
	b.recent, b.calls = [window]bool{}, 0
	b.rest()
}

// rest begins a pause, twice as long as the one before.
func (b *Breaker) rest() {
	b.pause = min(max(firstPause, 2*b.pause), longestPause)
	around := 1 - spread/2 + spread*rand.Float64()
	b.retry = b.now().Add(time.Duration(float64(b.pause) * around))
}

// Ready tells whether Begin would let a call through.
func (b *Breaker) Ready() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.open || !b.trying && !b.now().Before(b.retry)
}

// Status tells the state.
func (b *Breaker) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.open:
		return Status{State: Closed, Failures: b.failures}
	case b.trying || !b.now().Before(b.retry):
		return Status{State: HalfOpen, Since: b.since, Retry: b.retry, Cause: b.cause, Failures: b.failures}
	}
	return Status{State: Open, Since: b.since, Retry: b.retry, Cause: b.cause, Failures: b.failures}
}

func (b *Breaker) now() time.Time {
	if b.clock != nil {
		return b.clock()
	}
	return time.Now()
}
