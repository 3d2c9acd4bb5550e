// Package opencryptokitest gives tests the soft token of opencryptoki, with the daemon pkcsslotd that it needs.
package opencryptokitest

import (
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Token is the token's label; its PINs have at most eight characters.
const Token, SOPIN, PIN = "opencryptoki", "so-0815-", "user4711"

//go:embed private.sh
var script string

// Library returns the path of the PKCS#11 library.
func Library(t testing.TB) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/*/pkcs11/libopencryptoki.so")
	if err != nil || len(found) == 0 {
		t.Fatal("opencryptoki is not installed; run scripts/install-packages.sh")
	}
	return found[0]
}

// Within returns the beginning of a command line: what follows it runs where the token is, which has its files in a
// directory. Nobody else on the machine sees it, nor is the machine's own opencryptoki touched.
func Within(t testing.TB, directory string) []string {
	t.Helper()
	Library(t)
	unshare := []string{"unshare", "--mount", "--ipc"}
	if os.Getuid() != 0 {
		unshare = append(unshare, "--user", "--map-root-user")
	}
	if out, err := exec.Command(unshare[0], append(unshare[1:], "true")...).CombinedOutput(); err != nil {
		t.Fatalf("opencryptoki has fixed paths, so the test needs namespaces of its own, and this machine refuses them: %v: %s"+
			"Run as root with CAP_SYS_ADMIN (docker run --cap-add SYS_ADMIN --security-opt apparmor=unconfined --security-opt seccomp=unconfined), "+
			"or let users make user namespaces (sysctl kernel.unprivileged_userns_clone=1)", err, out)
	}
	path := filepath.Join(directory, "private.sh")
	if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	return append(unshare, "sh", path, directory, Token, SOPIN, PIN)
}
