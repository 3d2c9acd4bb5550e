// Package hsm is the provider that keeps keys in a PKCS#11 token: an HSM, a smart card, SoftHSM.
//
// A call goes through do (session.go): a permit of the pool, the library's gate (gate.go), a session of the present
// link (token.go). What the library returns is turned into a fault in errors.go.
package hsm

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Provider is one token of a PKCS#11 library.
type Provider struct {
	config       Config
	log          *slog.Logger
	library      *library
	capabilities provider.Capabilities
	traits       traits
	pool         *pool

	link       atomic.Pointer[link]
	linked     atomic.Bool   // there has been a link
	connecting chan struct{} // one at a time may connect; who does owns refused and former
	refused    error         // why the login is not tried again
	former     *link

	claims   claims
	listings listings

	closing sync.Once
	closed  chan struct{}
}

// New loads the library, finds the token, logs in and asks the token what it can do.
func New(ctx context.Context, config Config) (*Provider, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	p := &Provider{
		config: config, log: config.Log, connecting: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	if p.log == nil {
		p.log = slog.Default()
	}
	p.log = p.log.With("provider", config.Name)
	size := config.Sessions
	if size == 0 {
		size = DefaultSessions
	}
	p.pool = newPool(size)
	var err error
	if p.library, err = openLibrary(ctx, config.Library, config.InitArgs); err != nil {
		return nil, err
	}
	// A wrong PIN and the like keep their own kind here: it is the administrator who asks.
	_, err = do(ctx, p, "examine the token", func(_ context.Context, s *session) (struct{}, error) {
		return struct{}{}, p.examine(s)
	})
	if err != nil {
		if p.refused != nil {
			err = p.refused
		}
		_ = p.Close()
		return nil, err
	}
	return p, nil
}

// Capabilities tells what the token can do.
func (p *Provider) Capabilities() provider.Capabilities { return p.capabilities }

// Close ends the sessions and lets go of the library. It waits a short time for calls that are still in it.
func (p *Provider) Close() error {
	p.closing.Do(func() {
		close(p.closed)
		p.listings.clear()
		ctx, cancel := context.WithTimeout(context.Background(), closeWait)
		defer cancel()
		complete := true
		for range cap(p.pool.permits) {
			select {
			case <-p.pool.permits:
			case <-ctx.Done():
				complete = false
			}
		}
		if complete {
			p.closeSessions(ctx)
		} else {
			p.log.Warn("calls are still in the HSM's library after waiting; their sessions stay open", "waited", closeWait.Round(time.Second))
		}
		p.library.release()
	})
	return nil
}

func (p *Provider) closeSessions(ctx context.Context) {
	epoch, err := p.library.enter(ctx)
	if err != nil {
		return
	}
	defer p.library.leave()
	for s := p.pool.take(); s != nil; s = p.pool.take() {
		p.discard(s.link, s.handle, epoch)
	}
	if l := p.link.Swap(nil); l != nil {
		// The login goes with the last session that this process has on the token.
		p.discard(l, l.anchor, epoch)
	}
}

// check tells what is missing or contradictory.
func (c Config) check() error {
	named := 0
	for _, given := range []bool{c.TokenLabel != "", c.Serial != "", c.Slot != nil} {
		if given {
			named++
		}
	}
	switch {
	case c.Library == "":
		return fault.New(fault.ArgumentsBad, "provider %s names no `library`; give the path of the HSM's PKCS#11 library", c.Name)
	case named != 1:
		return fault.New(fault.ArgumentsBad, "provider %s must name its token with exactly one of `token` (label), `serial` and `slot`", c.Name)
	case c.Sessions < 0:
		return fault.New(fault.ArgumentsBad, "provider %s: `sessions` is %d; it must be positive", c.Name, c.Sessions)
	}
	return nil
}

// which names the token as the configuration does.
func (c Config) which() string {
	switch {
	case c.TokenLabel != "":
		return fmt.Sprintf("the label %q", c.TokenLabel)
	case c.Serial != "":
		return fmt.Sprintf("the serial number %q", c.Serial)
	default:
		return fmt.Sprintf("the slot number %d", *c.Slot)
	}
}

var (
	_ provider.Provider      = (*Provider)(nil)
	_ provider.Importer      = (*Provider)(nil)
	_ provider.Destroyer     = (*Provider)(nil)
	_ provider.Lister        = (*Provider)(nil)
	_ provider.RandomSource  = (*Provider)(nil)
	_ provider.HealthChecker = (*Provider)(nil)
)
