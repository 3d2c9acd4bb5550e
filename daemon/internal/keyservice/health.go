package keyservice

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/breaker"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// The ways in which a provider fails, as opposed to refusing something. They alone open its breaker: a key that was
// disabled must not keep the others from being used.
const (
	unavailable = "unavailable"
	throttled   = "throttled"
	timeout     = "timeout"
)

// failure tells in which way a provider has failed; empty if it has done something, or has refused it.
func failure(err error) string {
	if err == nil || errors.Is(err, context.Canceled) {
		return ""
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return timeout
	}
	switch fault.From(err).Kind {
	case fault.DeviceError, fault.DeviceRemoved:
		return unavailable
	case fault.Throttled:
		return throttled
	case fault.DeadlineExceeded:
		return timeout
	}
	return ""
}

// leastWait is how long a provider was waited for at least before a call that ran out of time counts against it: an
// application with a short timeout must not keep the others from it.
const leastWait = 250 * time.Millisecond

// ask asks a provider for something, unless its breaker is open, and notes how long it took and what became of it.
func ask[Result any](ctx context.Context, s *Service, b *backend, what string, do func(context.Context) (Result, error)) (result Result, err error) {
	call, ok := b.breaker.Begin()
	if !ok {
		return result, b.brokenFault()
	}
	// Where do panics, the call has said nothing of the provider; without this the breaker would wait for it for ever.
	outcome, cause := breaker.Neither, error(nil)
	defer func() { s.ended(ctx, b, call, outcome, cause) }()
	began := time.Now()
	result, err = do(ctx)
	s.metrics.asked(b, what, time.Since(began), err)
	switch failed := failure(err); {
	case failed == timeout && time.Since(began) < leastWait:
		// The caller had no time to give.
	case failed != "":
		outcome, cause = breaker.Failed, settle(err)
	case ctx.Err() == nil:
		// Who refuses is there.
		outcome = breaker.Succeeded
	}
	return result, err
}

// ended tells the breaker what became of a call, and the log what that changes.
func (s *Service) ended(ctx context.Context, b *backend, call breaker.Call, outcome breaker.Outcome, cause error) {
	if outcome != breaker.Failed {
		call.Done(outcome, nil)
		return
	}
	before := b.breaker.Status().State
	call.Done(outcome, cause)
	if now := b.breaker.Status(); before == breaker.Closed && now.State == breaker.Open {
		s.log.LogAttrs(ctx, slog.LevelError, "the provider fails and is passed over until it serves again", slog.String("provider", b.name),
			slog.Int("failures", now.Failures), slog.Time("retry", now.Retry), slog.String("cause", cause.Error()))
	}
}

// brokenFault says why a provider is not asked. Its kind is that of the last cause, so that a caller who may try again
// does.
func (b *backend) brokenFault() error {
	status := b.breaker.Status()
	if status.Cause == nil {
		return fault.New(fault.DeviceError, "provider %s has just failed; call again", b.name)
	}
	return fault.New(fault.From(status.Cause).Kind, "provider %s has failed since %s, %d times in a row, and is not asked before %s; see anyhsm provider list. The last cause: %w",
		b.name, status.Since.UTC().Format(time.RFC3339), status.Failures, status.Retry.UTC().Format(time.RFC3339), status.Cause)
}
