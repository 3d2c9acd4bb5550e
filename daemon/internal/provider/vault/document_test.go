package vault_test

import (
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/providertest"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/vault"
)

func TestDocument(t *testing.T) {
	p := open(t, vault.Config{Address: "https://vault.example.org:8200", Login: vault.LoginToken, Token: secret("t")})
	providertest.Document(t, "../../../../docs/providers/vault.md", p.Capabilities())
}
