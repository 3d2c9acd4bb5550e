package clouds

import (
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/peertest"
)

func TestVault(t *testing.T) {
	peer, s := peertest.Vault(t)
	on := start(t, "vault", peer)
	pairs(t, on)
	t.Run("refused", func(t *testing.T) {
		data := on.Write(t, "data", make([]byte, 32))
		// OpenSC 0.23 has no name for CKR_CURVE_NOT_SUPPORTED.
		refused(t, on, "0x140", "--keypairgen", "--key-type", "EC:secp224r1", "--label", "no", "--id", "20")
		refused(t, on, "CKR_ATTRIBUTE_VALUE_INVALID", "--keypairgen", "--key-type", "rsa:1024", "--label", "no", "--id", "20")
		refused(t, on, "CKR_ATTRIBUTE_VALUE_INVALID", "--keygen", "--key-type", "AES:24", "--label", "no", "--id", "20")
		refused(t, on, "CKR_MECHANISM", "--decrypt", "--id", "01", "--mechanism", "RSA-PKCS", "--input-file", data, "--output-file", on.File("plaintext"))
	})
	t.Run("check", func(t *testing.T) { check(t, on, peer.Provider) })
	t.Run("import", func(t *testing.T) { imports(t, on) })
	t.Run("adopt", func(t *testing.T) {
		s.Do(t, "POST", "transit/keys/shop", map[string]any{"type": "ecdsa-p256"})
		list := on.Daemon.CLI(t, "provider", "keys", "vault")
		for _, want := range []string{"rsa", "p384", "shop/1"} {
			if !strings.Contains(list, want) {
				t.Errorf("the listing has no %s:\n%s", want, list)
			}
		}
		on.Daemon.CLI(t, "key", "adopt", "--token", on.Token, "shop")
		certify(t, on, "shop")
		// The key is rotated in Vault, and the certificate stays valid.
		s.Do(t, "POST", "transit/keys/shop/rotate", nil)
		certify(t, on, "shop")
		on.Daemon.CLI(t, "key", "delete", "--token", on.Token, "--yes", "p384")
		for _, name := range s.Do(t, "GET", "transit/keys?list=true", nil)["data"].(map[string]any)["keys"].([]any) {
			if strings.HasSuffix(name.(string), "-p384") {
				t.Errorf("the key of the deleted object is still there: %s", name)
			}
		}
	})
}
