package kmip

import (
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/providertest"
)

// TestDocument writes the table of a server that does everything.
func TestDocument(t *testing.T) {
	_, _, c := strict(t)
	providertest.Document(t, "../../../../docs/providers/kmip.md", connect(t, c).Capabilities())
}
