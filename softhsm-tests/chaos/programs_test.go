package chaos

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/softhsm-tests/chaos/history"
	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// The applications that are programs as people know them: nginx, pkcs11-tool, OpenSSL.

// recorder writes down what programs did.
type recorder struct {
	t    *testing.T
	log  *history.Log
	stop <-chan struct{}
}

func newRecorder(t *testing.T, c *cluster, name string, stop <-chan struct{}) *recorder {
	t.Helper()
	log, err := history.Open(historyDir(c), name)
	must(t, err)
	t.Cleanup(func() { _ = log.Close() })
	return &recorder{t: t, log: log, stop: stop}
}

func historyDir(c *cluster) string { return filepath.Join(c.dir, "history") }

func (r *recorder) stopped() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

func (r *recorder) do(record history.Record, operation func(end *history.Record) error) bool {
	begun, err := r.log.Begin(record)
	if err != nil {
		r.t.Error(err)
		return false
	}
	end := history.Record{Phase: history.OK}
	if err := operation(&end); err != nil {
		end.Phase, end.Error = history.Unknown, codeIn(err.Error())
	}
	if err := begun.End(end); err != nil {
		r.t.Error(err)
	}
	return end.Phase == history.OK
}

// codeIn is the CK_RV that a program's message names, in its own or in libp11's words, else the message.
func codeIn(message string) string {
	for rv, words := range map[cryptoki.RV]string{
		cryptoki.CKR_DEVICE_MEMORY: "ERR_CKR_error:Device memory", cryptoki.CKR_DEVICE_ERROR: "ERR_CKR_error:Device error",
	} {
		if strings.Contains(message, rv.String()) || strings.Contains(message, words) {
			return rv.String()
		}
	}
	return message
}

// program is the target of commands of one application.
func (c *cluster) program(t *testing.T, name string) target.Target {
	t.Helper()
	module := c.addApplication(t, name)
	p := target.Target{
		Name: name, Module: c.module, Env: []string{"ANYHSM_CONFIG=" + module, "ANYHSM_SOCKET="}, Token: mainToken, PIN: userPIN, SOPIN: soPIN,
	}.In(filepath.Join(c.dir, name))
	p.EngineConfiguration(t)
	return p
}

// try runs a program, with more time than a module's calls may take.
func try(p target.Target, name string, arguments ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	prepared := p.Command(name, arguments...)
	command := exec.CommandContext(ctx, name, arguments...)
	command.Env, command.Dir = prepared.Env, prepared.Dir
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %.500s", name, err, out)
	}
	return nil
}

func (r *recorder) tool(p target.Target, arguments ...string) error {
	return try(p, "pkcs11-tool", append([]string{"--module", p.Module, "--token-label", p.Token, "--login", "--pin", p.PIN}, arguments...)...)
}

func (r *recorder) generate(p target.Target, label, id string) bool {
	return r.do(history.Record{Kind: history.Generate, Token: p.Token, Name: label}, func(*history.Record) error {
		return r.tool(p, "--keypairgen", "--key-type", "EC:prime256v1", "--label", label, "--id", id, "--usage-sign")
	})
}

// certified makes a key and a certificate for it, which another key of the same program never gets.
func (r *recorder) certified(p target.Target, label string) {
	r.t.Helper()
	if !r.generate(p, label, "0a") {
		r.t.Fatalf("the key %s cannot be made", label)
	}
	if !r.do(history.Record{Kind: history.Sign, Token: p.Token, Name: label}, func(*history.Record) error {
		return try(p, "openssl", "req", "-new", "-x509", "-sha256", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
			"-engine", "pkcs11", "-keyform", "engine", "-key", p.URI(label), "-out", "web.crt")
	}) {
		r.t.Fatal("there is no certificate")
	}
}

// toolLoop makes keys with pkcs11-tool and signs with them.
func (r *recorder) toolLoop(p target.Target) {
	must(r.t, os.WriteFile(p.File("digest"), make([]byte, 32), 0o600))
	for n := 0; !r.stopped(); n++ {
		label, id := fmt.Sprint(p.Name, "-", n), fmt.Sprintf("%08x", n+1)
		if !r.generate(p, label, id) {
			continue
		}
		for range 3 {
			r.do(history.Record{Kind: history.Sign, Token: p.Token, Name: label}, func(*history.Record) error {
				return r.tool(p, "--sign", "--mechanism", "ECDSA", "--id", id, "--input-file", "digest", "--output-file", "signature")
			})
		}
		time.Sleep(300 * time.Millisecond)
	}
}

