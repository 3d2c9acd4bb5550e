package hosts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

// TestProvider: an application chooses where its new keys go, as far as the token's rules let it. The token is a second
// one, whose own provider is software, beside an HSM.
func TestProvider(t *testing.T) {
	daemon := daemontest.Start(t, daemontest.Options{Provider: "hsm", NoToken: true})
	pin, rules := filepath.Join(t.TempDir(), "pin"), filepath.Join(t.TempDir(), "rules.toml")
	for file, text := range map[string]string{pin: daemon.UserPIN, rules: "[[rule]]\nprovider = \"hsm\"\non_request = true\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	daemon.CLI(t, "token", "create", daemon.Token, "--user-pin", "file:"+pin)
	daemon.CLI(t, "token", "rules", "set", daemon.Token, rules)
	run(t, daemon.Env(), "provider", daemon.ModulePath, daemon.UserPIN)
	// In the HSM are the pair, the generated key and the created one, and no other.
	if keys := daemon.CLI(t, "provider", "keys", "hsm"); strings.Count(keys, daemon.Token) != 3 {
		t.Errorf("in the HSM are:\n%s", keys)
	}
}
