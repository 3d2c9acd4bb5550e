package peertest

import (
	"fmt"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/pykmiptest"
)

// KMIP is the strict server of our own, which does everything; the provider is kmip.
func KMIP(t testing.TB) Peer {
	t.Helper()
	directory := t.TempDir()
	return kmip("kmip", directory, daemontest.Service(t, "./daemon/internal/provider/kmip/kmiptest/kmipserver", "-directory", directory), "2.1")
}

// PyKMIP is the real server of PyKMIP; the provider is pykmip.
func PyKMIP(t testing.TB) Peer {
	t.Helper()
	server := pykmiptest.Start(t)
	return kmip("pykmip", server.Directory, server.Address, "1.4")
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
