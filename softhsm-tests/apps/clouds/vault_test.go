package clouds

import (
	"os"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/target"
	"github.com/anyhsm/anyhsm/softhsm-tests/vaulttest"
)

// vaultPolicy is that of docs/providers/vault.md for a daemon that makes and deletes keys.
func vaultPolicy(t *testing.T) string { return target.Page(t, "../providers/vault.md", "hcl") }

// vaultTransit starts the real Vault, and a daemon whose token keeps its keys there, with the configuration of the page.
func vaultTransit(t *testing.T) (target.Target, *vaulttest.Server) {
	t.Helper()
	tables, s := vaultTables(t)
	made := target.Of(t, "vault", daemontest.Start(t, daemontest.Options{Provider: "vault", Tables: tables}))
	made.EngineConfiguration(t)
	return made, s
}

// vaultTables starts the real Vault and returns the configuration of a provider on it.
func vaultTables(t *testing.T) (string, *vaulttest.Server) {
	t.Helper()
	s := vaulttest.Start(t)
	s.Policy(t, "anyhsm", vaultPolicy(t))
	s.Do(t, "POST", "sys/auth/approle", map[string]any{"type": "approle"})
	s.Do(t, "POST", "auth/approle/role/anyhsm", map[string]any{"token_policies": "anyhsm", "token_ttl": "1h"})
	data := func(method, path string) map[string]any { return s.Do(t, method, path, nil)["data"].(map[string]any) }
	secret := t.TempDir() + "/secret-id"
	if err := os.WriteFile(secret, []byte(data("POST", "auth/approle/role/anyhsm/secret-id")["secret_id"].(string)), 0o600); err != nil {
		t.Fatal(err)
	}
	return target.Replace(t, target.Page(t, "../providers/vault.md", "toml"), map[string]string{
		"https://vault.example.org:8200":       s.Address,
		"/etc/anyhsm/vault-ca.crt":             s.CA,
		"/etc/anyhsm/vault.secret-id":          secret,
		"00000000-0000-0000-0000-000000000000": data("GET", "auth/approle/role/anyhsm/role-id")["role_id"].(string),
	}), s
}

func TestVault(t *testing.T) {
	on, s := vaultTransit(t)
	for _, key := range []struct{ kind, label, id string }{
		{"rsa:2048", "rsa", "01"},
		{"EC:prime256v1", "p256", "02"},
		{"EC:secp384r1", "p384", "03"},
		{"EC:secp521r1", "p521", "04"},
	} {
		on.GenerateKeyPair(t, key.kind, key.label, key.id)
		certify(t, on, key.label)
	}
	t.Run("OpenSSL", func(t *testing.T) { signatures(t, on) })
	t.Run("OAEP", func(t *testing.T) { decrypts(t, on) })
	t.Run("HMAC", func(t *testing.T) { gcpHMAC(t, on) })
	t.Run("refused", func(t *testing.T) {
		data := on.Write(t, "data", make([]byte, 32))
		// OpenSC 0.23 has no name for CKR_CURVE_NOT_SUPPORTED.
		refused(t, on, "0x140", "--keypairgen", "--key-type", "EC:secp224r1", "--label", "no", "--id", "20")
		refused(t, on, "CKR_ATTRIBUTE_VALUE_INVALID", "--keypairgen", "--key-type", "rsa:1024", "--label", "no", "--id", "20")
		refused(t, on, "CKR_ATTRIBUTE_VALUE_INVALID", "--keygen", "--key-type", "AES:24", "--label", "no", "--id", "20")
		refused(t, on, "CKR_MECHANISM", "--decrypt", "--id", "01", "--mechanism", "RSA-PKCS", "--input-file", data, "--output-file", on.File("plaintext"))
	})
	t.Run("check", func(t *testing.T) {
		if out := on.Daemon.CLI(t, "provider", "check", "vault"); !strings.Contains(out, "verify") {
			t.Errorf("provider check:\n%s", out)
		}
	})
	t.Run("import", func(t *testing.T) { imports(t, on) })
	t.Run("adopt", func(t *testing.T) {
		s.Do(t, "POST", "transit/keys/shop", map[string]any{"type": "ecdsa-p256"})
		list := on.Daemon.CLI(t, "provider", "keys", "vault")
		for _, want := range []string{"rsa", "p256", "p384", "p521", "shop/1"} {
			if !strings.Contains(list, want) {
				t.Errorf("the listing has no %s:\n%s", want, list)
			}
		}
		on.Daemon.CLI(t, "key", "adopt", "--token", on.Token, "shop")
		certify(t, on, "shop")
		// The key is rotated in Vault, and the certificate stays valid.
		s.Do(t, "POST", "transit/keys/shop/rotate", nil)
		certify(t, on, "shop")
		on.Daemon.CLI(t, "key", "delete", "--token", on.Token, "--yes", "p521")
		for _, name := range s.Do(t, "GET", "transit/keys?list=true", nil)["data"].(map[string]any)["keys"].([]any) {
			if strings.HasSuffix(name.(string), "-p521") {
				t.Errorf("the key of the deleted object is still there: %s", name)
			}
		}
	})
	for _, label := range []string{"p256", "rsa"} {
		t.Run("nginx "+label, func(t *testing.T) { serve(t, on, label) })
	}
}
