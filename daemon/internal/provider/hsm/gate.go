package hsm

import (
	"context"
	"sync"
)

// gate lets calls into a library, and lets one caller shut it: C_Finalize while another thread is inside the library
// is undefined by the standard and crashes real ones. It is no lock: those inside do not exclude each other, and
// whoever waits ends with its context.
type gate struct {
	mu      sync.Mutex
	inside  int
	shut    chan struct{} // not nil while somebody has the gate shut; closed when it opens
	drained chan struct{} // not nil while somebody waits for the last one inside; closed when it has left
}

// enter waits until the gate is open and goes in.
func (g *gate) enter(ctx context.Context) error {
	for {
		g.mu.Lock()
		if g.shut == nil {
			g.inside++
			g.mu.Unlock()
			return nil
		}
		shut := g.shut
		g.mu.Unlock()
		select {
		case <-shut:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// leave goes out.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.inside == 0 && g.drained != nil {
		close(g.drained)
		g.drained = nil
	}
}

// close shuts the gate and waits until nobody is inside. On an error the gate is open again. The caller must not be
// inside.
func (g *gate) close(ctx context.Context) error {
	for {
		g.mu.Lock()
		if g.shut == nil {
			break
		}
		shut := g.shut
		g.mu.Unlock()
		select {
		case <-shut:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	g.shut = make(chan struct{})
	if g.inside == 0 {
		g.mu.Unlock()
		return nil
	}
	drained := make(chan struct{})
	g.drained = drained
	g.mu.Unlock()
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		g.mu.Lock()
		g.drained = nil
		g.mu.Unlock()
		g.open()
		return ctx.Err()
	}
}

// open opens the gate that close has shut.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.shut)
	g.shut = nil
}
