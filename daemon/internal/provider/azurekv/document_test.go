package azurekv_test

import (
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/azurekv/azurefake"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/providertest"
)

// TestDocument has the table of a Managed HSM: a vault's is the same without AES.
func TestDocument(t *testing.T) {
	_, c := vault(t, azurefake.Options{HSM: true})
	providertest.Document(t, "../../../../docs/providers/azurekv.md", open(t, c).Capabilities())
}
