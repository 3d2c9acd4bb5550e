package replicas

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/postgrestest"
)

// An application that was enrolled through one daemon is known to the other with its first call, not only when that
// has heard of it.
func TestEnrolledElsewhere(t *testing.T) {
	first := daemontest.Start(t, daemontest.Options{Store: postgrestest.Shared(t).Database(t), TCP: true})
	second := daemontest.Start(t, daemontest.Options{Replica: first, TCP: true})
	for n := range 10 {
		name, dir := fmt.Sprint("application", n), t.TempDir()
		first.CLI(t, "app", "add", name, "--grant", first.Token)
		code := filepath.Join(dir, "code")
		if err := os.WriteFile(code, []byte(strings.TrimSpace(first.CLI(t, "app", "code", name))), 0o600); err != nil {
			t.Fatal(err)
		}
		first.CLI(t, "enroll", "--endpoint", first.Endpoint, "--dir", dir, "--code", "file:"+code)
		config := filepath.Join(dir, "second.toml")
		text := fmt.Sprintf("endpoints = [%q]\n[tls]\ncertificate = %q\nkey = %q\nca = %q\n", second.Endpoint, dir+"/app.crt", dir+"/app.key", dir+"/ca.crt")
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		list := exec.Command("pkcs11-tool", "--module", first.ModulePath, "--list-slots")
		list.Env = append(os.Environ(), "ANYHSM_CONFIG="+config, "ANYHSM_SOCKET=")
		if out, err := list.CombinedOutput(); err != nil || !strings.Contains(string(out), first.Token) {
			t.Errorf("application %d, %v: %s", n, err, out)
		}
	}
}
