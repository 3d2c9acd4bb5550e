package daemonclient

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/wire"
	"github.com/anyhsm/anyhsm/p11module/internal/config"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

func TestProtocolHeader(t *testing.T) {
	c, s, _ := one(t)
	if c.Connected() {
		t.Error("connected before the first call")
	}
	if _, err := listSlots(c); err != nil {
		t.Fatal(err)
	}
	if got := s.header.Get(wire.ProtocolHeader); !slices.Equal(got, []string{wire.Protocol}) || !c.Connected() {
		t.Errorf("header %v", got)
	}
}

// TestRequestIDs: every changing call has one, made once and kept while the call is repeated.
func TestRequestIDs(t *testing.T) {
	c, s, _ := one(t)
	s.answer = func(call int) error {
		if call%3 != 0 {
			return fault.New(fault.Conflict, "again")
		}
		return nil
	}
	ctx, cancel := c.Call()
	defer cancel()
	for _, call := range []func() error{
		func() error {
			_, err := c.Objects.DestroyObject(ctx, &anyhsmv1.DestroyObjectRequest{Header: &anyhsmv1.CallHeader{}})
			return err
		},
		func() error {
			_, err := c.Tokens.InitToken(ctx, &anyhsmv1.InitTokenRequest{})
			return err
		},
		func() error {
			// A context ticket is good for one use, so the use has an id.
			_, err := c.Crypto.Sign(ctx, &anyhsmv1.SignRequest{Header: &anyhsmv1.CallHeader{ContextTicket: []byte("t")}})
			return err
		},
	} {
		if err := call(); err != nil {
			t.Fatal(err)
		}
	}
	_, ids := s.seen()
	if len(ids) != 9 {
		t.Fatalf("ids %v", ids)
	}
	seen := map[string]bool{}
	for i := 0; i < 9; i += 3 {
		if len(ids[i]) != 32 || ids[i] != ids[i+1] || ids[i] != ids[i+2] || seen[ids[i]] {
			t.Errorf("ids %v", ids[i:i+3])
		}
		seen[ids[i]] = true
	}
	s.answer = nil
	if _, err := c.Crypto.Sign(ctx, &anyhsmv1.SignRequest{Header: &anyhsmv1.CallHeader{}}); err != nil {
		t.Fatal(err)
	}
	if _, ids := s.seen(); ids[9] != "" {
		t.Errorf("a signature has the request id %q", ids[9])
	}
}

// TestNotRepeated: refusals, and calls that nothing makes safe to repeat.
func TestNotRepeated(t *testing.T) {
	c, s, _ := one(t)
	s.answer = func(int) error { return fault.New(fault.PINIncorrect, "wrong") }
	if _, err := listSlots(c); fault.RV(err) != cryptoki.CKR_PIN_INCORRECT {
		t.Errorf("error %v", err)
	}
	s.answer = func(int) error { return fault.New(fault.Conflict, "again") }
	ctx, cancel := c.Call()
	defer cancel()
	if _, err := c.Objects.DestroyObject(ctx, &anyhsmv1.DestroyObjectRequest{}); !fault.Is(err, fault.Conflict) {
		t.Errorf("error %v", err)
	}
	if calls, _ := s.seen(); calls != 2 {
		t.Errorf("%d calls", calls)
	}
}

// TestEveryMethodHasANature: a call that is added to the services must be classed.
func TestEveryMethodHasANature(t *testing.T) {
	for _, service := range []grpc.ServiceDesc{anyhsmv1.TokenService_ServiceDesc, anyhsmv1.ObjectService_ServiceDesc, anyhsmv1.CryptoService_ServiceDesc} {
		for _, method := range service.Methods {
			if natures["/"+service.ServiceName+"/"+method.MethodName] == once {
				t.Errorf("%s.%s is neither reading nor changing", service.ServiceName, method.MethodName)
			}
		}
	}
}

func TestFailover(t *testing.T) {
	dir := sockets(t)
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	servers := map[string]*server{"a": unixServer(t, a, "a"), "b": unixServer(t, b, "b")}
	c := newClient(t, config.Config{Endpoints: []string{"unix:///nowhere/socket", "unix://" + a, "unix://" + b}})
	first, err := listSlots(c)
	if err != nil {
		t.Fatal(err)
	}
	servers[first].grpc.Stop()
	second, err := listSlots(c)
	if err != nil || second == first {
		t.Fatalf("%q answered, %v", second, err)
	}
	// Who is away is not asked again at once.
	before, _ := servers[second].seen()
	for range 20 {
		if name, err := listSlots(c); name != second {
			t.Errorf("%q answered, %v", name, err)
		}
	}
	if calls, _ := servers[second].seen(); calls != before+20 {
		t.Errorf("%d calls", calls-before)
	}
}

