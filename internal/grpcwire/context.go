package grpcwire

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// callContext is the context of a call. A timer, and all else that wakes somebody at its end, is made when somebody
// wants to be woken: most calls are over sooner, and a timer costs more than the rest of the context.
type callContext struct {
	parent context.Context
	// until is zero if the call may take as long as it likes.
	until time.Time
	// stream is the server's.
	stream *stream

	mu     sync.Mutex
	ended  bool
	timed  context.Context
	cancel context.CancelFunc
}

// WithDeadline is context.WithDeadline at less cost where nobody waits for the context's end. A call of a Client with
// such a context ends in time as well, but when its parent ends only if the client is closed too.
func WithDeadline(parent context.Context, until time.Time) (context.Context, context.CancelFunc) {
	if earlier, ok := parent.Deadline(); ok && earlier.Before(until) {
		until = earlier
	}
	c := &callContext{parent: parent, until: until}
	return c, c.end
}

// end ends the context.
func (c *callContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.cancel != nil {
		c.cancel()
	}
}

// waking returns a context that wakes those who wait for it.
func (c *callContext) waking() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed != nil {
		return c.timed
	}
	if c.until.IsZero() {
		c.timed, c.cancel = context.WithCancel(c.parent)
	} else {
		c.timed, c.cancel = context.WithDeadline(c.parent, c.until)
	}
	if c.ended {
		c.cancel()
	}
	return c.timed
}

// Deadline implements context.Context.
func (c *callContext) Deadline() (time.Time, bool) {
	if c.until.IsZero() {
		return c.parent.Deadline()
	}
	return c.until, true
}

// Done implements context.Context.
func (c *callContext) Done() <-chan struct{} { return c.waking().Done() }

// Err implements context.Context.
func (c *callContext) Err() error {
	c.mu.Lock()
	timed, ended := c.timed, c.ended
	c.mu.Unlock()
	switch {
	case timed != nil:
		return timed.Err()
	case ended:
		return context.Canceled
	case !c.until.IsZero() && !time.Now().Before(c.until):
		// From now on it stays so.
		return c.waking().Err()
	}
	return c.parent.Err()
}

// Value implements context.Context.
func (c *callContext) Value(key any) any {
	if c.stream != nil && key == transportKey {
		return c.stream
	}
	c.mu.Lock()
	timed := c.timed
	c.mu.Unlock()
	if timed != nil {
		return timed.Value(key)
	}
	return c.parent.Value(key)
}

// transportKey is the key under which grpc looks for the stream of a call.
var transportKey = func() any {
	var p probe
	grpc.ServerTransportStreamFromContext(&p)
	return p.key
}()

// probe is a context that remembers what it was asked for.
type probe struct {
	context.Context
	key any
}

// Value implements context.Context.
func (p *probe) Value(key any) any {
	p.key = key
	return nil
}
