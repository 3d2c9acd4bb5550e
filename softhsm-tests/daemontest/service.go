package daemontest

import (
	"bufio"
	"os"
	"os/exec"
	"path"
	"strings"
	"syscall"
	"testing"
)

// Service builds and starts a stand-in of a key service, which prints its address and serves until its input ends. It ends
// with the test. The program has the name of its directory, or of the one above where that is "serve".
func Service(t testing.TB, source string, arguments ...string) string {
	t.Helper()
	service := exec.Command(Program(t, path.Base(strings.TrimSuffix(source, "/serve")), source), arguments...)
	// A test that dies takes its services along: not all of them end with their input.
	service.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
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
		_ = service.Process.Kill()
		_ = service.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%s did not start: %v", source, err)
	}
	return strings.TrimSpace(line)
}
