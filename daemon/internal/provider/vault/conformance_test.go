package vault_test

import (
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/providertest"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/vault"
	"github.com/anyhsm/anyhsm/softhsm-tests/vaulttest"
)

// secret is a reference to a secret that is known.
func secret(text string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(text), nil }
}

// settings are those of a provider on a server, with its root token.
func settings(s *vaulttest.Server) vault.Config {
	return vault.Config{
		Name: "vault", Address: s.Address, CA: s.CA, Login: vault.LoginToken, Token: secret(s.Root), CallTimeout: 20 * time.Second,
	}
}

func open(t *testing.T, c vault.Config) *vault.Provider {
	t.Helper()
	p, err := vault.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// TestConformance runs the suite that each provider passes.
func TestConformance(t *testing.T) {
	c := settings(vaulttest.Start(t))
	providertest.Run(t, providertest.Subject{Token: "conformance", Open: func(t *testing.T) provider.Provider { return open(t, c) }})
}
