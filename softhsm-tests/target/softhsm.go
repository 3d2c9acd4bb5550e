package target

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

// SoftHSM makes a fresh SoftHSM token in a directory of the test and returns it as a target of its own.
func SoftHSM(t testing.TB) Target {
	t.Helper()
	directory := t.TempDir()
	tokens := filepath.Join(directory, "tokens")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	configuration := filepath.Join(directory, "softhsm2.conf")
	text := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", tokens)
	if err := os.WriteFile(configuration, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	target := Target{
		Name: "softhsm", Module: daemontest.SoftHSMLibrary, Env: []string{"SOFTHSM2_CONF=" + configuration},
		Token: "reference", PIN: "1234", SOPIN: "12345678", directory: directory,
	}
	command := exec.Command("softhsm2-util", "--init-token", "--free", "--label", target.Token, "--pin", target.PIN, "--so-pin", target.SOPIN)
	command.Env = append(os.Environ(), target.Env...)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("softhsm2-util: %v\n%s", err, out)
	}
	return target
}
