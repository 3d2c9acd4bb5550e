package clock

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

// clockFile names, in the daemon's environment, the file that says by how many seconds its clock is off.
const clockFile = "ANYHSM_TEST_CLOCK"

// watch is added to the daemon: it reads the file again and again.
const watch = `package main

import (
	"os"
	"strconv"
	"time"
)

func init() {
	go func() {
		for ; ; time.Sleep(5 * time.Millisecond) {
			text, _ := os.ReadFile(os.Getenv("` + clockFile + `"))
			if seconds, err := strconv.ParseInt(string(text), 10, 64); err == nil {
				time.Jumped.Store(seconds)
			}
		}
	}()
}
`

// jumping builds the daemon with a clock that can be set while it runs, and makes it the one that daemontest starts.
// libfaketime cannot do that: Go reads the clock without the C library. So time.Now gets an offset, by an overlay of the
// standard library that go build takes; as in a machine whose clock is set, the monotonic clock and timers go on.
func jumping(t *testing.T) (jump func(by time.Duration)) {
	t.Helper()
	dir := t.TempDir()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	for old, new := range map[string]string{
		"\n\t\"math/bits\"\n": "\n\t\"math/bits\"\n\t\"sync/atomic\"\n",
		"\nfunc Now() Time {\n\tsec, nsec, mono := runtimeNow()\n": "\n// Jumped is by how many seconds the clock has jumped.\nvar Jumped atomic.Int64\n\nfunc Now() Time {\n\tsec, nsec, mono := runtimeNow()\n\tsec += Jumped.Load()\n",
	} {
		if bytes.Count(text, []byte(old)) != 1 {
			t.Fatalf("%s of this Go does not have %q once; adapt this test", source, old)
		}
		text = bytes.Replace(text, []byte(old), []byte(new), 1)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		source: write(t, dir, "time.go", text), filepath.Join(daemontest.Root(), "daemon", "jump.go"): write(t, dir, "jump.go", []byte(watch)),
	}})
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "anyhsmd")
	build := exec.Command("go", "build", "-overlay", write(t, dir, "overlay.json", overlay), "-o", program, "./daemon")
	build.Dir = daemontest.Root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build -overlay: %v\n%s", err, out)
	}
	t.Setenv("ANYHSM_DAEMON", program)
	file := write(t, dir, "clock", []byte("0"))
	t.Setenv(clockFile, file)
	return func(by time.Duration) {
		t.Helper()
		// By a rename, so that the daemon never reads half of it.
		if err := os.Rename(write(t, dir, "clock.new", strconv.AppendInt(nil, int64(by/time.Second), 10)), file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // the daemon looks every 5 ms
	}
}

func write(t *testing.T, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// logged returns the daemon's log.
func logged(t *testing.T, d *daemontest.Daemon) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(d.Dir, "anyhsmd.log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// newestEvent returns the time of the newest audit event: that of the daemon's clock.
func newestEvent(t *testing.T, d *daemontest.Daemon) time.Time {
	t.Helper()
	var event struct {
		Time time.Time `json:"time"`
	}
	out := strings.TrimSpace(d.CLI(t, "audit", "tail", "-n", "1", "--json"))
	if err := json.Unmarshal([]byte(out), &event); err != nil {
		t.Fatal(fmt.Errorf("%w: %s", err, out))
	}
	return event.Time
}
