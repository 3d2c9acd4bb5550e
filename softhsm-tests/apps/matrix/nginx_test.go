package matrix

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// handshakes are made with each key and each version of TLS.
const handshakes = 4

// nginx serves HTTPS from all keys that have a certificate, with the configuration of docs/applications/nginx.md, a
// server for each.
func (p *place) nginx(t *testing.T) {
	addresses := map[string]string{}
	for _, k := range kinds {
		if p.keys[k.label] != nil && len(k.uses[nginx]) > 0 {
			addresses[k.label] = free(t)
		}
	}
	if len(addresses) > 0 {
		defer p.serve(t, addresses)()
	}
	p.each(t, nginx, func(k *key, u use) error {
		text, err := os.ReadFile(p.File(k.label + ".crt"))
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(text)
		version := map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}[u.name]
		for range handshakes {
			if err := get(addresses[k.label], roots, version); err != nil {
				log, _ := os.ReadFile(p.File("error.log"))
				return fmt.Errorf("%w\n%s", err, log)
			}
		}
		return nil
	})
}

// serve starts nginx and returns what stops it.
func (p *place) serve(t *testing.T, addresses map[string]string) (stop func()) {
	t.Helper()
	page := target.Page(t, "nginx.md", "nginx")
	begin, end := strings.Index(page, "    server {"), strings.LastIndex(page, "}")
	if begin < 0 || end < begin {
		t.Fatalf("the page's configuration has no server:\n%s", page)
	}
	var servers strings.Builder
	for label, address := range addresses {
		server := target.Replace(t, page[begin:end], map[string]string{
			"/etc/nginx/web.crt": p.File(label + ".crt"), "127.0.0.1:8443": address,
			"pkcs11:token=tls;object=web;type=private?pin-value=1234": p.URI(label),
		})
		if p.Token == "gcp" && strings.HasPrefix(label, "rsa") {
			// The line of docs/providers/gcpkms.md for twins, which sign with SHA-256.
			const twins = "ssl_conf_command SignatureAlgorithms RSA+SHA256:rsa_pss_rsae_sha256;"
			server = strings.Replace(server, "server_name localhost;", "server_name localhost;\n        "+twins, 1)
		}
		servers.WriteString(server)
	}
	directory := filepath.Dir(p.File("x"))
	var temporary strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temporary, "    %s_temp_path %s/%s;\n", kind, directory, kind)
	}
	file := p.Write(t, "nginx.conf", []byte(target.Replace(t, page[:begin]+servers.String()+page[end:], map[string]string{
		"user www-data":      "user root",
		"daemon on":          "daemon off",
		"worker_processes 4": "env ANYHSM_CONFIG;\nworker_processes 1",
		"/run/nginx.pid":     directory + "/nginx.pid",
		"/var/log/nginx":     directory,
		"http {\n":           "http {\n" + temporary.String(),
	})))
	master := p.Command("nginx", "-c", file, "-p", directory)
	var complaints bytes.Buffer
	master.Stderr = &complaints
	if err := master.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- master.Wait() }()
	for _, address := range addresses {
		wait(t, address, ended, &complaints)
	}
	return func() { quit(t, master, ended) }
}

func wait(t *testing.T, address string, ended chan error, complaints fmt.Stringer) {
	t.Helper()
	for {
		if connection, err := net.Dial("tcp", address); err == nil {
			_ = connection.Close()
			return
		}
		select {
		case err := <-ended:
			t.Fatalf("nginx ended: %v\n%s", err, complaints)
		case <-t.Context().Done():
			t.Fatalf("nginx does not listen at %s\n%s", address, complaints)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func quit(t *testing.T, master *exec.Cmd, ended chan error) {
	_ = master.Process.Signal(syscall.SIGQUIT)
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Errorf("nginx %d does not stop", master.Process.Pid)
		_ = master.Process.Kill()
	}
}

// get makes a new connection and verifies the server's certificate.
func get(address string, roots *x509.CertPool, version uint16) error {
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{
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

func free(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
