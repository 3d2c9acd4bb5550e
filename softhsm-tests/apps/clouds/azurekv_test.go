package clouds

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/anyhsm/anyhsm/softhsm-tests/peertest"
	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// azureAdministrator is a client of the vault itself.
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
	credential, err := azidentity.NewClientSecretCredential(peertest.AzureTenant, peertest.AzureClient, peertest.AzureSecret,
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
	peer, certificate := peertest.Azure(t, false)
	on, administrator := start(t, "azurekv", peer), azureAdministrator(t, peer.URL, certificate)
	pairs(t, on)
	t.Run("decryption", func(t *testing.T) { azureDecrypts(t, on) })
	t.Run("refused", func(t *testing.T) { azureRefuses(t, on) })
	t.Run("limits", func(t *testing.T) { limited(t, on, "01", "01") })
	t.Run("check", func(t *testing.T) { check(t, on, peer.Provider) })
	t.Run("adopt", func(t *testing.T) { azureAdopts(t, on, administrator) })
}

// azureDecrypts uses the key that also signs: in Azure one RSA key does both.
func azureDecrypts(t *testing.T, on target.Target) {
	certify(t, on, "rsa")
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
	for _, want := range []string{"rsa", "p384", string(*made.Key.KID)} {
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
	on.Daemon.CLI(t, "key", "delete", "--token", on.Token, "--yes", "p384")
	for pager := administrator.NewListKeyPropertiesPager(nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range page.Value {
			if label := key.Tags["anyhsm-label"]; label != nil && *label == "p384" {
				t.Errorf("the key of the deleted object is still there: %s", *key.KID)
			}
		}
	}
}