// opensslLoop signs with the engine and verifies with OpenSSL alone.
func (r *recorder) opensslLoop(p target.Target) {
	must(r.t, os.WriteFile(p.File("text"), []byte("attack at dawn"), 0o600))
	must(r.t, try(p, "openssl", "x509", "-in", "web.crt", "-pubkey", "-noout", "-out", "public.pem"))
	for !r.stopped() {
		r.do(history.Record{Kind: history.Sign, Token: p.Token, Name: p.Name + "-key"}, func(*history.Record) error {
			if err := try(p, "openssl", "dgst", "-sha256", "-engine", "pkcs11", "-keyform", "engine", "-sign", p.URI(p.Name+"-key"), "-out", "signature", "text"); err != nil {
				return err
			}
			return try(p, "openssl", "dgst", "-sha256", "-verify", "public.pem", "-signature", "signature", "text")
		})
		time.Sleep(200 * time.Millisecond)
	}
}

// webServer is an nginx with its own key.
type webServer struct {
	address string
	roots   *x509.CertPool
	pid     int
}

// serve starts nginx with the configuration of docs/applications/nginx.md.
func (c *cluster) serve(t *testing.T, p target.Target) *webServer {
	t.Helper()
	directory := filepath.Dir(p.File("x"))
	address := "127.0.0.1:" + freePort(t)
	var temporary strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temporary, "    %s_temp_path %s/%s;\n", kind, directory, kind)
	}
	text := target.Replace(t, target.Page(t, "nginx.md", "nginx"), map[string]string{
		// The certificate of the application belongs to root.
		"user www-data":      "user root",
		"worker_processes 4": "env ANYHSM_CONFIG;\nworker_processes 2",
		"/run/nginx.pid":     directory + "/nginx.pid",
		"/var/log/nginx":     directory,
		"/etc/nginx/web.crt": directory + "/web.crt",
		"127.0.0.1:8443":     address,
		"http {\n":           "http {\n" + temporary.String(),
		"pkcs11:token=tls;object=web;type=private?pin-value=1234": p.URI(p.Name + "-key"),
	})
	file := p.Write(t, "nginx.conf", []byte(text))
	must(t, try(p, "nginx", "-c", file, "-p", directory))
	s := &webServer{address: address, roots: x509.NewCertPool()}
	certificate, err := os.ReadFile(p.File("web.crt"))
	must(t, err)
	s.roots.AppendCertsFromPEM(certificate)
	for deadline := time.Now().Add(patience); s.pid == 0; time.Sleep(50 * time.Millisecond) {
		written, _ := os.ReadFile(p.File("nginx.pid"))
		s.pid, _ = strconv.Atoi(strings.TrimSpace(string(written)))
		if time.Now().After(deadline) {
			t.Fatalf("nginx does not start:\n%s", tail(p.File("error.log")))
		}
	}
	t.Cleanup(func() {
		_ = syscall.Kill(s.pid, syscall.SIGTERM)
		for deadline := time.Now().Add(patience); syscall.Kill(s.pid, 0) == nil; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("nginx %d does not end:\n%s", s.pid, tail(p.File("error.log")))
				_ = syscall.Kill(s.pid, syscall.SIGKILL)
				return
			}
		}
	})
	return s
}

// handshakes makes one after the other, each with a connection of its own and a verified certificate.
func (r *recorder) handshakes(s *webServer, clients int, pause time.Duration) {
	var all sync.WaitGroup
	for client := range clients {
		all.Go(func() {
			for !r.stopped() {
				r.do(history.Record{Kind: history.Handshake}, func(*history.Record) error { return s.handshake(uint16(tls.VersionTLS12 + client%2)) })
				time.Sleep(pause)
			}
		})
	}
	all.Wait()
}

func (s *webServer) handshake(version uint16) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dialer := tls.Dialer{NetDialer: &net.Dialer{}, Config: &tls.Config{RootCAs: s.roots, ServerName: "localhost", MinVersion: version, MaxVersion: version}}
	conn, err := dialer.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return err
	}
	return conn.Close()
}
