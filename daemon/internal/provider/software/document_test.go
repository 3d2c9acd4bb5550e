package software_test

import (
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/providertest"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/software"
)

func TestDocument(t *testing.T) {
	p, err := software.New(software.Config{Sealer: newKeyring()})
	if err != nil {
		t.Fatal(err)
	}
	providertest.Document(t, "../../../../docs/providers/software.md", p.Capabilities())
}
