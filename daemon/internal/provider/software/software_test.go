package software_test

import (
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/providertest"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/software"
)

func TestConformance(t *testing.T) {
	keyring := newKeyring("token", "another")
	providertest.Run(t, providertest.Subject{Token: "token", Open: func(t *testing.T) provider.Provider {
		p, err := software.New(software.Config{Sealer: keyring, CacheSize: 8})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}})
}
