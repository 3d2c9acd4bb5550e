package daemonclient

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/wire"
)

// The pause after all endpoints have failed doubles from the one to the other.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// An endpoint that keeps a call waiting for this share of its time, and no less than this, is asked whether it is well.
const (
	quietShare = 20
	leastQuiet = 50 * time.Millisecond
)

// Invoke makes a call. It tries one endpoint after the other, those that are well first, with growing pauses, until
// one answers or the context's deadline passes; a call that must not be repeated is tried once. The error is a *fault.Error.
func (c *Client) Invoke(ctx context.Context, method string, request, reply any, options ...grpc.CallOption) error {
	if !c.enter() {
		return errClosed()
	}
	defer c.calls.Done()
	heap.used()
	kind, err := prepare(method, request)
	if err != nil {
		return err
	}
	if len(c.endpoints) > 1 {
		c.reconsider()
	}
	var last *fault.Error
	pause, patience := firstPause, c.quiet
	turn := round{endpoints: c.endpoints}
	for attempt := 1; ; attempt++ {
		endpoint := turn.next()
		if endpoint == nil {
			if !sleep(ctx, pause/2+rand.N(pause/2+1)) {
				if c.ctx.Err() != nil {
					return errClosed()
				}
				c.log.Error("no endpoint served a call in time", "call", method, "attempts", attempt-1, "reason", last.Message)
				return last
			}
			// Whoever did not answer in time may be busy: it gets more of it in the next round.
			pause, patience = min(2*pause, lastPause), 2*patience
			turn = round{endpoints: c.endpoints}
			endpoint = turn.next()
		}
		err := c.attempt(ctx, endpoint, kind, patience, method, request, reply, options...)
		if err == nil {
			c.connected.Store(true)
			endpoint.answered()
			return nil
		}
		failure := fault.From(wire.ErrorFromStatus(err))
		if c.ctx.Err() != nil {
			return errClosed()
		}
		if ctx.Err() != nil {
			// The deadline hides why the attempts before it failed, and that is what people need.
			if last != nil {
				failure = last
			}
			c.log.Error("the daemon did not serve a call in time", "call", method, "endpoint", endpoint.Name(),
				"attempts", attempt, "reason", failure.Message)
			return failure
		}
		if kind == once || !passing(err, failure) {
			c.log.Info("a call failed", "call", method, "endpoint", endpoint.Name(), "rv", failure.RV(),
				"reason", failure.Message)
			return failure
		}
		last = failure
		c.log.Warn("a call is tried again", "call", method, "endpoint", endpoint.Name(), "attempt", attempt,
			"reason", failure.Message)
		endpoint.Hurry()
		if failure.Kind != fault.Conflict && failure.Kind != fault.Throttled {
			endpoint.failed()
		}
	}
}

// attempt tries a call on one endpoint. Where there are others, an endpoint that takes a call and does not answer must not
// use up all the time: one that is not well is left soon, and one that says it is well gets half of what is left for a
// call that reads. A call that changes something may rightly be slow, as making a long RSA key is.
func (c *Client) attempt(ctx context.Context, to *endpoint, kind nature, patience time.Duration, method string, request, reply any, options ...grpc.CallOption) error {
	if len(c.endpoints) == 1 || kind == once {
		return to.Invoke(ctx, method, request, reply, options...)
	}
	if deadline, ok := ctx.Deadline(); ok && kind == reads {
		share, cancel := context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
		ctx = share
	}
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	defer time.AfterFunc(patience, func() { c.watch(ctx, to, patience, leave) }).Stop()
	err := to.Invoke(ctx, method, request, reply, options...)
	if err != nil && context.Cause(ctx) == errSilent {
		return fault.New(fault.DeviceError, "endpoint %s: %w", to.Name(), errSilent)
	}
	return err
}

// NewStream is what grpc.ClientConnInterface wants; no call of ours is a stream.
func (c *Client) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, fault.New(fault.FunctionNotSupported, "the module makes no streaming calls; use a unary one")
}

// passing tells whether a failure may pass: the same call may succeed later or elsewhere.
func passing(err error, failure *fault.Error) bool {
	// A daemon that is being stopped cancels what it is doing.
	return failure.Kind.Row().Retry || status.Code(err) == codes.Canceled
}

// sleep waits; false if the context ended first.
func sleep(ctx context.Context, pause time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= pause {
		// Nothing could be tried after the pause.
		pause = time.Until(deadline)
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
