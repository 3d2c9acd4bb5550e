package hsm

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/providertest"
)

const softokn = "/usr/lib/x86_64-linux-gnu/libsoftokn3.so"

// nssDatabase makes a database with the password userPIN and returns what softokn wants in pReserved.
func nssDatabase(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	password := filepath.Join(directory, "password")
	if err := os.WriteFile(password, []byte(userPIN+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("certutil", "-N", "-d", "sql:"+directory, "-f", password).CombinedOutput(); err != nil {
		t.Fatalf("certutil -N: %v: %s", err, out)
	}
	return "configdir='sql:" + directory + "' certPrefix='' keyPrefix='' secmod='secmod.db' flags="
}

// TestNSS runs the conformance suite on the softokn of Firefox and Thunderbird, which gets its configuration through
// C_Initialize and has its keys in an SQLite database.
func TestNSS(t *testing.T) {
	c := Config{Name: "nss", Library: softokn, TokenLabel: "NSS Certificate DB", PIN: userPIN, Sessions: 8, InitArgs: nssDatabase(t)}
	providertest.Run(t, providertest.Subject{Token: "token", Open: func(t *testing.T) provider.Provider { return connect(t, c) }})
}
