// Package attacks lets clients misbehave against a running daemon while a good one works: they guess PINs, send slowly,
// send too much. The good one must not notice, and nothing must be left behind.
package attacks

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/pkcs11"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/anyhsm/anyhsm/internal/wire"
	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

func TestMain(m *testing.M) {
	if os.Getenv("ANYHSM_SOAK") != "" {
		os.Exit(soakHost())
	}
	os.Exit(m.Run())
}

const (
	// bearable is the longest that a call of a good application may take meanwhile, on a machine that does other things.
	bearable = 15 * time.Second
	patience = 3 * time.Minute
)

// victim is a good application: it signs without a pause until it is told to stop.
type victim struct {
	t       *testing.T
	module  *pkcs11.Ctx
	stop    chan struct{}
	stopped sync.WaitGroup

	mu      sync.Mutex
	calls   int
	slowest time.Duration
}

// newVictim loads the module into this process and begins to sign with a new key in a token.
func newVictim(t *testing.T, d *daemontest.Daemon, token string) *victim {
	t.Helper()
	for _, setting := range d.Env() {
		name, value, _ := strings.Cut(setting, "=")
		t.Setenv(name, value)
	}
	v := &victim{t: t, module: pkcs11.New(d.ModulePath), stop: make(chan struct{})}
	if v.module == nil {
		t.Fatal("the module cannot be loaded")
	}
	if err := v.module.Initialize(); err != nil {
		t.Fatal(err)
	}
	session, private := open(t, v.module, token, d.UserPIN)
	v.stopped.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-v.stop:
				return
			default:
			}
			began := time.Now()
			if err := sign(v.module, session, private, n); err != nil {
				t.Errorf("the good application's call %d: %v", n, err)
				return
			}
			v.mu.Lock()
			v.calls++
			v.slowest = max(v.slowest, time.Since(began))
			v.mu.Unlock()
		}
	})
	return v
}

// end tells how the application fared.
func (v *victim) end(least int) {
	v.t.Helper()
	close(v.stop)
	v.stopped.Wait()
	if err := v.module.Finalize(); err != nil {
		v.t.Error(err)
	}
	v.module.Destroy()
	v.t.Logf("the good application made %d calls, the slowest took %v", v.calls, v.slowest)
	if v.slowest > bearable || v.calls < least {
		v.t.Errorf("%d calls, the slowest %v; want %d calls, none above %v", v.calls, v.slowest, least, bearable)
	}
}

// open logs in to a token and makes a key in it.
func open(t *testing.T, module *pkcs11.Ctx, token, pin string) (pkcs11.SessionHandle, pkcs11.ObjectHandle) {
	t.Helper()
	session, err := login(module, token, pin)
	if err != nil {
		t.Fatal(err)
	}
	private, err := generate(module, session)
	if err != nil {
		t.Fatal(err)
	}
	return session, private
}

func login(module *pkcs11.Ctx, token, pin string) (pkcs11.SessionHandle, error) {
	slots, err := module.GetSlotList(true)
	if err != nil {
		return 0, err
	}
	for _, slot := range slots {
		info, err := module.GetTokenInfo(slot)
		if err != nil {
			return 0, err
		}
		if info.Label != token {
			continue
		}
		session, err := module.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
		if err != nil {
			return 0, err
		}
		return session, module.Login(session, pkcs11.CKU_USER, pin)
	}
	return 0, fmt.Errorf("there is no token %s", token)
}

func generate(module *pkcs11.Ctx, session pkcs11.SessionHandle) (pkcs11.ObjectHandle, error) {
	p256 := []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
	_, private, err := module.GenerateKeyPair(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_EC_KEY_PAIR_GEN, nil)},
		[]*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, "good"), pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, p256),
		},
		[]*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, "good"),
			pkcs11.NewAttribute(pkcs11.CKA_SIGN, true),
		})
	return private, err
}

func sign(module *pkcs11.Ctx, session pkcs11.SessionHandle, private pkcs11.ObjectHandle, n int) error {
	digest := sha256.Sum256(fmt.Append(nil, n))
	if err := module.SignInit(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)}, private); err != nil {
		return err
	}
	signature, err := module.Sign(session, digest[:])
	if err == nil && len(signature) != 64 {
		err = fmt.Errorf("a signature of %d bytes", len(signature))
	}
	return err
}

// call is a connection for calls without a module.
func call(t *testing.T, d *daemontest.Daemon) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+d.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, request, response any, conn *grpc.ClientConn, call grpc.UnaryInvoker, options ...grpc.CallOption) error {
			ctx = metadata.AppendToOutgoingContext(ctx, wire.ProtocolHeader, wire.Protocol)
			return wire.ErrorFromStatus(call(ctx, method, request, response, conn, options...))
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// figures are what a daemon says of itself.
type figures struct{ memory, descriptors, goroutines float64 }

func measure(t *testing.T, d *daemontest.Daemon) (f figures) {
	t.Helper()
	response, err := http.Get(d.MetricsURL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		name, text, _ := strings.Cut(lines.Text(), " ")
		to := map[string]*float64{
			"process_resident_memory_bytes": &f.memory, "process_open_fds": &f.descriptors, "go_goroutines": &f.goroutines,
		}[name]
		if to == nil {
			continue
		}
		if *to, err = strconv.ParseFloat(text, 64); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// settled waits until a daemon has given back what an attack has cost it, but for some.
func settled(t *testing.T, d *daemontest.Daemon, before figures) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		now := measure(t, d)
		if now.descriptors <= before.descriptors+20 && now.goroutines <= before.goroutines+60 {
			t.Logf("afterwards: %.0f MiB (before %.0f), %.0f descriptors (%.0f), %.0f goroutines (%.0f)", now.memory/(1<<20), before.memory/(1<<20),
				now.descriptors, before.descriptors, now.goroutines, before.goroutines)
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("something is left behind: %+v, before %+v", now, before)
			return
		}
	}
}
