package hosts

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

// TestMLDSA: a C program makes and uses ML-DSA keys in provider software, in AWS KMS and in Google Cloud KMS. The services
// are the strict stand-ins, whose signatures the module verifies.
func TestMLDSA(t *testing.T) {
	// The stand-in's own credentials: they open nothing else.
	t.Setenv("ANYHSM_TEST_AWS_ID", "AKIAIOSFODNN7EXAMPLE")
	t.Setenv("ANYHSM_TEST_AWS_SECRET", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
	daemon := daemontest.Start(t, daemontest.Options{Tables: fmt.Sprintf(`
[[provider]]
name = "aws"
kind = "awskms"
[provider.awskms]
region = "eu-central-1"
endpoint = %q
access_key_id = "env:ANYHSM_TEST_AWS_ID"
secret_access_key = "env:ANYHSM_TEST_AWS_SECRET"
[[provider]]
name = "google"
kind = "gcpkms"
[provider.gcpkms]
key_ring = "projects/anyhsm-test/locations/europe-west3/keyRings/ring"
endpoint = %q
`, daemontest.Service(t, "./daemon/internal/provider/awskms/awsfake/serve"), daemontest.Service(t, "./daemon/internal/provider/gcpkms/gcpfake/serve"))})
	pin := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(pin, []byte(daemon.UserPIN), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, provider := range []string{"aws", "google"} {
		daemon.CLI(t, "token", "create", provider, "--provider", provider, "--user-pin", "file:"+pin)
	}
	for token, variants := range map[string]string{daemon.Token: "all", "aws": "some", "google": "some"} {
		t.Run(token, func(t *testing.T) {
			run(t, daemon.Env(), "mldsa", daemon.ModulePath, token, daemon.UserPIN, variants)
		})
	}
}
