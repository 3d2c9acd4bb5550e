// Package vaulttest gives tests a HashiCorp Vault of their own: the real one, built from the module in
// softhsm-tests/vaultserver, with storage in memory and a transit engine.
package vaulttest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Server is a running Vault.
type Server struct {
	// Address is its URL, CA the path of the certificate of its authority, Root its root token.
	Address, CA, Root string

	unseal string
	client *http.Client
}

// Start starts a Vault that ends with the test. The first test on a machine builds it, which takes minutes.
func Start(t testing.TB) *Server {
	t.Helper()
	program, err := build()
	if err != nil {
		t.Fatalf("build Vault: %v", err)
	}
	directory := t.TempDir()
	command := exec.Command(program, "-directory", directory)
	// It ends when its input does, also when this process is killed.
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = command.Wait()
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("Vault did not start: %v", err)
	}
	var made struct{ Address, Token, Unseal string }
	if err := json.Unmarshal(line, &made); err != nil {
		t.Fatal(err)
	}
	s := &Server{Address: made.Address, CA: filepath.Join(directory, "ca.crt"), Root: made.Token, unseal: made.Unseal}
	authority, err := os.ReadFile(s.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	s.client = &http.Client{Transport: transport, Timeout: time.Minute}
	s.Do(t, "POST", "sys/mounts/transit", map[string]any{"type": "transit"})
	return s
}

// Do makes a call of the API as root, which must succeed, and returns the answer.
func (s *Server) Do(t testing.TB, method, path string, in any) map[string]any {
	t.Helper()
	status, out := s.Try(t, s.Root, method, path, in)
	if status > 299 {
		t.Fatalf("%s %s: %d, %v", method, path, status, out)
	}
	return out
}

// Try makes a call of the API with a token, and returns the status and the answer.
func (s *Server) Try(t testing.TB, token, method, path string, in any) (status int, out map[string]any) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, s.Address+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Vault-Token", token)
	response, err := s.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &out); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
	}
	return response.StatusCode, out
}

// Transport trusts the server.
func (s *Server) Transport() http.RoundTripper { return s.client.Transport }

// Seal seals the server, Unseal opens it again.
func (s *Server) Seal(t testing.TB) {
	t.Helper()
	s.Do(t, "POST", "sys/seal", nil)
}

// Unseal opens a sealed server.
func (s *Server) Unseal(t testing.TB) {
	t.Helper()
	s.Do(t, "POST", "sys/unseal", map[string]any{"key": s.unseal})
}

// Policy writes a policy.
func (s *Server) Policy(t testing.TB, name, text string) {
	t.Helper()
	s.Do(t, "POST", "sys/policies/acl/"+name, map[string]any{"policy": text})
}

// Token makes a token; in is the body of auth/token/create.
func (s *Server) Token(t testing.TB, in map[string]any) string {
	t.Helper()
	return s.Do(t, "POST", "auth/token/create", in)["auth"].(map[string]any)["client_token"].(string)
}

// root is the top of the source tree.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// build builds Vault, if a source is newer than what was built before. Test packages run at the same time, so a lock lets
// one build for all.
var build = sync.OnceValues(func() (program string, err error) {
	source, products := filepath.Join(root(), "softhsm-tests", "vaultserver"), filepath.Join(root(), "build")
	if err := os.MkdirAll(products, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(products, ".vaultserver.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	program = filepath.Join(products, "vaultserver")
	built, err := os.Stat(program)
	stale := err != nil
	entries, err := os.ReadDir(source)
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		stale = stale || err != nil || info.ModTime().After(built.ModTime())
	}
	if !stale {
		return program, nil
	}
	command := exec.Command("go", "build", "-ldflags=-s -w", "-o", program+".new", ".")
	command.Dir = source
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return program, os.Rename(program+".new", program)
})
