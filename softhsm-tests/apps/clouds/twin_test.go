package clouds

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/peertest"
)

// TestTwin serves TLS 1.2 and 1.3 from one key of Google Cloud KMS, whose RSA keys have one padding each: behind the
// object are two keys, and the mechanism says which one signs. Package matrix serves from both at once.
func TestTwin(t *testing.T) {
	on := start(t, "gcpkms", peertest.Google(t))
	on.Daemon.CLI(t, "key", "create", "web", "--token", on.Token, "--type", "rsa:2048", "--id", "01", "--twin")
	certify(t, on, "web") // PKCS#1 v1.5
	shown := on.Daemon.CLI(t, "key", "route", "web", "--token", on.Token)
	if strings.Count(shown, "\ngcp ") != 2 || !strings.Contains(shown, "CKM_RSA_PKCS_PSS") || !strings.Contains(shown, "CKM_SHA256_RSA_PKCS,") {
		t.Errorf("the places of the twins:\n%s", shown)
	}
	if listed := tool(t, on, "--list-objects", "--type", "privkey"); strings.Contains(listed, "local") || strings.Contains(listed, "never extractable") {
		t.Errorf("the object claims that it was born in the service:\n%s", listed)
	}
	t.Run("PKCS#1", func(t *testing.T) {
		serveWith(t, on, "web", "    ssl_conf_command SignatureAlgorithms RSA+SHA256;\n", tls.VersionTLS12)
	})
	t.Run("PSS", func(t *testing.T) {
		serveWith(t, on, "web", "    ssl_conf_command SignatureAlgorithms rsa_pss_rsae_sha256;\n", tls.VersionTLS12, tls.VersionTLS13)
	})
	// That one twin leaves a signature to the other is no news for the log.
	if log, err := os.ReadFile(filepath.Join(on.Daemon.Dir, "anyhsmd.log")); err != nil || bytes.Contains(log, []byte("a limit of the provider")) {
		t.Errorf("%v\n%s", err, log)
	}
	// Both go with the object.
	on.Daemon.CLI(t, "key", "delete", "--token", on.Token, "--yes", "web")
	keys := on.Daemon.CLI(t, "provider", "keys", "gcp")
	if strings.Count(keys, "cryptoKeyVersions") != 2 || strings.Count(keys, "DESTROY_SCHEDULED") != 2 {
		t.Errorf("the twins are not both about to be destroyed:\n%s", keys)
	}
}
