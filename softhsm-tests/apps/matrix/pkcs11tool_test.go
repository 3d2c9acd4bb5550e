package matrix

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// toolOptions are what pkcs11-tool wants besides the mechanism.
var toolOptions = map[string][]string{
	"SHA256-RSA-PKCS-PSS": {"--mgf", "MGF1-SHA256", "--salt-len", "32"},
	"RSA-PKCS-OAEP":       {"--hash-algorithm", "SHA256", "--mgf", "MGF1-SHA256"},
	"AES-CBC-PAD":         {"--iv", initialization},
}

// tool has pkcs11-tool sign and verify, encrypt and decrypt with each key.
func (p *place) tool(t *testing.T) {
	p.Write(t, "message", message)
	p.each(t, pkcs11Tool, func(k *key, u use) error {
		run := func(command, in, out string, more ...string) error {
			words := p.words(command, "--id", k.id, "--mechanism", u.name, "--input-file", p.File(in))
			if out != "" {
				words = append(words, "--output-file", p.File(out))
			}
			return p.succeeds("pkcs11-tool", append(append(words, toolOptions[u.name]...), more...)...)
		}
		switch {
		case k.label == "aes256":
			if err := run("--encrypt", "message", "aes256.encrypted"); err != nil {
				return err
			}
			if err := p.same("aes256.encrypted", message); err == nil {
				return fmt.Errorf("it is not encrypted")
			}
			if err := run("--decrypt", "aes256.encrypted", "decrypted"); err != nil {
				return err
			}
			return p.same("decrypted", message)
		case k.label == "decrypt":
			if err := p.encrypted(k, strings.HasSuffix(u.name, "OAEP"), "encrypted"); err != nil {
				return err
			}
			if err := run("--decrypt", "encrypted", "decrypted"); err != nil {
				return err
			}
			return p.same("decrypted", []byte(secret))
		}
		signature := k.label + "." + u.name
		if err := run("--sign", "message", signature); err != nil {
			return err
		}
		if k.pair() {
			if err := p.judge(k, strings.HasSuffix(u.name, "PSS"), signature); err != nil {
				return err
			}
		}
		if k.label == "ed25519" {
			// OpenSC 0.23 signs with EDDSA and does not verify.
			return nil
		}
		if err := run("--verify", "message", "", "--signature-file", p.File(signature)); err != nil {
			return err
		}
		changed, err := os.ReadFile(p.File(signature))
		if err != nil {
			return err
		}
		changed[len(changed)-1] ^= 1
		if err := os.WriteFile(p.File("changed"), changed, 0o600); err != nil {
			return err
		}
		out, _, _ := p.Try("pkcs11-tool", append(p.words("--verify", "--id", k.id, "--mechanism", u.name, "--input-file", p.File("message"),
			"--signature-file", p.File("changed")), toolOptions[u.name]...)...)
		if strings.Contains(out, "Signature is valid") {
			return fmt.Errorf("pkcs11-tool takes a changed signature")
		}
		return nil
	})
}
