package daemonclient

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// How long an endpoint that has failed is left alone before it is looked at again: from the one to the other, doubled
// each time, and shortened or stretched by chance, so that a thousand applications do not all come at once.
const (
	firstRest = 500 * time.Millisecond
	lastRest  = 15 * time.Second
)

// endpoint is one of the daemon's replicas, with what this process knows of its health.
type endpoint struct {
	channel
	// suspect says that it has failed and nothing has been heard of it since: calls go to others.
	suspect atomic.Bool

	mu      sync.Mutex
	rest    time.Duration
	until   time.Time
	probing bool
}

// failed makes the endpoint suspect.
func (e *endpoint) failed() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.suspect.Load() && time.Now().Before(e.until) {
		return // calls that failed together count once
	}
	e.rest = min(max(2*e.rest, firstRest), lastRest)
	e.until = time.Now().Add(e.rest/2 + rand.N(e.rest))
	e.suspect.Store(true)
}

// answered clears the endpoint of suspicion.
func (e *endpoint) answered() {
	if !e.suspect.Load() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rest = 0
	e.suspect.Store(false)
}

// due tells whether a suspect is to be looked at now, by the one who asks.
func (e *endpoint) due() bool {
	if !e.suspect.Load() {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.probing || time.Now().Before(e.until) {
		return false
	}
	e.probing = true
	return true
}

// alive asks the health service. A daemon that does not serve, as one that is being stopped or has lost its store, is
// as good as none. One that has no such service answers as well.
func (e *endpoint) alive(ctx context.Context) bool {
	var answer healthv1.HealthCheckResponse
	err := e.Invoke(ctx, healthv1.Health_Check_FullMethodName, &healthv1.HealthCheckRequest{}, &answer)
	switch status.Code(err) {
	case codes.OK:
		return answer.GetStatus() == healthv1.HealthCheckResponse_SERVING
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown:
		return false
	}
	return true
}

// spread puts endpoints into the order in which this process prefers them: sockets on the same host first, and among
// equals by chance, so that processes spread over the replicas.
func spread(channels []channel) []*endpoint {
	endpoints := make([]*endpoint, 0, len(channels))
	for _, near := range []bool{true, false} {
		for _, i := range rand.Perm(len(channels)) {
			if strings.HasPrefix(channels[i].Name(), "unix:") == near {
				endpoints = append(endpoints, &endpoint{channel: channels[i]})
			}
		}
	}
	return endpoints
}

// round is one turn through the endpoints.
type round struct {
	endpoints []*endpoint
	tried     map[*endpoint]bool
}

// next returns the endpoint to try: the first that is not suspect, or any where all are. It returns nil when the round
// is over: a call does not try suspects while somebody else is well and only too busy for it.
func (r *round) next() *endpoint {
	var suspect *endpoint
	well := false
	for _, e := range r.endpoints {
		switch {
		case !e.suspect.Load():
			if !r.tried[e] {
				return r.try(e)
			}
			well = true
		case !r.tried[e] && suspect == nil:
			suspect = e
		}
	}
	if well || suspect == nil {
		return nil
	}
	return r.try(suspect)
}

func (r *round) try(e *endpoint) *endpoint {
	if r.tried == nil {
		r.tried = make(map[*endpoint]bool, len(r.endpoints))
	}
	r.tried[e] = true
	return e
}

// errSilent is why an attempt ends whose endpoint does not even answer the health check.
var errSilent = errors.New("the daemon takes calls and does not answer, not even whether it is well; it may be stopped, overloaded or cut off")

// watch looks whether an endpoint is well that keeps a call waiting, time and again, and ends the attempt when it is
// not. A call that is only slow, as making a long RSA key is, may take its time.
func (c *Client) watch(ctx context.Context, e *endpoint, patience time.Duration, leave context.CancelCauseFunc) {
	if !c.enter() {
		return
	}
	defer c.calls.Done()
	for ctx.Err() == nil {
		probe, cancel := context.WithTimeout(ctx, patience)
		well := e.alive(probe)
		cancel()
		if !well {
			leave(errSilent)
			return
		}
		sleep(ctx, patience)
	}
}

// reconsider looks at suspects whose rest is over, without keeping anybody waiting: the next call finds those that are
// well again.
func (c *Client) reconsider() {
	for _, e := range c.endpoints {
		if !e.due() {
			continue
		}
		go func() {
			well := false
			if c.enter() {
				defer c.calls.Done()
				e.Hurry()
				ctx, cancel := context.WithTimeout(c.ctx, connectTimeout)
				defer cancel()
				well = e.alive(ctx)
			}
			e.mu.Lock()
			e.probing = false
			e.mu.Unlock()
			if well {
				e.answered()
			} else {
				e.failed()
			}
		}()
	}
}
