package delay

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// hold is how long the relay holds back in each direction: far more than a call takes by itself, also on a machine that
// has other things to do.
const hold = 25 * time.Millisecond

// TestOneRoundTrip: over TCP and TLS each operation that needs the daemon takes one round trip, also one with a megabyte
// of data, and one that needs no daemon takes none.
func TestOneRoundTrip(t *testing.T) {
	daemon := daemontest.Start(t, daemontest.Options{TCP: true})
	far := enroll(t, daemon)
	driver := compile(t, far)
	measure := func(operation string) float64 {
		t.Helper()
		out := far.Run(t, driver, "--module", far.Module, "--token", far.Token, "--pin", far.PIN, "--op", operation, "--seconds", "1.5")
		var result struct {
			P50 float64 `json:"p50_us"`
		}
		if err := json.Unmarshal([]byte(out), &result); err != nil || result.P50 == 0 {
			t.Fatalf("%s: %q, %v", operation, out, err)
		}
		return result.P50 / float64((2 * hold).Microseconds())
	}
	far.Run(t, driver, "--module", far.Module, "--token", far.Token, "--pin", far.PIN, "--setup")
	for _, operation := range []string{"round-trip", "p256-sign", "rsa2048-sign", "hmac-sha256", "gcm-1k", "gcm-64k", "gcm-1m"} {
		if ratio := measure(operation); ratio < 1 || ratio >= 1.9 {
			t.Errorf("%s takes %.2f round trips, want 1", operation, ratio)
		} else {
			t.Logf("%s: %.2f round trips", operation, ratio)
		}
	}
	for _, operation := range []string{"digest-256", "p256-verify", "attribute", "session"} {
		if ratio := measure(operation); ratio >= 0.9 {
			t.Errorf("%s takes %.2f round trips, want none", operation, ratio)
		}
	}
}

// enroll returns a target that reaches the daemon through a relay.
func enroll(t *testing.T, daemon *daemontest.Daemon) target.Target {
	t.Helper()
	directory := t.TempDir()
	daemon.CLI(t, "app", "add", "far", "--grant", daemon.Token+":use+create+modify+destroy")
	code := filepath.Join(directory, "code")
	if err := os.WriteFile(code, []byte(strings.TrimSpace(daemon.CLI(t, "app", "code", "far"))), 0o600); err != nil {
		t.Fatal(err)
	}
	enrolled := filepath.Join(directory, "enrolled")
	daemon.CLI(t, "enroll", "--endpoint", daemon.Endpoint, "--dir", enrolled, "--code", "file:"+code)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go relay(listener, strings.TrimPrefix(daemon.Endpoint, "tcp://"), hold)
	file := filepath.Join(enrolled, "module.toml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.ReplaceAll(string(text), daemon.Endpoint, "tcp://"+listener.Addr().String())
	if changed == string(text) {
		t.Fatalf("%s does not name %s:\n%s", file, daemon.Endpoint, text)
	}
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	return target.Target{
		Name: "far", Module: daemon.ModulePath, Token: daemon.Token, PIN: daemon.UserPIN, SOPIN: daemon.SOPIN, Daemon: daemon,
		Env: []string{"ANYHSM_CONFIG=" + file, "ANYHSM_SOCKET="},
	}.In(directory)
}

// compile builds the benchmark's driver.
func compile(t *testing.T, in target.Target) string {
	t.Helper()
	sources, err := filepath.Glob(filepath.Join(daemontest.Root(), "softhsm-tests", "bench", "driver", "*.c"))
	if err != nil || len(sources) == 0 {
		t.Fatalf("no driver: %v", err)
	}
	program := in.File("driver")
	arguments := append([]string{"-O2", "-std=gnu11", "-Wall", "-Wextra", "-I", filepath.Join(daemontest.Root(), "include"), "-o", program}, sources...)
	in.Run(t, "cc", append(arguments, "-ldl", "-lpthread")...)
	return program
}
