// Package moving copies, moves and rotates keys between providers while applications use them. The cloud services are
// strict fakes, all else is real.
package moving

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// laboratory is a daemon with a token whose keys are made in provider software, and other providers to go to: hsm, which
// is SoftHSM, and aws.
type laboratory struct {
	target.Target
	aws *gate
}

func newLaboratory(t *testing.T, tables string) laboratory {
	t.Helper()
	service := newGate(t, daemontest.Service(t, "./daemon/internal/provider/awskms/awsfake/serve"))
	// The fake's own credentials: they open nothing else.
	t.Setenv("ANYHSM_TEST_AWS_ID", "AKIAIOSFODNN7EXAMPLE")
	t.Setenv("ANYHSM_TEST_AWS_SECRET", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
	daemon := daemontest.Start(t, daemontest.Options{Provider: "hsm", NoToken: true, Tables: fmt.Sprintf(`
[[provider]]
name = "aws"
kind = "awskms"
[provider.awskms]
region = "eu-central-1"
endpoint = %q
access_key_id = "env:ANYHSM_TEST_AWS_ID"
secret_access_key = "env:ANYHSM_TEST_AWS_SECRET"
`, service.URL) + tables})
	daemon.CLI(t, "token", "create", daemon.Token, "--provider", "software", "--so-pin", "env:ANYHSM_TEST_SO_PIN", "--user-pin", "env:ANYHSM_TEST_USER_PIN")
	on := target.Of(t, "software", daemon)
	on.EngineConfiguration(t)
	return laboratory{on, service}
}

// gate stands between the daemon and AWS's fake: it can be shut, and it can hold one operation.
type gate struct {
	*httptest.Server
	mu   sync.Mutex
	shut bool
	// hold is the operation that is held once: its answer is kept back if after is set, else it never comes through.
	hold    string
	after   bool
	held    chan struct{}
	release chan struct{}
}

func newGate(t *testing.T, service string) *gate {
	t.Helper()
	to, err := url.Parse(service)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	g := &gate{release: make(chan struct{})}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		g.mu.Lock()
		shut, held, after := g.shut, g.hold != "" && g.hold == operation, g.after
		if held {
			g.hold = ""
		}
		g.mu.Unlock()
		if shut {
			panic(http.ErrAbortHandler)
		}
		if held && after {
			proxy.ServeHTTP(httptest.NewRecorder(), r)
		}
		if held {
			close(g.held)
			<-g.release
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		close(g.release)
		g.Close()
	})
	return g
}

// holdOnce holds the next call of an operation, before or after the service has done it. The channel tells when.
func (g *gate) holdOnce(operation string, after bool) <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hold, g.after, g.held = operation, after, make(chan struct{})
	return g.held
}

func (g *gate) setShut(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
}

// placed is what the CLI says of a key's places.
type placed struct {
	Places []struct {
		Provider string
		Retired  bool
		Cannot   []string
	}
	Known bool
	Proof string
}

// used names the providers where the key is used, retired those where it only lies.
func (p placed) used() (used, retired string) {
	for _, place := range p.Places {
		if place.Retired {
			retired += place.Provider + " "
		} else {
			used += place.Provider + " "
		}
	}
	return strings.TrimSpace(used), strings.TrimSpace(retired)
}

// place runs a command that says where a key is.
func (l laboratory) place(t *testing.T, arguments ...string) placed {
	t.Helper()
	var p placed
	out := l.Daemon.CLI(t, append(append([]string{"key"}, arguments...), "--token", l.Token, "--json")...)
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return p
}

// fails runs a CLI command that must fail, and say so.
func (l laboratory) fails(t *testing.T, want string, arguments ...string) {
	t.Helper()
	_, cli := daemontest.Programs(t)
	out, stderr, err := l.Try(cli, append(arguments, "--token", l.Token)...)
	if err == nil || !strings.Contains(stderr, want) {
		t.Errorf("anyhsm %s: want %q, got %v\n%s%s", strings.Join(arguments, " "), want, err, out, stderr)
	}
}

// holds tells how many keys a provider has.
func (l laboratory) holds(t *testing.T, provider string) int {
	t.Helper()
	var keys []any
	if err := json.Unmarshal([]byte(l.Daemon.CLI(t, "provider", "keys", provider, "--json")), &keys); err != nil {
		t.Fatal(err)
	}
	return len(keys)
}

// certify makes a self-signed certificate through OpenSSL and PKCS#11.
func (l laboratory) certify(t *testing.T, label string) {
	t.Helper()
	l.Run(t, "openssl", "req", "-new", "-x509", "-sha256", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
		"-engine", "pkcs11", "-keyform", "engine", "-key", l.URI(label), "-out", label+".crt")
}

// signs has OpenSSL sign with the key and verify with the certificate.
func (l laboratory) signs(t *testing.T, label string) {
	t.Helper()
	message := l.Write(t, "message", []byte("a message"))
	l.Run(t, "openssl", "dgst", "-sha256", "-out", "signature", "-engine", "pkcs11", "-keyform", "engine", "-sign", l.URI(label), message)
	l.Write(t, "public.pem", []byte(l.Run(t, "openssl", "x509", "-in", label+".crt", "-noout", "-pubkey")))
	if out := l.Run(t, "openssl", "dgst", "-sha256", "-verify", "public.pem", "-signature", "signature", message); !strings.Contains(out, "Verified OK") {
		t.Errorf("%s: %s", label, out)
	}
}
