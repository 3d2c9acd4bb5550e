package clouds

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// What the fake vault is signed in to with: it opens nothing else.
const (
	azureTenant = "00000000-1111-2222-3333-444444444444"
	azureClient = "55555555-6666-7777-8888-999999999999"
	azureSecret = "not-a-secret~only-for-tests"
)

// azureVault starts the fake vault, or a Managed HSM, and a daemon whose token keeps its keys there. The client is its
// administrator's.
func azureVault(t *testing.T, hsm bool) (target.Target, *azkeys.Client) {
	t.Helper()
	tables, url, certificate := azureTables(t, hsm)
	made := target.Of(t, "azurekv", daemontest.Start(t, daemontest.Options{Provider: "azure", Tables: tables}))
	made.EngineConfiguration(t)
	return made, azureAdministrator(t, url, certificate)
}

// azureTables starts the fake and returns the configuration of a provider on it, its URL and the path of its certificate.
func azureTables(t *testing.T, hsm bool) (tables, url, certificate string) {
	t.Helper()
	certificate = filepath.Join(t.TempDir(), "vault.pem")
	arguments := []string{certificate}
	if hsm {
		arguments = append(arguments, "hsm")
	}
	url = startFake(t, "./daemon/internal/provider/azurekv/azurefake/serve", arguments...)
	// The daemon trusts the fake's certificate as it would trust a company's own authority.
	t.Setenv("SSL_CERT_FILE", certificate)
	t.Setenv("ANYHSM_TEST_AZURE_SECRET", azureSecret)
	return fmt.Sprintf(`
[[provider]]
name = "azure"
kind = "azurekv"
[provider.azurekv]
vault_url = %q
hsm = %t
tenant_id = %q
client_id = %q
client_secret = "env:ANYHSM_TEST_AZURE_SECRET"
authority = %q
`, url, hsm, azureTenant, azureClient, url), url, certificate
}

