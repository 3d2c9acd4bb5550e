package vault

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// errClosed ends calls under way.
var errClosed = errors.New("the provider is closed")

// Attempts wait from firstWait to longestWait between each other. What is throttled is tried until the deadline, what
// failed otherwise maxAttempts times. All calls may be repeated: Vault makes a key of a name once.
const (
	firstWait   = 100 * time.Millisecond
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
		return fault.New(fault.DeadlineExceeded, "Vault did not %s in time: %w; look at the network to the server, or raise the timeout", action, err)
	default:
		return fault.New(fault.FunctionCanceled, "the call to %s was given up: %w", action, err)
	}
}

// request is one call of the API.
type request struct {
	// action is what people call it, key the key that it is about.
	action, key string
	// method and path are the request's, below /v1/.
	method, path string
	in           any
}

func (r request) String() string {
	if r.key == "" {
		return r.action
	}
	return r.action + " " + r.key
}

// capability is what a policy must have on the path.
func (r request) capability() string {
	switch {
	case r.method == http.MethodDelete:
		return "delete"
	case r.method == http.MethodPost:
		return "update"
	case r.action == actionList:
		return "list"
	}
	return "read"
}

// call makes a call with the daemon's token, logs in anew where the token is not accepted any more, and reads the answer's
// data into out, nil for none. Its error says what to do.
func (p *Provider) call(ctx context.Context, r request, out any) error {
	if err := p.ready(ctx, r.String()); err != nil {
		return err
	}
	ctx, cancel := p.bounded(ctx)
	defer cancel()
	for renewed := false; ; renewed = true {
		token, fresh, err := p.token(ctx)
		if err != nil {
			return err
		}
		a, err := p.persist(ctx, r, token)
		if err == nil {
			defer clear(a.Data)
			return decode(a.Data, out)
		}
		if statusOf(err) == http.StatusForbidden && !fresh && !renewed && !p.accepted(ctx, token) {
			p.session.forget(token)
			continue
		}
		return p.explain(ctx, r, err)
	}
}

// decode reads an answer's data.
func decode(data json.RawMessage, out any) error {
	if out == nil {
		return nil
	}
	if len(data) == 0 || json.Unmarshal(data, out) != nil {
		return fault.New(fault.FunctionFailed, "the answer's data are not what Vault's transit engine sends; look at address and mount")
	}
	return nil
}

// persist sends a request, again where that helps.
func (p *Provider) persist(ctx context.Context, r request, token string) (answer, error) {
	wait := firstWait
	for attempt := 1; ; attempt++ {
		a, err := p.attempt(ctx, r, token)
		if err == nil || ctx.Err() != nil {
			return a, err
		}
		var refused *refusal
		throttled, failed, pause := false, true, wait/2+rand.N(wait/2)
		if errors.As(err, &refused) {
			throttled = refused.status == http.StatusTooManyRequests || refused.status == http.StatusServiceUnavailable && refused.after > 0
			failed = refused.passing()
			pause = max(pause, refused.after)
		}
		if !throttled && (!failed || attempt >= maxAttempts) {
			return a, err
		}
		wait = min(2*wait, longestWait)
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= pause {
			// "Throttled" is a better answer than "too late", and now is better than later.
			return a, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// attempt sends a request once, and leaves time for another.
func (p *Provider) attempt(ctx context.Context, r request, token string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, p.config.AttemptTimeout)
	defer cancel()
	return p.client.send(ctx, r.method, r.path, token, r.in)
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
		if errors.Is(context.Cause(ctx), errClosed) {
			return none, fault.New(fault.DeviceError, "the provider cannot %s: it was closed, the daemon ends", name)
		}
		return none, ended(ctx, name)
	}
}
