package catalog

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/config"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

func environment(t *testing.T) Environment {
	t.Helper()
	root, err := seal.NewRoot(slices.Repeat([]byte{1}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	keyring := seal.NewKeyring(root, func(context.Context, string) ([]byte, error) { return nil, cryptoki.CKR_TOKEN_NOT_PRESENT })
	return Environment{Keyring: keyring, Logger: slog.New(slog.DiscardHandler)}
}

func TestOpen(t *testing.T) {
	c, err := config.Parse([]byte("[[provider]]\nname = \"second\"\nkind = \"software\""), "")
	if err != nil {
		t.Fatal(err)
	}
	providers, err := Open(t.Context(), c, environment(t))
	if err != nil || len(providers) != 2 || providers["software"] == nil || providers["second"] == nil {
		t.Fatalf("Open = %v, %v", providers, err)
	}
	Close(providers, slog.New(slog.DiscardHandler))
}

func TestUnknownKind(t *testing.T) {
	c := config.Config{Providers: []config.Provider{{Name: "a", Kind: "awskmz"}}}
	_, err := Open(t.Context(), c, environment(t))
	if err == nil || !strings.Contains(err.Error(), `provider "a": kind "awskmz" is unknown to this build, which has `) || !strings.Contains(err.Error(), "software") {
		t.Errorf("error = %v", err)
	}
}

// closing notes that it was closed.
type closing struct {
	provider.Provider
	closed *bool
}

func (c closing) Close() error { *c.closed = true; return nil }

// kind registers a kind for one test.
func kind(t *testing.T, name string, open func(context.Context) (provider.Provider, error)) {
	t.Helper()
	kinds[name] = func(ctx context.Context, _ config.Provider, _ Environment) (provider.Provider, error) {
		return open(ctx)
	}
	t.Cleanup(func() { delete(kinds, name) })
}

func TestAWrongConfigurationClosesTheOthers(t *testing.T) {
	var closed bool
	kind(t, "test-good", func(context.Context) (provider.Provider, error) { return closing{closed: &closed}, nil })
	kind(t, "test-bad", func(context.Context) (provider.Provider, error) {
		return nil, fault.New(fault.InvalidInput, "no region; set it")
	})
	c := config.Config{Providers: []config.Provider{{Name: "a", Kind: "test-good"}, {Name: "b", Kind: "test-bad"}}}
	if _, err := Open(t.Context(), c, environment(t)); err == nil || !strings.Contains(err.Error(), `provider "b" does not start: no region`) {
		t.Errorf("error = %v", err)
	}
	if !closed {
		t.Error("the provider that had started was left open")
	}
}

// pending waits until a provider that was away is open.
func pending(t *testing.T, p provider.Provider) provider.Provider {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		opened, err := p.(provider.Pending).Opened()
		if err == nil {
			return opened
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestAway: a provider that is away keeps nobody from starting, says why, and is there when it is back.
func TestAway(t *testing.T) {
	var back atomic.Bool
	var closed bool
	kind(t, "test-away", func(context.Context) (provider.Provider, error) {
		if !back.Load() {
			return nil, fault.New(fault.DeviceError, "nobody answers")
		}
		return closing{closed: &closed}, nil
	})
	c := config.Config{Providers: []config.Provider{{Name: "a", Kind: "test-away"}, {Name: "software", Kind: "software"}}}
	providers, err := Open(t.Context(), c, environment(t))
	if err != nil {
		t.Fatal(err)
	}
	a := providers["a"]
	_, err = a.Key(t.Context(), provider.Reference{})
	if !fault.Is(err, fault.DeviceError) || !strings.Contains(err.Error(), "provider a is away") || !strings.Contains(err.Error(), "nobody answers") {
		t.Errorf("error = %v", err)
	}
	if _, err := a.Generate(t.Context(), provider.GenerateRequest{}); !fault.Is(err, fault.DeviceError) {
		t.Errorf("error = %v", err)
	}
	if got := a.Capabilities(); got.Kind != "test-away" {
		t.Errorf("capabilities = %v", got)
	}
	if _, ok := providers["software"].(provider.Pending); ok {
		t.Error("a provider that is there is pending")
	}
	back.Store(true)
	pending(t, a)
	Close(providers, slog.New(slog.DiscardHandler))
	if !closed {
		t.Error("the provider that came later was left open")
	}
}

// TestHanging: one that takes a call and never answers holds up the start for a moment only, and ends with the daemon.
func TestHanging(t *testing.T) {
	before := startWait
	startWait = 50 * time.Millisecond
	t.Cleanup(func() { startWait = before })
	kind(t, "test-hanging", func(ctx context.Context) (provider.Provider, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	providers, err := Open(t.Context(), config.Config{Providers: []config.Provider{{Name: "a", Kind: "test-hanging"}}}, environment(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := providers["a"].(provider.Pending).Opened(); !fault.Is(err, fault.DeviceError) {
		t.Errorf("error = %v", err)
	}
	Close(providers, slog.New(slog.DiscardHandler))
}

// TestRefusedPIN: a PIN that was refused is not tried again, or the token would lock. The module need not repeat a call
// that cannot succeed.
func TestRefusedPIN(t *testing.T) {
	var tries atomic.Int32
	kind(t, "test-refusing", func(context.Context) (provider.Provider, error) {
		tries.Add(1)
		return nil, fault.New(fault.PINIncorrect, "the token refused the PIN; correct it")
	})
	providers, err := Open(t.Context(), config.Config{Providers: []config.Provider{{Name: "a", Kind: "test-refusing"}}}, environment(t))
	if err != nil {
		t.Fatal(err)
	}
	l := providers["a"].(*late)
	<-l.ended
	if _, err := l.Opened(); !fault.Is(err, fault.FunctionFailed) || !strings.Contains(err.Error(), "correct it") {
		t.Errorf("error = %v", err)
	}
	if n := tries.Load(); n != 1 {
		t.Errorf("%d tries", n)
	}
	Close(providers, slog.New(slog.DiscardHandler))
}
