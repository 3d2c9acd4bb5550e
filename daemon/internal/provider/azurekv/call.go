package azurekv

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"golang.org/x/sync/singleflight"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// errClosed ends calls under way.
var errClosed = errors.New("the provider is closed")

// Attempts wait from firstWait to longestWait between each other. What is throttled is tried until the deadline, what
// failed otherwise maxAttempts times.
const (
	firstWait   = 200 * time.Millisecond
	longestWait = 5 * time.Second
	maxAttempts = 4
)

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
		return fault.New(fault.DeadlineExceeded, "Azure did not %s in time: %w; look at the network to the vault, or raise the timeout", action, err)
	default:
		return fault.New(fault.FunctionCanceled, "the call to %s was given up: %w", action, err)
	}
}

// request is what is known of a call: the operation as roles name it, and the key that it is about.
type request struct {
	operation operation
	key       string
	// once tells that only an attempt which the service has certainly refused is repeated: another one of CreateKey
	// would make a second version.
	once bool
}

func (r request) action() string {
	if r.key == "" {
		return r.operation.name
	}
	return r.operation.name + " " + r.key
}

// call makes a call of the service, again where that helps, and ends with the context or with the provider. Its error
// says what to do.
func call[T any](ctx context.Context, p *Provider, r request, method func(context.Context) (T, error)) (T, error) {
	var none T
	if err := p.ready(ctx, r.action()); err != nil {
		return none, err
	}
	ctx, cancel := p.bounded(ctx)
	defer cancel()
	wait := firstWait
	for attempt := 1; ; attempt++ {
		value, err := try(ctx, p, method)
		if err == nil {
			return value, nil
		}
		if errors.Is(context.Cause(ctx), errClosed) {
			return none, fault.New(fault.DeviceError, "the provider cannot %s: it was closed, the daemon ends", r.action())
		}
		status := statusOf(err)
		if status == 0 {
			if err := ended(ctx, r.action()); err != nil {
				return none, err
			}
		}
		throttled := status == http.StatusTooManyRequests
		failed := status == 0 && !refusedSignIn(err) || status == http.StatusRequestTimeout || status >= 500
		explained := p.explain(r, err)
		if !throttled && (!failed || r.once || attempt >= maxAttempts) {
			return none, explained
		}
		pause := max(retryAfter(err), wait/2+rand.N(wait/2))
		wait = min(2*wait, longestWait)
		deadline, _ := ctx.Deadline()
		if time.Until(deadline) <= pause {
			// "Throttled" is a better answer than "too late", and now is better than later.
			return none, explained
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// bounded gives a context a deadline, and ends it with the provider.
func (p *Provider) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	cancel := func() {}
	if _, ok := ctx.Deadline(); !ok {
		ctx, cancel = context.WithTimeout(ctx, p.config.CallTimeout)
	}
	bound, end := context.WithCancelCause(ctx)
	stop := context.AfterFunc(p.life, func() { end(errClosed) })
	return bound, func() {
		stop()
		end(nil)
		cancel()
	}
}

// try makes one attempt, which must leave time for another.
func try[T any](ctx context.Context, p *Provider, method func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, p.config.AttemptTimeout)
	defer cancel()
	return method(ctx)
}

// statusOf returns the HTTP status that the service answered with; 0 if it did not.
func statusOf(err error) int {
	var answered *azcore.ResponseError
	if errors.As(err, &answered) {
		return answered.StatusCode
	}
	return 0
}

// retryAfter returns how long the service wants to be left alone.
func retryAfter(err error) time.Duration {
	var answered *azcore.ResponseError
	if !errors.As(err, &answered) || answered.RawResponse == nil {
		return 0
	}
	text := answered.RawResponse.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(max(seconds, 0), 86400)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return time.Until(at)
	}
	return 0
}

// join runs do under a name, or waits for the run that there is. The work goes on when the one that began it has gone:
// a key that is being made for a caller who gives up must be there for the caller's next attempt.
func join[T any](ctx context.Context, p *Provider, group *singleflight.Group, name string, do func(context.Context) (T, error)) (T, error) {
	var none T
	done := group.DoChan(name, func() (any, error) {
		detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.config.CallTimeout)
		defer cancel()
		return do(detached)
	})
	select {
	case result := <-done:
		if result.Err != nil {
			return none, result.Err
		}
		return result.Val.(T), nil
	case <-ctx.Done():
		return none, ended(ctx, "finish "+name)
	}
}
