// Package peertest gives tests the services that providers need, as processes, and the configuration of a provider on
// each. Vault and PyKMIP are the real ones; the clouds, and a KMIP server that does everything, are strict fakes.
package peertest

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

// Peer is a running service, which ends with the test.
type Peer struct {
	// Provider is the provider's name in the configuration, Tables the configuration, as TOML.
	Provider, Tables string
	// URL is where the service listens, with a scheme where it has one.
	URL string
}

// start runs a program of the tree until the test ends, and returns the line that it prints when it listens. It ends when
// its standard input does, or is killed.
func start(t testing.TB, name, source string, arguments ...string) string {
	t.Helper()
	service := exec.Command(daemontest.Program(t, name, source), arguments...)
	in, err := service.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := service.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	service.Stderr = os.Stderr
	run(t, service)
	t.Cleanup(func() { _ = in.Close() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%s did not start: %v", name, err)
	}
	return strings.TrimSpace(line)
}

// run starts a process in a group of its own, which is killed when the test ends.
func run(t testing.TB, command *exec.Cmd) {
	t.Helper()
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		t.Fatalf("%s: %v; run scripts/install-packages.sh", command.Path, err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		_ = command.Wait()
	})
}

// secret writes a secret where a configuration can refer to it, and returns the reference.
func secret(t testing.TB, value string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(value), 0o600); err != nil {
		t.Fatal(err)
	}
	return "file:" + path
}
