package daemonclient

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/p11module/internal/config"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// prefer puts the endpoint with this path first, which is chance otherwise.
func prefer(c *Client, path string) {
	slices.SortStableFunc(c.endpoints, func(a, b *endpoint) int {
		return strings.Compare(b.Name()[len("unix://"):], a.Name()[len("unix://"):])
	})
	for c.endpoints[0].Name() != "unix://"+path {
		c.endpoints = append(c.endpoints[1:], c.endpoints[0])
	}
}

// healthy gives a server the health service that the daemon has; gate is asked before each answer.
func healthy(t *testing.T, path, name string, gate func()) (*server, *health.Server) {
	t.Helper()
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	h := health.NewServer()
	s := serveWith(t, listener, name, nil, func(s *server) { healthv1.RegisterHealthServer(s.grpc, gated{h, gate}) })
	return s, h
}

type gated struct {
	*health.Server
	gate func()
}

func (g gated) Check(ctx context.Context, r *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	if g.gate != nil {
		g.gate()
	}
	return g.Server.Check(ctx, r)
}

// TestSilentEndpoint: one that answers nothing at all is left soon, also by a call that changes something, is avoided
// afterwards, and is used again when it is back.
func TestSilentEndpoint(t *testing.T) {
	dir := sockets(t)
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	var hold atomic.Pointer[chan struct{}]
	held := make(chan struct{})
	hold.Store(&held)
	wait := func() {
		if h := hold.Load(); h != nil {
			<-*h
		}
	}
	first, _ := healthy(t, a, "first", wait)
	first.answer = func(int) error { wait(); return nil }
	second, _ := healthy(t, b, "second", nil)
	c := newClient(t, config.Config{Endpoints: []string{"unix://" + a, "unix://" + b}, Timeout: 20 * time.Second})
	c.quiet = 100 * time.Millisecond
	prefer(c, a)
	ctx, cancel := c.Call()
	defer cancel()
	began := time.Now()
	if _, err := c.Objects.DestroyObject(ctx, &anyhsmv1.DestroyObjectRequest{Header: &anyhsmv1.CallHeader{}}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 150*time.Millisecond || took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	calls, ids := first.seen()
	if _, others := second.seen(); calls != 1 || len(others) != 1 || ids[0] != others[0] {
		t.Errorf("request ids %v and %v", ids, others)
	}
	for range 50 {
		if name, err := listSlots(c); name != "second" {
			t.Fatalf("%q answered, %v", name, err)
		}
	}
	if calls, _ := first.seen(); calls != 1 {
		t.Errorf("%d calls went to the endpoint that hangs", calls)
	}
	hold.Store(nil)
	close(held)
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if name, err := listSlots(c); err != nil {
			t.Fatal(err)
		} else if name == "first" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the endpoint that came back is not used again")
		}
	}
}

// TestSlowIsNotSilent: a call that takes its time at an endpoint that is well is left alone.
func TestSlowIsNotSilent(t *testing.T) {
	dir := sockets(t)
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	first, _ := healthy(t, a, "first", nil)
	first.answer = func(int) error { time.Sleep(600 * time.Millisecond); return nil }
	second, _ := healthy(t, b, "second", nil)
	c := newClient(t, config.Config{Endpoints: []string{"unix://" + a, "unix://" + b}, Timeout: 20 * time.Second})
	c.quiet = 200 * time.Millisecond
	prefer(c, a)
	ctx, cancel := c.Call()
	defer cancel()
	if _, err := c.Objects.DestroyObject(ctx, &anyhsmv1.DestroyObjectRequest{Header: &anyhsmv1.CallHeader{}}); err != nil {
		t.Fatal(err)
	}
	if calls, _ := second.seen(); calls != 0 {
		t.Error("the call was made elsewhere")
	}
}

// TestNotServing: an endpoint that says that it does not serve is not waited for.
func TestNotServing(t *testing.T) {
	dir := sockets(t)
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	hold := make(chan struct{})
	first, state := healthy(t, a, "first", nil)
	first.answer = func(int) error { <-hold; return nil }
	t.Cleanup(func() { close(hold) })
	state.Shutdown()
	healthy(t, b, "second", nil)
	c := newClient(t, config.Config{Endpoints: []string{"unix://" + a, "unix://" + b}, Timeout: 30 * time.Second})
	c.quiet = 50 * time.Millisecond
	prefer(c, a)
	began := time.Now()
	if name, err := listSlots(c); name != "second" || time.Since(began) > 10*time.Second {
		t.Errorf("%q answered after %v, %v", name, time.Since(began), err)
	}
}

// TestBusyIsNoReasonToTrySuspects: while one endpoint is well, its "call again" does not send calls to one that hangs.
func TestBusyIsNoReasonToTrySuspects(t *testing.T) {
	dir := sockets(t)
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	first, second := unixServer(t, a, "first"), unixServer(t, b, "second")
	second.answer = func(call int) error {
		if call < 4 {
			return fault.New(fault.Conflict, "again")
		}
		return nil
	}
	c := newClient(t, config.Config{Endpoints: []string{"unix://" + a, "unix://" + b}})
	prefer(c, a)
	c.endpoints[0].failed()
	c.endpoints[0].until = time.Now().Add(time.Hour)
	if name, err := listSlots(c); name != "second" {
		t.Errorf("%q answered, %v", name, err)
	}
	if calls, _ := first.seen(); calls != 0 {
		t.Errorf("%d calls went to the suspect", calls)
	}
}

// TestSpread: processes begin with different replicas, and with the socket on their own host where there is one.
func TestSpread(t *testing.T) {
	var channels []channel
	for i := range 5 {
		channels = append(channels, &lazy{endpoint: fmt.Sprintf("tcp://host%d:1", i)})
	}
	first := map[string]int{}
	for range 1000 {
		first[spread(channels)[0].Name()]++
	}
	for _, channel := range channels {
		if n := first[channel.Name()]; n < 100 || n > 300 {
			t.Errorf("%s comes first %d times of 1000", channel.Name(), n)
		}
	}
	channels = append(channels, &lazy{endpoint: "unix:///run/socket"})
	for range 100 {
		if got := spread(channels); got[0].Name() != "unix:///run/socket" || len(got) != 6 {
			t.Fatalf("%s comes first of %d", got[0].Name(), len(got))
		}
	}
}

// TestRest: suspects are looked at after growing, random pauses.
func TestRest(t *testing.T) {
	rests := map[time.Duration]bool{}
	for range 20 {
		e := &endpoint{}
		if e.due() {
			t.Error("an endpoint that is well is due")
		}
		var before time.Duration
		for range 8 {
			e.failed()
			rest := time.Until(e.until)
			if e.rest < before || rest > e.rest*3/2 || rest < e.rest/2-time.Second/10 || e.rest > lastRest || e.due() {
				t.Errorf("a rest of %v, %v", e.rest, rest)
			}
			before = e.rest
			rests[rest.Round(time.Millisecond)] = true
			e.until = time.Now()
		}
		if before != lastRest || !e.due() || e.due() {
			t.Errorf("the last rest is %v; one may look, and no second", before)
		}
		e.answered()
		if e.suspect.Load() || e.due() {
			t.Error("suspect after an answer")
		}
	}
	if len(rests) < 40 {
		t.Errorf("only %d different rests", len(rests))
	}
}
