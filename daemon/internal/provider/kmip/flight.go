package kmip

import (
	"context"
	"sync"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
)

// flightTime bounds making a key whose caller may have given up.
const flightTime = 2 * time.Minute

// flights are the keys that are being made. A repeated request joins the one that is under way: while the server is still
// at it, it would not find the key and make a second one.
type flights struct {
	mu      sync.Mutex
	running map[string]*flight
	closed  bool
}

type flight struct {
	done      chan struct{}
	generated provider.Generated
	err       error
}

func (f *flights) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
}

// fly makes a key beside the caller, who may give up before it is done.
func (p *Provider) fly(ctx context.Context, uid, doing string, do func(context.Context) (provider.Generated, error)) (provider.Generated, error) {
	f, err := p.start(uid, do)
	if err != nil {
		return provider.Generated{}, err
	}
	select {
	case <-f.done:
		return f.generated, f.err
	case <-ctx.Done():
		return provider.Generated{}, p.ended(ctx, doing)
	}
}

func (p *Provider) start(uid string, do func(context.Context) (provider.Generated, error)) (*flight, error) {
	p.flights.mu.Lock()
	defer p.flights.mu.Unlock()
	if err := p.closed(); err != nil || p.flights.closed {
		return nil, errClosed
	}
	if f, ok := p.flights.running[uid]; ok {
		return f, nil
	}
	f := &flight{done: make(chan struct{})}
	if p.flights.running == nil {
		p.flights.running = map[string]*flight{}
	}
	p.flights.running[uid] = f
	p.work.Go(func() {
		ctx, cancel := context.WithTimeout(p.life, flightTime)
		defer cancel()
		f.generated, f.err = do(ctx)
		p.flights.mu.Lock()
		delete(p.flights.running, uid)
		p.flights.mu.Unlock()
		close(f.done)
	})
	return f, nil
}
