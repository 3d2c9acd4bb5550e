package clouds

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// handshakes are made and verified per key, spread over the versions of TLS.
const handshakes = 60

// serve serves TLS 1.2 and 1.3.
func serve(t *testing.T, on target.Target, label string) {
	serveWith(t, on, label, "", tls.VersionTLS12, tls.VersionTLS13)
}

// serveWith lets nginx serve HTTPS with the configuration of docs/applications/nginx.md and some directives, for a key that
// can do only a part, and makes handshakes with some versions of TLS.
func serveWith(t *testing.T, on target.Target, label, directives string, versions ...uint16) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	directory := filepath.Dir(on.File("x"))
	var temporary strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temporary, "    %s_temp_path %s/%s;\n", kind, directory, kind)
	}
	file := on.Write(t, "nginx.conf", []byte(target.Replace(t, target.Page(t, "nginx.md", "nginx"), map[string]string{
		"user www-data":      "user root",
		"worker_processes 4": "env ANYHSM_CONFIG;\nworker_processes 2",
		"/run/nginx.pid":     directory + "/nginx.pid",
		"/var/log/nginx":     directory,
		"/etc/nginx/web.crt": directory + "/" + label + ".crt",
		"127.0.0.1:8443":     address,
		"http {\n":           "http {\n" + directives + temporary.String(),
		"pkcs11:token=tls;object=web;type=private?pin-value=1234": on.URI(label),
	})))
	on.Run(t, "nginx", "-c", file, "-p", directory)
	master := masterOf(t, on)
	defer stop(t, master)

	certificate, err := os.ReadFile(on.File(label + ".crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for range handshakes / 4 {
				if err := get(address, roots, versions[i%len(versions)]); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	if t.Failed() {
		log, _ := os.ReadFile(on.File("error.log"))
		t.Logf("nginx's log:\n%s", log)
	}
}

// get makes a new connection and verifies the server's certificate.
func get(address string, roots *x509.CertPool, version uint16) error {
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: version, MaxVersion: version},
	}}
	answer, err := client.Get("https://" + address + "/")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", answer.Status)
	}
	return nil
}

func masterOf(t *testing.T, on target.Target) int {
	t.Helper()
	for range 200 {
		if text, err := os.ReadFile(on.File("nginx.pid")); err == nil {
			if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
				return n
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("nginx wrote no pid file")
	return 0
}

func stop(t *testing.T, master int) {
	t.Helper()
	_ = syscall.Kill(master, syscall.SIGQUIT)
	for range 200 {
		if syscall.Kill(master, 0) != nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("nginx %d does not stop", master)
	_ = syscall.Kill(master, syscall.SIGKILL)
}
