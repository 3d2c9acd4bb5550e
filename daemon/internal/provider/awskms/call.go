package awskms

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"

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
		return fault.New(fault.DeadlineExceeded, "AWS KMS did not %s in time: %w; look at the network to the service, or raise the timeout", action, err)
	default:
		return fault.New(fault.FunctionCanceled, "the call to %s was given up: %w", action, err)
	}
}

// a callee is a method of client.
type callee[In, Out any] func(context.Context, *In, ...func(*kms.Options)) (*Out, error)

// call makes one call of the service: it ends with the context or with the provider, and its error says what to do.
func call[In, Out any](ctx context.Context, p *Provider, permission, key string, method callee[In, Out], in *In) (*Out, error) {
	return invoke(ctx, p, permission, key, false, method, in)
}

func invoke[In, Out any](ctx context.Context, p *Provider, permission, key string, once bool, method callee[In, Out], in *In) (*Out, error) {
	action := permission + " " + key
	if err := p.ready(ctx, action); err != nil {
		return nil, err
	}
	working, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(p.life, func() { cancel(errClosed) })
	defer stop()
	out, err := method(working, in, p.bounded(ctx, once))
	if err == nil {
		return out, nil
	}
	if errors.Is(context.Cause(working), errClosed) {
		return nil, fault.New(fault.DeviceError, "the provider cannot %s: it was closed, the daemon ends", action)
	}
	if codeOf(err) == "" {
		if err := ended(ctx, action); err != nil {
			return nil, err
		}
	}
	return nil, p.explain(permission, key, err)
}

// flights lets one goroutine do what several want, and go on when the one that began it has gone: a key that is being
// made for a caller who gives up must be there for the caller's next attempt.
type flights[T any] struct {
	mu     sync.Mutex
	flying map[string]*flight[T]
}

type flight[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// join runs do under a name, or waits for the run that there is; then it calls spare, where one is given, instead.
func (f *flights[T]) join(ctx context.Context, name string, limit time.Duration, do func(context.Context) (T, error), spare ...func()) (T, error) {
	f.mu.Lock()
	flying, ok := f.flying[name]
	if ok {
		for _, instead := range spare {
			instead()
		}
	} else {
		if f.flying == nil {
			f.flying = map[string]*flight[T]{}
		}
		flying = &flight[T]{done: make(chan struct{})}
		f.flying[name] = flying
		detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		go func() {
			defer cancel()
			flying.value, flying.err = do(detached)
			f.mu.Lock()
			delete(f.flying, name)
			f.mu.Unlock()
			close(flying.done)
		}()
	}
	f.mu.Unlock()
	select {
	case <-flying.done:
		return flying.value, flying.err
	case <-ctx.Done():
		var none T
		return none, ended(ctx, "finish "+name)
	}
}
