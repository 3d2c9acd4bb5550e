package hsm

import (
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/providertest"
)

func TestDocument(t *testing.T) {
	p := connect(t, config("documentation"))
	providertest.Document(t, "../../../../docs/providers/hsm.md", p.Capabilities())
}
