// Package nginx serves HTTPS with keys of a token: master process, daemon mode, four workers, reload under load.
package nginx

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// handshakes are made and verified per key; reloads happen while they run.
const (
	handshakes = 500
	clients    = 8
	workers    = 4
	reloads    = 3
)

func TestNginx(t *testing.T) {
	target.Each(t, func(t *testing.T, target target.Target) {
		target.EngineConfiguration(t)
		user := "root"
		if target.Daemon != nil {
			// The workers are another application than the master: they open their own session as www-data.
			user = "www-data"
			target.Daemon.Grant(t, "nginx", "www-data")
		}
		for _, key := range []struct{ kind, label, id string }{
			{"EC:prime256v1", "p256", "01"},
			{"rsa:2048", "rsa", "02"},
		} {
			t.Run(key.label, func(t *testing.T) {
				target.GenerateKeyPair(t, key.kind, key.label, key.id)
				target.Run(t, "openssl", "req", "-new", "-x509", "-sha256", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
					"-engine", "pkcs11", "-keyform", "engine", "-key", target.URI(key.label), "-out", key.label+".crt")
				serve(t, target, user, key.label)
			})
		}
	})
}

func serve(t *testing.T, target target.Target, user, label string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	directory := filepath.Dir(target.File("x"))
	// The workers' user must be able to reach the files below.
	for _, d := range []string{directory, filepath.Dir(directory)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := target.Write(t, "nginx.conf", []byte(configuration(t, target, user, directory, address, label)))
	target.Run(t, "nginx", "-c", file, "-p", directory)
	master := pid(t, target)
	defer func() {
		syscall.Kill(master, syscall.SIGQUIT)
		for range 1200 {
			if syscall.Kill(master, 0) != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		// Which process is left, and in what it waits, tells whose fault it is.
		left, _ := exec.Command("ps", "-eLo", "pid,ppid,tid,stat,wchan:30,args").Output()
		t.Errorf("nginx %d does not stop:\n%s", master, left)
		syscall.Kill(master, syscall.SIGKILL)
	}()

	certificate, err := os.ReadFile(target.File(label + ".crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	var done atomic.Int64
	var seen sync.Map
	var group sync.WaitGroup
	for client := range clients {
		group.Go(func() {
			for done.Add(1) <= handshakes {
				worker, err := get(address, roots, uint16(tls.VersionTLS12+client%2))
				if err != nil {
					t.Errorf("handshake %d: %v", done.Load(), err)
					return
				}
				seen.Store(worker, true)
			}
		})
	}
	for i := range reloads {
		for done.Load() < int64((i+1)*handshakes/(reloads+1)) && !t.Failed() {
			time.Sleep(time.Millisecond)
		}
		if err := syscall.Kill(master, syscall.SIGHUP); err != nil {
			t.Error(err)
		}
	}
	group.Wait()
	count := 0
	seen.Range(func(any, any) bool { count++; return true })
	if count < workers {
		t.Errorf("%d workers served, want at least %d", count, workers)
	}
	if log, _ := os.ReadFile(target.File("error.log")); t.Failed() || strings.Contains(string(log), "[emerg]") || strings.Contains(string(log), "[alert]") {
		t.Errorf("nginx's log:\n%s", log)
	}
}

// configuration is the one of docs/applications/nginx.md, with the paths of the test in it.
func configuration(t *testing.T, tested target.Target, user, directory, address, label string) string {
	t.Helper()
	var temporary strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temporary, "    %s_temp_path %s/%s;\n", kind, directory, kind)
	}
	return target.Replace(t, target.Page(t, "nginx.md", "nginx"), map[string]string{
		"user www-data": "user " + user,
		// The test's daemon is not at its default place, and nginx clears its workers' environment.
		"worker_processes 4": fmt.Sprint("env ANYHSM_CONFIG;\nworker_processes ", workers),
		"/run/nginx.pid":     directory + "/nginx.pid",
		"/var/log/nginx":     directory,
		"/etc/nginx/web.crt": directory + "/" + label + ".crt",
		"127.0.0.1:8443":     address,
		"http {\n":           "http {\n" + temporary.String(),
		"pkcs11:token=tls;object=web;type=private?pin-value=1234": tested.URI(label),
	})
}

// get makes a new connection, verifies the server's certificate and returns which worker answered.
func get(address string, roots *x509.CertPool, version uint16) (worker string, err error) {
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: version, MaxVersion: version},
	}}
	answer, err := client.Get("https://" + address + "/")
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %s", answer.Status)
	}
	return answer.Header.Get("X-Worker"), nil
}

func pid(t *testing.T, target target.Target) int {
	t.Helper()
	for range 200 {
		if text, err := os.ReadFile(target.File("nginx.pid")); err == nil {
			if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
				return n
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("nginx wrote no pid file")
	return 0
}