// TestHungEndpoint: one that takes a call and does not answer is left for another in time.
func TestHungEndpoint(t *testing.T) {
	dir := sockets(t)
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	hold := make(chan struct{})
	unixServer(t, a, "hung").answer = func(int) error { <-hold; return nil }
	// Before the server's end, which waits for the call.
	t.Cleanup(func() { close(hold) })
	unixServer(t, b, "second")
	c := newClient(t, config.Config{Endpoints: []string{"unix://" + a, "unix://" + b}, Timeout: time.Second})
	prefer(c, a)
	began := time.Now()
	if name, err := listSlots(c); name != "second" || time.Since(began) < 400*time.Millisecond {
		t.Errorf("%q answered after %v, %v", name, time.Since(began), err)
	}
}

func TestFaultIsTriedElsewhere(t *testing.T) {
	dir := sockets(t)
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	unixServer(t, a, "first").answer = func(int) error { return fault.New(fault.DeviceError, "the provider is away") }
	unixServer(t, b, "second")
	c := newClient(t, config.Config{Endpoints: []string{"unix://" + a, "unix://" + b}})
	prefer(c, a)
	if name, err := listSlots(c); name != "second" {
		t.Errorf("%q answered, %v", name, err)
	}
}

// TestDownUntilTheDeadline: the reason is the endpoint's, not that time is up, and nothing spins meanwhile.
func TestDownUntilTheDeadline(t *testing.T) {
	c := newClient(t, config.Config{Endpoints: []string{"unix:///nowhere/socket"}, Timeout: 400 * time.Millisecond})
	began := time.Now()
	_, err := listSlots(c)
	if took := time.Since(began); took < 300*time.Millisecond || took > time.Second {
		t.Errorf("took %v", took)
	}
	if fault.RV(err) != cryptoki.CKR_DEVICE_ERROR || !strings.Contains(err.Error(), "/nowhere/socket") {
		t.Errorf("error %v", err)
	}
}

func TestComesUpLate(t *testing.T) {
	path := filepath.Join(sockets(t), "s")
	c := newClient(t, config.Config{Endpoints: []string{"unix://" + path}})
	started := make(chan struct{})
	go func() {
		time.Sleep(300 * time.Millisecond)
		unixServer(t, path, "late")
		close(started)
	}()
	began := time.Now()
	name, err := listSlots(c)
	<-started
	if name != "late" || time.Since(began) > 2*time.Second {
		t.Errorf("%q answered after %v, %v", name, time.Since(began), err)
	}
}

// TestCloseEndsEverything: calls, timers, connections, goroutines.
func TestCloseEndsEverything(t *testing.T) {
	before := goroutines()
	var opened, closed []int
	var mu sync.Mutex
	SocketOpened = func(fd int) { mu.Lock(); opened = append(opened, fd); mu.Unlock() }
	SocketClosed = func(fd int) { mu.Lock(); closed = append(closed, fd); mu.Unlock() }
	defer func() { SocketOpened, SocketClosed = nil, nil }()
	t.Run("use", func(t *testing.T) {
		c, s, _ := one(t)
		if _, err := listSlots(c); err != nil {
			t.Fatal(err)
		}
		hold := make(chan struct{})
		defer close(hold)
		s.answer = func(int) error { <-hold; return nil }
		fail := make(chan error)
		go func() {
			_, err := listSlots(c)
			fail <- err
		}()
		for calls := 1; calls < 2; calls, _ = s.seen() {
			time.Sleep(time.Millisecond)
		}
		// A timer that fires after Close must not run what it was set for.
		c.After(50*time.Millisecond, func(context.Context) { t.Error("a timer ran on") })
		c.Close()
		c.Close()
		if err := <-fail; fault.RV(err) != cryptoki.CKR_CRYPTOKI_NOT_INITIALIZED {
			t.Errorf("the call that was under way: %v", err)
		}
		if _, err := listSlots(c); fault.RV(err) != cryptoki.CKR_CRYPTOKI_NOT_INITIALIZED {
			t.Errorf("a call afterwards: %v", err)
		}
		time.Sleep(60 * time.Millisecond)
	})
	for deadline := time.Now().Add(3 * time.Second); goroutines() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", goroutines(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(opened) == 0 || !slices.Equal(opened, closed) {
		t.Errorf("descriptors opened %v, closed %v", opened, closed)
	}
}

// goroutines counts those that are not the runtime's or the test's own.
func goroutines() int {
	stacks := make([]byte, 1<<20)
	n := 0
	for _, stack := range strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(stack, "google.golang.org/grpc") || strings.Contains(stack, "daemonclient.(*Client)") {
			n++
		}
	}
	return n
}

func TestNoStreams(t *testing.T) {
	c, _, _ := one(t)
	var f *fault.Error
	if _, err := c.NewStream(t.Context(), nil, ""); !errors.As(err, &f) {
		t.Errorf("error %v", err)
	}
}

func TestLargeMessages(t *testing.T) {
	c, _, _ := one(t)
	ctx, cancel := c.Call()
	defer cancel()
	data := make([]byte, 32<<20)
	answer, err := c.Crypto.Sign(ctx, &anyhsmv1.SignRequest{Header: &anyhsmv1.CallHeader{}, Data: data})
	if err != nil || len(answer.GetSignature()) != len(data) {
		t.Errorf("%d bytes came back, %v", len(answer.GetSignature()), err)
	}
}
