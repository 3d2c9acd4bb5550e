// Package kmip runs pkcs11-tool on imported keys in the real server of PyKMIP. What applications do with the keys that they
// make in KMIP servers is in package matrix.
package kmip

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/peertest"
	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

func tool(target target.Target, arguments ...string) []string {
	return append([]string{"--module", target.Module, "--token-label", target.Token, "--login", "--pin", target.PIN}, arguments...)
}

// TestPyKMIP makes AES keys and encrypts; a key with a known value is judged by OpenSSL.
func TestPyKMIP(t *testing.T) {
	peer := peertest.PyKMIP(t)
	p := target.Of(t, "kmip", daemontest.Start(t, daemontest.Options{Provider: peer.Provider, Tables: peer.Tables}))
	const key, iv = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "0f0e0d0c0b0a09080706050403020100"
	raw := make([]byte, 32)
	for i := range raw {
		raw[i] = byte(i)
	}
	message := bytes.Repeat([]byte("attack at dawn\n"), 50)
	plain, encrypted, decrypted := p.Write(t, "plain", message), p.File("encrypted"), p.File("decrypted")
	same := func() {
		t.Helper()
		if got, err := os.ReadFile(decrypted); err != nil || !bytes.Equal(got, message) {
			t.Errorf("not what was encrypted: %v", err)
		}
	}
	p.Run(t, "pkcs11-tool", tool(p, "--write-object", p.Write(t, "aes.key", raw), "--type", "secrkey", "--key-type", "AES:32", "--id", "20", "--label", "imported", "--sensitive", "--usage-decrypt")...)
	p.Run(t, "pkcs11-tool", tool(p, "--encrypt", "--id", "20", "--mechanism", "AES-CBC-PAD", "--iv", iv, "--input-file", plain, "--output-file", encrypted)...)
	p.Run(t, "openssl", "enc", "-d", "-aes-256-cbc", "-K", key, "-iv", iv, "-in", encrypted, "-out", decrypted)
	same()
	p.Run(t, "pkcs11-tool", tool(p, "--keygen", "--key-type", "AES:16", "--id", "21", "--label", "made", "--sensitive")...)
	p.Run(t, "pkcs11-tool", tool(p, "--encrypt", "--id", "21", "--mechanism", "AES-CBC-PAD", "--iv", iv, "--input-file", plain, "--output-file", encrypted)...)
	p.Run(t, "pkcs11-tool", tool(p, "--decrypt", "--id", "21", "--mechanism", "AES-CBC-PAD", "--iv", iv, "--input-file", encrypted, "--output-file", decrypted)...)
	same()
	p.Run(t, "pkcs11-tool", tool(p, "--delete-object", "--type", "secrkey", "--id", "21")...)
	// What the server cannot do is refused before anything is made.
	out, errout, err := p.Try("pkcs11-tool", tool(p, "--keypairgen", "--key-type", "rsa:2048", "--id", "22")...)
	if err == nil || !strings.Contains(out+errout, "CKR_MECHANISM_INVALID") && !strings.Contains(out+errout, "not supported") {
		t.Errorf("an RSA key was made, or refused otherwise: %v\n%s%s", err, out, errout)
	}
}
