// Package quickstart runs what `make quickstart` runs, as a new user would: twice, and stops it.
package quickstart

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

const page = "This page came over TLS, and its key never left anyhsmd."

func TestQuickstart(t *testing.T) {
	daemontest.Module(t)
	daemontest.Programs(t)
	directory, err := os.MkdirTemp("", "quickstart") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	listener.Close()
	run := func(what string) string {
		t.Helper()
		command := exec.Command(filepath.Join(daemontest.Root(), "scripts", "quickstart.sh"), what)
		command.Env = append(os.Environ(), "ANYHSM_QUICKSTART_DIR="+directory, "ANYHSM_QUICKSTART_PORT="+port)
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("quickstart.sh %s: %v\n%s", what, err, out)
		}
		return string(out)
	}
	t.Cleanup(func() { run("stop") })
	first := run("start")
	if !strings.Contains(first, page) || !strings.Contains(first, "subject=CN = localhost") {
		t.Errorf("the first run serves no page:\n%s", first)
	}
	if again := run("start"); !strings.Contains(again, page) {
		t.Errorf("the second run, with all still running, serves no page:\n%s", again)
	}
	run("stop")
	for _, name := range []string{"anyhsmd.sock", "nginx.pid"} {
		if _, err := os.Stat(filepath.Join(directory, name)); err == nil {
			t.Errorf("%s is still there after the stop", name)
		}
	}
	after := run("start")
	if !strings.Contains(after, page) {
		t.Errorf("the run after a stop serves no page:\n%s", after)
	}
	if fingerprint(first) == "" || fingerprint(first) != fingerprint(after) {
		t.Errorf("the certificate changed from %q to %q", fingerprint(first), fingerprint(after))
	}
}

func fingerprint(out string) string {
	_, rest, _ := strings.Cut(out, "sha256 Fingerprint=")
	line, _, _ := strings.Cut(rest, "\n")
	return line
}
