package clouds

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

// startFake builds a fake's program, runs it until the test ends, and returns the URL that it serves.
func startFake(t *testing.T, source string, arguments ...string) (url string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "serve")
	build := exec.Command("go", "build", "-o", program, source)
	build.Dir = daemontest.Root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the fake: %v\n%s", err, out)
	}
	service := exec.Command(program, arguments...)
	in, err := service.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := service.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	service.Stderr = os.Stderr
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = service.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the fake did not start: %v", err)
	}
	return strings.TrimSpace(line)
}
