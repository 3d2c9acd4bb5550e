package hsm

import (
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/providertest"
)

func TestConformance(t *testing.T) {
	providertest.Run(t, providertest.Subject{Token: "token", Open: func(t *testing.T) provider.Provider {
		return connect(t, config("conformance"))
	}})
}
