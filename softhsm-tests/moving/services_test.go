package moving

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/vaulttest"
)

// services starts Vault, which is the real one, and the strict stand-ins of Google, Azure and a KMIP server, and returns
// the configuration of a provider on each.
func services(t *testing.T) string {
	t.Helper()
	vault := vaulttest.Start(t)
	google := daemontest.Service(t, "./daemon/internal/provider/gcpkms/gcpfake/serve")
	certificate := filepath.Join(t.TempDir(), "vault.pem")
	azure := daemontest.Service(t, "./daemon/internal/provider/azurekv/azurefake/serve", certificate)
	directory := t.TempDir()
	kmip := daemontest.Service(t, "./daemon/internal/provider/kmip/kmiptest/kmipserver", "-directory", directory)
	// The daemon trusts the fake's certificate as it would trust a company's own authority. The secrets open nothing else.
	t.Setenv("SSL_CERT_FILE", certificate)
	t.Setenv("ANYHSM_TEST_AZURE_SECRET", "not-a-secret~only-for-tests")
	t.Setenv("ANYHSM_TEST_VAULT_TOKEN", vault.Root)
	return fmt.Sprintf(`
[[provider]]
name = "vault"
kind = "vault"
[provider.vault]
address = %q
ca = %q
token = "env:ANYHSM_TEST_VAULT_TOKEN"
[[provider]]
name = "google"
kind = "gcpkms"
[provider.gcpkms]
key_ring = "projects/anyhsm-test/locations/europe-west3/keyRings/ring"
endpoint = %q
[[provider]]
name = "azure"
kind = "azurekv"
[provider.azurekv]
vault_url = %q
tenant_id = "00000000-1111-2222-3333-444444444444"
client_id = "55555555-6666-7777-8888-999999999999"
client_secret = "env:ANYHSM_TEST_AZURE_SECRET"
authority = %q
[[provider]]
name = "kmip"
kind = "kmip"
[provider.kmip]
address = %q
certificate = %q
key = %q
ca = %q
protocol = "2.1"
`, vault.Address, vault.CA, google, azure, azure, kmip, directory+"/client.crt", directory+"/client.key", directory+"/ca.crt")
}

// TestServices has each service serve TLS with a key that was made in provider software, with its one certificate.
func TestServices(t *testing.T) {
	l := newLaboratory(t, services(t))
	for _, key := range []struct{ kind, label, id string }{{"rsa:2048", "rsa", "01"}, {"EC:prime256v1", "p256", "02"}} {
		t.Run(key.label, func(t *testing.T) {
			l := laboratory{l.In(t.TempDir()), l.aws}
			l.GenerateKeyPair(t, key.kind, key.label, key.id)
			l.certify(t, key.label)
			site := serve(t, l.Target, key.label)
			for _, to := range []string{"vault", "google", "azure", "kmip", "aws", "hsm"} {
				p := l.place(t, "move", key.label, "--to", to)
				if used, _ := p.used(); used != to && used != to+" "+to || p.Proof == "" {
					t.Fatalf("moved to %s: %+v", to, p)
				}
				site.handshakes(t, "in "+to)
				l.signs(t, key.label)
			}
			// The other way round nothing leaves; what is retired still does.
			l.place(t, "move", key.label, "--to", "software")
			site.handshakes(t, "at home")
			l.Daemon.CLI(t, "key", "delete", key.label, "--yes", "--token", l.Token)
			if l.holds(t, "hsm") != 0 || l.holds(t, "vault") != 0 {
				t.Error("a deleted key is still where it was retired")
			}
		})
	}
}

// TestSecretKeys: an HMAC key in AWS KMS and an AES key in the HSM do what they did before.
func TestSecretKeys(t *testing.T) {
	l := newLaboratory(t, "")
	for _, key := range []struct{ kind, label, to string }{{"hmac:256", "mac", "aws"}, {"aes:256", "cipher", "hsm"}, {"hmac:256", "other mac", "hsm"}} {
		l.Daemon.CLI(t, "key", "create", key.label, "--type", key.kind, "--token", l.Token)
		p := l.place(t, "move", key.label, "--to", key.to)
		if used, retired := p.used(); used != key.to || retired != "software" || p.Proof == "" {
			t.Errorf("%s: %+v", key.label, p)
		}
	}
}
