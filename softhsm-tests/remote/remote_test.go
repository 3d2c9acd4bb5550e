// Package remote uses the module over TCP: an application enrolls with a one-time code, gets a certificate, and works
// with it over mutual TLS 1.3 until it is revoked.
package remote

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// enroll returns a target whose module reaches the daemon as an enrolled application and by no other way.
func enroll(t *testing.T, daemon *daemontest.Daemon, application string) target.Target {
	t.Helper()
	directory := t.TempDir()
	daemon.CLI(t, "app", "add", application, "--grant", daemon.Token+":use+create+modify+destroy")
	code := strings.TrimSpace(daemon.CLI(t, "app", "code", application))
	file := filepath.Join(directory, "code")
	if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	enrolled := filepath.Join(directory, "enrolled")
	daemon.CLI(t, "enroll", "--endpoint", daemon.Endpoint, "--dir", enrolled, "--code", "file:"+file)
	return target.Target{
		Name: "remote", Module: daemon.ModulePath, Token: daemon.Token, PIN: daemon.UserPIN, SOPIN: daemon.SOPIN, Daemon: daemon,
		Env: []string{"ANYHSM_CONFIG=" + filepath.Join(enrolled, "module.toml"), "ANYHSM_SOCKET="},
	}.In(directory)
}

func TestEnrolledApplication(t *testing.T) {
	daemon := daemontest.Start(t, daemontest.Options{TCP: true})
	remote := enroll(t, daemon, "remote")
	remote.EngineConfiguration(t)
	remote.GenerateKeyPair(t, "EC:prime256v1", "web", "01")
	certify := []string{
		"req", "-new", "-x509", "-sha256", "-days", "2", "-subj", "/CN=remote", "-engine", "pkcs11", "-keyform", "engine",
		"-key", remote.URI("web"), "-out", "web.crt",
	}
	remote.Run(t, "openssl", certify...)
	remote.Run(t, "openssl", "verify", "-CAfile", remote.File("web.crt"), remote.File("web.crt"))
	// Uses of keys are committed in groups, a moment after they are answered.
	var events string
	for range 50 {
		if events = daemon.CLI(t, "audit", "tail"); strings.Contains(events, " sign ") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !strings.Contains(events, "remote") || !strings.Contains(events, " sign ") {
		t.Errorf("the audit log does not name application and use:\n%s", events)
	}

	// The certificate outlives a restart of the daemon.
	daemon.Kill()
	daemon.Restart()
	remote.Run(t, "openssl", certify...)

	// Another application with a certificate, but without a grant, sees no token.
	daemon.CLI(t, "app", "revoke", "remote", daemon.Token)
	if out, _, _ := remote.Try("pkcs11-tool", "--module", remote.Module, "--list-slots"); strings.Contains(out, daemon.Token) {
		t.Errorf("the token is seen without a grant:\n%s", out)
	}
	if out, stderr, err := remote.Try("openssl", certify...); err == nil {
		t.Errorf("a key is used without a grant:\n%s%s", out, stderr)
	}
	daemon.CLI(t, "app", "grant", "remote", daemon.Token, "--operations", "use")
	remote.Run(t, "openssl", certify...)
	if out, stderr, err := remote.Try("pkcs11-tool", "--module", remote.Module, "--token-label", remote.Token, "--login", "--pin", remote.PIN,
		"--keypairgen", "--key-type", "EC:prime256v1", "--label", "second"); err == nil {
		t.Errorf("a key is made with a grant for use alone:\n%s%s", out, stderr)
	}
	daemon.CLI(t, "app", "revoke", "remote", "--all")
	if out, stderr, err := remote.Try("openssl", certify...); err == nil {
		t.Errorf("a key is used by an application that is gone:\n%s%s", out, stderr)
	}
}
