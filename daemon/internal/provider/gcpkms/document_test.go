package gcpkms_test

import (
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/providertest"
)

func TestDocument(t *testing.T) {
	_, c := service(t)
	providertest.Document(t, "../../../../docs/providers/gcpkms.md", open(t, c).Capabilities())
}