func azureAdministrator(t *testing.T, url, certificate string) *azkeys.Client {
	t.Helper()
	text, err := os.ReadFile(certificate)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	options := policy.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: url},
		Transport: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}},
	}
	credential, err := azidentity.NewClientSecretCredential(azureTenant, azureClient, azureSecret,
		&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	client, err := azkeys.NewClient(url, credential, &azkeys.ClientOptions{ClientOptions: options})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestAzureKV(t *testing.T) {
	on, administrator := azureVault(t, false)
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
	t.Run("decryption", func(t *testing.T) { azureDecrypts(t, on) })
	t.Run("refused", func(t *testing.T) { azureRefuses(t, on) })
	t.Run("limits", func(t *testing.T) { limited(t, on, "01", "01") })
	t.Run("check", func(t *testing.T) {
		if out := on.Daemon.CLI(t, "provider", "check", "azure"); !strings.Contains(out, "verify") {
			t.Errorf("provider check:\n%s", out)
		}
	})
	t.Run("adopt", func(t *testing.T) { azureAdopts(t, on, administrator) })
	for _, label := range []string{"p256", "rsa"} {
		t.Run("nginx "+label, func(t *testing.T) { serve(t, on, label) })
	}
}

// azureDecrypts uses the key that also signs: in Azure one RSA key does both.
func azureDecrypts(t *testing.T, on target.Target) {
	secret := on.Write(t, "secret", []byte("sesame"))
	for _, tc := range []struct {
		name          string
		openssl, tool []string
	}{
		{"PKCS", nil, []string{"--mechanism", "RSA-PKCS"}},
		{"OAEP", []string{"-pkeyopt", "rsa_padding_mode:oaep"}, []string{"--mechanism", "RSA-PKCS-OAEP", "--hash-algorithm", "SHA-1"}},
		{"OAEP-256", []string{"-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256"}, []string{"--mechanism", "RSA-PKCS-OAEP", "--hash-algorithm", "SHA256"}},
	} {
		plain(t, on, append([]string{"pkeyutl", "-encrypt", "-pubin", "-inkey", "rsa.pub", "-in", secret, "-out", "ciphertext"}, tc.openssl...)...)
		tool(t, on, append([]string{"--decrypt", "--id", "01", "--input-file", on.File("ciphertext"), "--output-file", on.File("plaintext")}, tc.tool...)...)
		if got, err := os.ReadFile(on.File("plaintext")); err != nil || string(got) != "sesame" {
			t.Errorf("%s: decrypted %q: %v", tc.name, got, err)
		}
	}
}

func azureRefuses(t *testing.T, on target.Target) {
	data := on.Write(t, "data", make([]byte, 32))
	refused(t, on, "0x140", "--keypairgen", "--key-type", "EC:secp224r1", "--label", "no", "--id", "20")
	refused(t, on, "CKR_ATTRIBUTE_VALUE_INVALID", "--keypairgen", "--key-type", "rsa:1024", "--label", "no", "--id", "20")
	refused(t, on, "mechanism not supported", "--keygen", "--key-type", "AES:32", "--label", "no", "--id", "20")
	refused(t, on, "CKR_DATA_INVALID", "--sign", "--id", "01", "--mechanism", "RSA-PKCS", "--input-file", data, "--output-file", on.File("signature"))
	refused(t, on, "CKR_MECHANISM_INVALID", "--sign", "--id", "01", "--mechanism", "SHA1-RSA-PKCS", "--input-file", data, "--output-file", on.File("signature"))
}

// azureAdopts takes a key that somebody else has made in the vault, lives through its being disabled, and deletes one.
func azureAdopts(t *testing.T, on target.Target, administrator *azkeys.Client) {
	kty, curve := azkeys.KeyTypeEC, azkeys.CurveNameP256
	made, err := administrator.CreateKey(t.Context(), "shop", azkeys.CreateKeyParameters{Kty: &kty, Curve: &curve}, nil)
	if err != nil {
		t.Fatal(err)
	}
	list := on.Daemon.CLI(t, "provider", "keys", "azure")
	for _, want := range []string{"rsa", "p256", "p384", "p521", string(*made.Key.KID)} {
		if !strings.Contains(list, want) {
			t.Errorf("the listing has no %s:\n%s", want, list)
		}
	}
	on.Daemon.CLI(t, "key", "adopt", "--token", on.Token, "shop")
	certify(t, on, "shop")
	enable := func(enabled bool) {
		_, err := administrator.UpdateKey(t.Context(), "shop", made.Key.KID.Version(), azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: &enabled}}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	sign := []string{"dgst", "-sha256", "-out", "signature", "-engine", "pkcs11", "-keyform", "engine", "-sign", on.URI("shop"), on.File("shop.crt")}
	enable(false)
	if out, _, err := on.Try("openssl", sign...); err == nil {
		t.Errorf("a disabled key signed: %s", out)
	}
	enable(true)
	on.Run(t, "openssl", sign...)
	on.Daemon.CLI(t, "key", "delete", "--token", on.Token, "--yes", "p521")
	for pager := administrator.NewListKeyPropertiesPager(nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range page.Value {
			if label := key.Tags["anyhsm-label"]; label != nil && *label == "p521" {
				t.Errorf("the key of the deleted object is still there: %s", *key.KID)
			}
		}
	}
}

// TestAzureManagedHSM makes and uses keys of each type in a Managed HSM.
func TestAzureManagedHSM(t *testing.T) {
	on, _ := azureVault(t, true)
	on.GenerateKeyPair(t, "EC:prime256v1", "p256", "02")
	certify(t, on, "p256")
	tool(t, on, "--keygen", "--key-type", "AES:32", "--label", "aes", "--id", "05")
	message := strings.Repeat("AnyHSM ", 5000)
	file := on.Write(t, "message", []byte(message))
	iv := strings.Repeat("0a", 16)
	tool(t, on, "--encrypt", "--id", "05", "--mechanism", "AES-CBC-PAD", "--iv", iv, "--input-file", file, "--output-file", on.File("ciphertext"))
	tool(t, on, "--decrypt", "--id", "05", "--mechanism", "AES-CBC-PAD", "--iv", iv, "--input-file", on.File("ciphertext"), "--output-file", on.File("plaintext"))
	ciphertext, _ := os.ReadFile(on.File("ciphertext"))
	if got, err := os.ReadFile(on.File("plaintext")); err != nil || string(got) != message || string(ciphertext[:7]) == message[:7] {
		t.Errorf("%d bytes came back as %d: %v", len(message), len(got), err)
	}
	serve(t, on, "p256")
}
