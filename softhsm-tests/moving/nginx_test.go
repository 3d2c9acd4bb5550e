package moving

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
	"syscall"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// site is an nginx that serves HTTPS, and a client that knows the certificate.
type site struct {
	address string
	roots   *x509.CertPool
	on      target.Target
}

// serve starts nginx with the configuration of docs/applications/nginx.md.
func serve(t *testing.T, on target.Target, label string) site {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := site{address: listener.Addr().String(), roots: x509.NewCertPool(), on: on}
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
		"127.0.0.1:8443":     s.address,
		"http {\n":           "http {\n" + temporary.String(),
		"pkcs11:token=tls;object=web;type=private?pin-value=1234": on.URI(label),
	})))
	certificate, err := os.ReadFile(on.File(label + ".crt"))
	if err != nil {
		t.Fatal(err)
	}
	s.roots.AppendCertsFromPEM(certificate)
	on.Run(t, "nginx", "-c", file, "-p", directory)
	t.Cleanup(func() { s.stop(t) })
	return s
}

// get makes a new connection and verifies the certificate.
func (s site) get(version uint16) error {
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: s.roots, ServerName: "localhost", MinVersion: version, MaxVersion: version},
	}}
	answer, err := client.Get("https://" + s.address + "/")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", answer.Status)
	}
	return nil
}

// handshakes makes some with each version of TLS.
func (s site) handshakes(t *testing.T, when string) {
	t.Helper()
	for range 5 {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			if err := s.get(version); err != nil {
				log, _ := os.ReadFile(s.on.File("error.log"))
				t.Fatalf("%s: %v\n%s", when, err, log)
			}
		}
	}
}

func (s site) stop(t *testing.T) {
	var master int
	for range 200 {
		text, _ := os.ReadFile(s.on.File("nginx.pid"))
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			master = n
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if master == 0 {
		t.Error("nginx wrote no pid file")
		return
	}
	_ = syscall.Kill(master, syscall.SIGQUIT)
	for range 1200 {
		if syscall.Kill(master, 0) != nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("nginx %d does not stop", master)
	_ = syscall.Kill(master, syscall.SIGKILL)
}
