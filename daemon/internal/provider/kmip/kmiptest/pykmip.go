package kmiptest

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// PyKMIP is a running server of PyKMIP, from Debian's python3-pykmip. Nothing of the package is changed: it gets a
// certificate with an EC key, because it has no cipher in common with Go for RSA, and a client's that is marked so.
type PyKMIP struct {
	// Address is where it listens; Certificate, Key and CA are the paths that a client uses.
	Address, Certificate, Key, CA string
	// Authority has signed all of them.
	Authority *Authority
	// Log is the path of its log.
	Log string

	directory string
	command   *exec.Cmd
}

// StartPyKMIP starts a server that ends with the test.
func StartPyKMIP(t testing.TB) *PyKMIP {
	t.Helper()
	p := &PyKMIP{directory: t.TempDir()}
	p.Log = filepath.Join(p.directory, "server.log")
	authority, err := NewAuthority(p.directory)
	if err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(24 * time.Hour)
	serverCertificate, serverKey, err := authority.Issue("server", x509.ExtKeyUsageServerAuth, until)
	if err != nil {
		t.Fatal(err)
	}
	p.Authority, p.CA = authority, authority.CA
	if p.Certificate, p.Key, err = authority.Issue("client", x509.ExtKeyUsageClientAuth, until); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.Address = listener.Addr().String()
	_ = listener.Close()
	_, port, _ := net.SplitHostPort(p.Address)
	text := fmt.Sprintf(`[server]
hostname=127.0.0.1
port=%s
certificate_path=%s
key_path=%s
ca_path=%s
auth_suite=TLS1.2
enable_tls_client_auth=True
tls_cipher_suites=
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
logging_level=WARNING
database_path=%s
`, port, serverCertificate, serverKey, p.CA, filepath.Join(p.directory, "server.db"))
	if err := os.WriteFile(filepath.Join(p.directory, "server.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	p.Start(t)
	return p
}

// Start starts the server again, with the keys that it had.
func (p *PyKMIP) Start(t testing.TB) {
	t.Helper()
	p.command = exec.Command("pykmip-server", "-f", filepath.Join(p.directory, "server.conf"), "-l", p.Log)
	p.command.Dir = p.directory
	// It has a child of its own, which must end with it.
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.command.Start(); err != nil {
		t.Fatalf("pykmip-server does not start: %v; run scripts/install-packages.sh", err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		c, err := net.Dial("tcp", p.Address)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(p.Log)
			p.Kill()
			t.Fatalf("pykmip-server does not listen: %s", log)
		}
	}
}

// Kill kills the server, as a crash does.
func (p *PyKMIP) Kill() {
	if p.command == nil {
		return
	}
	_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
	_ = p.command.Wait()
	p.command = nil
}
