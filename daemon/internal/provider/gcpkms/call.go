package gcpkms

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	gax "github.com/googleapis/gax-go/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// errClosed ends calls under way.
var errClosed = errors.New("the provider is closed")

// ready tells why a call cannot even begin.
func (p *Provider) ready(ctx context.Context, action string) error {
	if p.life.Err() != nil {
		return fault.New(fault.DeviceError, "the provider cannot %s: it is closed, the daemon ends", action)
	}
	return ended(ctx, action)
}

// ended makes an error of a context that has ended.
func ended(ctx context.Context, action string) error {
	switch err := ctx.Err(); {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return fault.New(fault.DeadlineExceeded, "Google Cloud KMS did not %s in time: %w; look at the network to the service, or raise the timeout", action, err)
	default:
		return fault.New(fault.FunctionCanceled, "the call to %s was given up: %w", action, err)
	}
}

// bounded is a context that ends with the caller's and with the provider, and has a deadline.
func (p *Provider) bounded(ctx context.Context) (context.Context, func()) {
	working, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(p.life, func() { cancel(errClosed) })
	release := func() { stop(); cancel(nil) }
	if _, ok := working.Deadline(); ok {
		return working, release
	}
	timed, end := context.WithTimeout(working, p.config.CallTimeout)
	return timed, func() { end(); release() }
}

type callOption = gax.CallOption

// a callee is a method of client.
type callee[In, Out any] func(context.Context, *In, ...callOption) (*Out, error)

// a permission is named in errors as IAM has it, and says whether a call may be made twice.
type permission struct {
	name string
	// once tells that only an attempt is repeated which the service has certainly refused.
	once bool
}

const (
	firstPause = 50 * time.Millisecond
	mostPause  = 3 * time.Second
	// attempts bounds them; the deadline mostly comes first.
	attempts = 8
)

// call makes one call of the service, again where that helps while there is time. It ends with the context or with the
// provider, and its error says what to do.
func call[In, Out any](ctx context.Context, p *Provider, allowed permission, resource string, method callee[In, Out], in *In) (*Out, error) {
	action := allowed.name + " " + resource
	if err := p.ready(ctx, action); err != nil {
		return nil, err
	}
	working, release := p.bounded(ctx)
	defer release()
	pause := firstPause
	for attempt := 1; ; attempt++ {
		trying, cancel := context.WithTimeout(working, p.config.AttemptTimeout)
		out, err := method(trying, in)
		cancel()
		if err == nil {
			return out, nil
		}
		if errors.Is(context.Cause(working), errClosed) {
			return nil, fault.New(fault.DeviceError, "the provider cannot %s: it was closed, the daemon ends", action)
		}
		if err := ended(ctx, action); err != nil {
			return nil, err
		}
		// Half of the pause is left to chance, so that many callers do not come back at once.
		wait := pause/2 + rand.N(pause/2)
		deadline, _ := working.Deadline()
		if !again(err, allowed.once) || attempt == attempts || time.Until(deadline) <= wait {
			return nil, p.explain(ctx, allowed, resource, err)
		}
		pause = min(2*pause, mostPause)
		select {
		case <-time.After(wait):
		case <-working.Done():
		}
	}
}

// again tells that another attempt may help.
func again(err error, once bool) bool {
	switch status.Code(err) {
	case codes.ResourceExhausted:
		return true
	case codes.Unavailable, codes.DeadlineExceeded, codes.Internal, codes.Aborted, codes.Unknown:
		return !once
	}
	return false
}

// pause waits; false when the context or the provider has ended.
func (p *Provider) pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
	case <-p.life.Done():
	}
	return false
}
