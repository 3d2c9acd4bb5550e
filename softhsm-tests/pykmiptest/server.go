// Package pykmiptest gives tests the KMIP server of PyKMIP, which is Debian's.
package pykmiptest

import (
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

// Server is a running PyKMIP.
type Server struct {
	// Address is where it listens.
	Address string
	// Directory has what a client needs: client.crt, client.key and ca.crt.
	Directory string
}

// Start starts a server that ends with the test.
func Start(t testing.TB) Server {
	t.Helper()
	s := Server{Directory: t.TempDir()}
	// The strict server's program also makes certificates.
	issue := exec.Command(daemontest.Program(t, "kmipserver", "./daemon/internal/provider/kmip/kmiptest/kmipserver"), "-directory", s.Directory, "-issue")
	if out, err := issue.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Address = listener.Addr().String()
	_, port, _ := net.SplitHostPort(s.Address)
	_ = listener.Close()
	text := "[server]\nhostname=127.0.0.1\nport=" + port + "\nauth_suite=TLS1.2\nenable_tls_client_auth=True\nlogging_level=WARNING\n" +
		"certificate_path=" + s.Directory + "/server.crt\nkey_path=" + s.Directory + "/server.key\nca_path=" + s.Directory + "/ca.crt\n" +
		"tls_cipher_suites=\n    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\ndatabase_path=" + s.Directory + "/server.db\n"
	if err := os.WriteFile(s.Directory+"/server.conf", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command("pykmip-server", "-f", s.Directory+"/server.conf", "-l", s.Directory+"/server.log")
	// It has a child of its own, which must end with it.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		t.Fatalf("pykmip-server: %v; run scripts/install-packages.sh", err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		_ = command.Wait()
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("tcp", s.Address); err == nil {
			_ = c.Close()
			return s
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(s.Directory + "/server.log")
			t.Fatalf("pykmip-server does not listen: %s", log)
		}
	}
}
