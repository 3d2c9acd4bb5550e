package hsm

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// session is an open session of a link, used by one call at a time.
type session struct {
	client
	link   *link
	handle pkcs11.SessionHandle
	pin    string
}

// pool keeps the sessions that nobody uses. A permit stands for each session that may be open, so callers wait for a
// permit when the HSM is busy.
type pool struct {
	permits chan struct{}
	mu      sync.Mutex
	idle    []*session
}

func newPool(size int) *pool {
	p := &pool{permits: make(chan struct{}, size)}
	for range size {
		p.permits <- struct{}{}
	}
	return p
}

func (p *pool) take() *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	// The one used last: its state is warm, and the others may be let time out.
	s := p.idle[len(p.idle)-1]
	p.idle = p.idle[:len(p.idle)-1]
	return s
}

func (p *pool) put(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, s)
}

// attempts is how often a call is tried: on a session that was lost, on a link that was lost, on a library re-opened.
const attempts = 4

// do runs f in a session, and again on a new session, link or library when the one at hand turns out to be lost: so f
// must do no harm when it is repeated. It returns when the context ends; a library call cannot be interrupted, so f may
// then go on without us and gives its session back at its end.
func do[T any](ctx context.Context, p *Provider, operation string, f func(context.Context, *session) (T, error)) (T, error) {
	var none T
	if err := p.admit(ctx, operation); err != nil {
		return none, err
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if defect := recover(); defect != nil {
				p.log.Error("a defect in provider hsm", "operation", operation, "panic", defect, "stack", string(debug.Stack()))
				r.err = fault.New(fault.Internal, "%s: a defect in AnyHSM; the log has the place", operation)
			}
			p.pool.permits <- struct{}{}
			done <- r
		}()
		r.value, r.err = attempt(ctx, p, f)
	}()
	select {
	case r := <-done:
		return r.value, p.explain(operation, r.err)
	case <-ctx.Done():
		go func() { wipe((<-done).value) }()
		return none, p.explain(operation, interrupted(ctx, operation))
	}
}

// wipe overwrites a result that nobody waits for any more, if it may be secret.
func wipe(value any) {
	switch v := value.(type) {
	case []byte:
		clear(v)
	case cryptoki.Attributes:
		for _, a := range v {
			clear(a.Value)
		}
	}
}

// admit waits for a permit.
func (p *Provider) admit(ctx context.Context, operation string) error {
	if ctx.Err() != nil {
		return p.explain(operation, interrupted(ctx, operation))
	}
	select {
	case <-p.closed:
		return p.explain(operation, errClosed)
	default:
	}
	select {
	case <-p.pool.permits:
		return nil
	case <-p.closed:
		return p.explain(operation, errClosed)
	case <-ctx.Done():
		return p.explain(operation, interrupted(ctx, "waiting for a free session (all are busy: raise `sessions` if the HSM allows it) to "+operation))
	}
}

var errClosed = fault.New(fault.DeviceError, "the connection to the HSM is closed because the daemon stops")

// attempt holds a permit.
func attempt[T any](ctx context.Context, p *Provider, f func(context.Context, *session) (T, error)) (T, error) {
	for try := 1; ; try++ {
		var value T
		epoch, err := p.library.enter(ctx)
		if err != nil {
			return value, err
		}
		s, err := p.session(ctx, epoch)
		if err == nil {
			if value, err = f(ctx, s); err == nil {
				p.pool.put(s)
				p.library.leave()
				return value, nil
			}
			p.dismiss(s, err)
		}
		p.library.leave()
		if try == attempts || ctx.Err() != nil {
			return value, err
		}
		var linking *linkError
		switch {
		case errors.As(err, &linking) && !p.linked.Load():
			// The token was never there: that is what New has to tell, at once.
			return value, err
		case errors.As(err, &linking):
			// Without a link nothing works for anybody, so the library itself is opened anew.
			p.log.Warn("the HSM is lost; opening its library again", "reason", err)
			if again := p.library.reopen(ctx, epoch); again != nil {
				return value, again
			}
		case sessionLost(err):
			p.log.Debug("an HSM session was lost", "reason", err)
		default:
			return value, err
		}
	}
}

// session returns an idle session of the link, or opens one. The caller is inside the library and holds a permit.
func (p *Provider) session(ctx context.Context, epoch uint64) (*session, error) {
	l, err := p.connect(ctx, epoch)
	if err != nil {
		return nil, err
	}
	for {
		s := p.pool.take()
		if s == nil {
			break
		}
		if s.link == l {
			return s, nil
		}
		p.discard(s.link, s.handle, epoch)
	}
	for {
		handle, err := p.openSession(l.slot, l.info)
		if err == nil {
			return &session{client: p.library.client, link: l, handle: handle, pin: p.config.PIN}, nil
		}
		if sessionLost(err) {
			p.drop(l, true)
		}
		// The HSM allows fewer than configured: wait for one that another call gives back, if there is any.
		if !is(err, cryptoki.CKR_SESSION_COUNT) || len(p.pool.permits) == cap(p.pool.permits)-1 {
			return nil, err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
		if s := p.pool.take(); s != nil && s.link == l {
			return s, nil
		}
	}
}

// discard closes a session of a former link, unless its handle may by now be that of a new session.
func (p *Provider) discard(l *link, handle pkcs11.SessionHandle, epoch uint64) {
	if l.epoch == epoch && !l.dead.Load() {
		_ = p.library.client.CloseSession(handle)
	}
}

// dismiss decides what becomes of a session after an error. The caller is inside the library.
func (p *Provider) dismiss(s *session, err error) {
	_, refused := returned(err)
	switch {
	case !refused:
		// An error of ours: the session is as good as before.
		p.pool.put(s)
	case is(err, cryptoki.CKR_USER_NOT_LOGGED_IN):
		p.pool.put(s)
		p.drop(s.link, false)
	case is(err, cryptoki.CKR_SESSION_HANDLE_INVALID, cryptoki.CKR_SESSION_CLOSED) || deviceLost(err):
		// Only this session, or all of them and with them the login?
		if in, check := loggedIn(p.library.client, s.link.anchor); check != nil || !in && p.config.PIN != "" || deviceLost(err) {
			p.drop(s.link, true)
		}
	default:
		// A call that failed between its Init and its end may have left an operation active.
		_ = p.library.client.CloseSession(s.handle)
	}
}

// drop forgets a link, so that the next call makes a new one. Dead tells that its session handles mean nothing any more.
func (p *Provider) drop(l *link, dead bool) {
	if dead {
		l.dead.Store(true)
	}
	p.link.CompareAndSwap(l, nil)
}
