package hsm

import (
	"os"
	"os/exec"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/providertest"
	"github.com/anyhsm/anyhsm/softhsm-tests/opencryptokitest"
)

// TestOpencryptoki runs the conformance suite on opencryptoki's soft token, which has no EC keys and no GCM. The library
// finds its token by fixed paths, so the suite runs in a process of its own that sees others there.
func TestOpencryptoki(t *testing.T) {
	if os.Getenv("ANYHSM_TEST_CHILD") == "" {
		within := opencryptokitest.Within(t, t.TempDir())
		arguments := append(within[1:], os.Args[0], "-test.run=^TestOpencryptoki$", "-test.v")
		child := exec.CommandContext(t.Context(), within[0], arguments...)
		child.Env = append(os.Environ(), "ANYHSM_TEST_CHILD=1")
		if out, err := child.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	c := Config{Name: "opencryptoki", Library: opencryptokitest.Library(t), TokenLabel: opencryptokitest.Token, PIN: opencryptokitest.PIN, Sessions: 8}
	providertest.Run(t, providertest.Subject{Token: "token", Open: func(t *testing.T) provider.Provider { return connect(t, c) }})
}
