package hsm

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// TestNewRefuses tells what is wrong, at once and in a sentence.
func TestNewRefuses(t *testing.T) {
	directory := t.TempDir()
	text := filepath.Join(directory, "text.so")
	if err := os.WriteFile(text, []byte("no library"), 0o600); err != nil {
		t.Fatal(err)
	}
	slot := uint64(99)
	for name, tc := range map[string]struct {
		config Config
		kind   fault.Kind
		says   []string
	}{
		"no library":       {Config{Name: "n", TokenLabel: "x"}, fault.ArgumentsBad, []string{"library"}},
		"no token":         {Config{Name: "n", Library: softhsm}, fault.ArgumentsBad, []string{"serial", "slot"}},
		"two tokens":       {Config{Name: "n", Library: softhsm, TokenLabel: "x", Serial: "y"}, fault.ArgumentsBad, []string{"exactly one"}},
		"negative":         {Config{Name: "n", Library: softhsm, TokenLabel: "x", Sessions: -1}, fault.ArgumentsBad, []string{"sessions"}},
		"a missing file":   {Config{Library: "/nowhere/p11.so", TokenLabel: "x"}, fault.DeviceError, []string{"/nowhere/p11.so", "does not exist"}},
		"a directory":      {Config{Library: directory, TokenLabel: "x"}, fault.DeviceError, []string{"directory"}},
		"not a library":    {Config{Library: text, TokenLabel: "x"}, fault.DeviceError, []string{text, "ldd"}},
		"not PKCS#11":      {Config{Library: libc(t), TokenLabel: "x"}, fault.DeviceError, []string{"C_GetFunctionList"}},
		"an unknown label": {Config{Library: softhsm, TokenLabel: "nobody", PIN: "x"}, fault.DeviceError, []string{"nobody", "conformance"}},
		"an unknown slot":  {Config{Library: softhsm, Slot: &slot, PIN: "x"}, fault.DeviceError, []string{"99"}},
		"no PIN":           {Config{Library: softhsm, TokenLabel: "wrongpin"}, fault.PINIncorrect, []string{"`pin`"}},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			_, err := New(t.Context(), tc.config)
			if !fault.Is(err, tc.kind) {
				t.Fatalf("the error means %s: %v", fault.RV(err), err)
			}
			for _, word := range tc.says {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q does not say %q", err, word)
				}
			}
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// libc finds a shared library that is no PKCS#11 library.
func libc(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob("/lib/*/libc.so.6")
	if err != nil || len(found) == 0 {
		t.Fatal("this machine has no libc.so.6 where Debian has it")
	}
	return found[0]
}

// counting counts the logins.
type counting struct {
	client
	logins *int
}

func (c counting) Login(s pkcs11.SessionHandle, user uint, pin string) error {
	*c.logins++
	return c.client.Login(s, user, pin)
}

// TestWrongPIN tries a wrong PIN once and never again.
func TestWrongPIN(t *testing.T) {
	c := config("wrongpin")
	c.PIN = "a wrong one"
	_, err := New(t.Context(), c)
	if !fault.Is(err, fault.PINIncorrect) {
		t.Fatalf("the error means %s: %v", fault.RV(err), err)
	}
	if strings.Contains(err.Error(), c.PIN) || !strings.Contains(err.Error(), "restart") {
		t.Errorf("the sentence is %q", err)
	}
	// A PIN that is changed under a running daemon: whatever is called, there is one try.
	logins := 0
	p := connect(t, config("wrongpin"))
	p.library.client = counting{p.library.client, &logins}
	defer func() { p.library.client = p.library.client.(counting).client }()
	p.config.PIN = "a wrong one"
	if err := stranger(t).CloseAllSessions(p.link.Load().slot); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		err := p.Health(t.Context())
		// The PIN is ours, not the application's.
		if !fault.Is(err, fault.DeviceError) || !strings.Contains(err.Error(), "PIN") {
			t.Errorf("the error means %s: %v", fault.RV(err), err)
		}
	}
	if logins != 1 {
		t.Errorf("the wrong PIN was tried %d times", logins)
	}
}

// TestWaiting gives up waiting for a library that hangs while it is loaded.
func TestWaiting(t *testing.T) {
	hang := make(chan struct{})
	honest := load
	load = func(string) (client, error) { <-hang; return nil, os.ErrNotExist }
	defer func() { load = honest }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	begin := time.Now()
	go func() { time.Sleep(200 * time.Millisecond); close(hang) }()
	_, err := New(ctx, Config{Name: "slow", Library: "/a/slow/library.so", TokenLabel: "x"})
	if !fault.Is(err, fault.DeadlineExceeded) || time.Since(begin) > 3*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
	time.Sleep(300 * time.Millisecond)
}
