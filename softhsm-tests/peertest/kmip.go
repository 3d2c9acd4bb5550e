package peertest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

const strictKMIP = "./daemon/internal/provider/kmip/kmiptest/kmipserver"

// KMIP is the strict server of our own, which does everything; the provider is kmip.
func KMIP(t testing.TB) Peer {
	t.Helper()
	directory := t.TempDir()
	return kmip("kmip", directory, start(t, "kmipserver", strictKMIP, "-directory", directory), "2.1")
}

// PyKMIP is the real server of PyKMIP; the provider is pykmip.
func PyKMIP(t testing.TB) Peer {
	t.Helper()
	directory := t.TempDir()
	if out, err := exec.Command(daemontest.Program(t, "kmipserver", strictKMIP), "-directory", directory, "-issue").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	_, port, _ := net.SplitHostPort(address)
	configuration := filepath.Join(directory, "server.conf")
	text := "[server]\nhostname=127.0.0.1\nport=" + port + "\nauth_suite=TLS1.2\nenable_tls_client_auth=True\nlogging_level=WARNING\n" +
		"certificate_path=" + directory + "/server.crt\nkey_path=" + directory + "/server.key\nca_path=" + directory + "/ca.crt\n" +
		"tls_cipher_suites=\n    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\ndatabase_path=" + directory + "/server.db\n"
	if err := os.WriteFile(configuration, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, exec.Command("pykmip-server", "-f", configuration, "-l", filepath.Join(directory, "server.log")))
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			_ = connection.Close()
			return kmip("pykmip", directory, address, "1.4")
		}
		if time.Now().After(deadline) {
			t.Fatalf("PyKMIP does not listen at %s: %v", address, err)
		}
	}
}

// kmip is a provider with the certificates that are in a directory.
func kmip(name, directory, address, protocol string) Peer {
	return Peer{name, fmt.Sprintf(`
[[provider]]
name = %q
kind = "kmip"
[provider.kmip]
address = %q
certificate = %q
key = %q
ca = %q
protocol = %q
`, name, address, directory+"/client.crt", directory+"/client.key", directory+"/ca.crt", protocol), address}
}
