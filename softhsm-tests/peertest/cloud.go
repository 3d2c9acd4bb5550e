package peertest

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

// The credentials of the fakes: they open nothing else.
const (
	AWSKeyID     = "AKIAIOSFODNN7EXAMPLE"
	AWSSecretKey = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	AzureTenant  = "00000000-1111-2222-3333-444444444444"
	AzureClient  = "55555555-6666-7777-8888-999999999999"
	AzureSecret  = "not-a-secret~only-for-tests"
)

// GoogleRing is the key ring that Google's fake has.
const GoogleRing = "projects/anyhsm-test/locations/europe-west3/keyRings/ring"

// AWS is the fake AWS KMS; the provider is aws.
func AWS(t testing.TB) Peer {
	t.Helper()
	url := daemontest.Service(t, "./daemon/internal/provider/awskms/awsfake/serve")
	return Peer{"aws", fmt.Sprintf(`
[[provider]]
name = "aws"
kind = "awskms"
[provider.awskms]
region = "eu-central-1"
endpoint = %q
access_key_id = %q
secret_access_key = %q
`, url, secret(t, AWSKeyID), secret(t, AWSSecretKey)), url}
}

// Google is the fake Google Cloud KMS; the provider is gcp.
func Google(t testing.TB) Peer {
	t.Helper()
	url := daemontest.Service(t, "./daemon/internal/provider/gcpkms/gcpfake/serve")
	return Peer{"gcp", fmt.Sprintf(`
[[provider]]
name = "gcp"
kind = "gcpkms"
[provider.gcpkms]
key_ring = %q
endpoint = %q
`, GoogleRing, url), url}
}

// Azure is the fake Azure Key Vault, the provider azure, or a Managed HSM, the provider azure-hsm. The certificate is
// the authority that this process and the daemons that it starts trust from then on, as they would a company's own.
func Azure(t testing.TB, hsm bool) (peer Peer, certificate string) {
	t.Helper()
	certificate = filepath.Join(t.TempDir(), "vault.pem")
	name, arguments := "azure", []string{certificate}
	if hsm {
		name, arguments = "azure-hsm", append(arguments, "hsm")
	}
	url := daemontest.Service(t, "./daemon/internal/provider/azurekv/azurefake/serve", arguments...)
	t.Setenv("SSL_CERT_FILE", certificate)
	return Peer{name, fmt.Sprintf(`
[[provider]]
name = %q
kind = "azurekv"
[provider.azurekv]
vault_url = %q
hsm = %t
tenant_id = %q
client_id = %q
client_secret = %q
authority = %q
`, name, url, hsm, AzureTenant, AzureClient, secret(t, AzureSecret), url), url}, certificate
}
