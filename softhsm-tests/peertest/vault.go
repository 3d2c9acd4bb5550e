package peertest

import (
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/target"
	"github.com/anyhsm/anyhsm/softhsm-tests/vaulttest"
)

// Vault is the real Vault, with the configuration and the policy of docs/providers/vault.md; the provider is vault.
func Vault(t testing.TB) (Peer, *vaulttest.Server) {
	t.Helper()
	s := vaulttest.Start(t)
	s.Policy(t, "anyhsm", target.Page(t, "../providers/vault.md", "hcl"))
	s.Do(t, "POST", "sys/auth/approle", map[string]any{"type": "approle"})
	s.Do(t, "POST", "auth/approle/role/anyhsm", map[string]any{"token_policies": "anyhsm", "token_ttl": "1h"})
	data := func(method, path string) map[string]any { return s.Do(t, method, path, nil)["data"].(map[string]any) }
	reference := secret(t, data("POST", "auth/approle/role/anyhsm/secret-id")["secret_id"].(string))
	tables := target.Replace(t, target.Page(t, "../providers/vault.md", "toml"), map[string]string{
		"https://vault.example.org:8200":       s.Address,
		"/etc/anyhsm/vault-ca.crt":             s.CA,
		"/etc/anyhsm/vault.secret-id":          strings.TrimPrefix(reference, "file:"),
		"00000000-0000-0000-0000-000000000000": data("GET", "auth/approle/role/anyhsm/role-id")["role_id"].(string),
	})
	return Peer{"vault", tables, s.Address}, s
}
