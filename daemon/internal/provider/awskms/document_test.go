package awskms_test

import (
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/awskms"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/providertest"
)

func TestDocument(t *testing.T) {
	p := open(t, awskms.Config{Region: "eu-central-1"})
	providertest.Document(t, "../../../../docs/providers/awskms.md", p.Capabilities())
}
