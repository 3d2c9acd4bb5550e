// Package peertest gives tests the services that providers need, as processes, and the configuration of a provider on
// each. Vault and PyKMIP are the real ones; the clouds, and a KMIP server that does everything, are strict fakes.
package peertest

import (
	"os"
	"path/filepath"
	"testing"
)

// Peer is a running service, which ends with the test.
type Peer struct {
	// Provider is the provider's name in the configuration, Tables the configuration, as TOML.
	Provider, Tables string
	// URL is where the service listens, with a scheme where it has one.
	URL string
}

// secret writes a secret where a configuration can refer to it, and returns the reference.
func secret(t testing.TB, value string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(value), 0o600); err != nil {
		t.Fatal(err)
	}
	return "file:" + path
}
