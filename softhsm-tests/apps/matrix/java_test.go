package matrix

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// compile compiles the program that all places run.
func compile(t *testing.T) (classes string) {
	t.Helper()
	classes = t.TempDir()
	if out, err := exec.Command("javac", "-d", classes, filepath.Join(target.Root(), "softhsm-tests", "apps", "matrix", "UseKeys.java")).CombinedOutput(); err != nil {
		t.Fatalf("javac: %v\n%s", err, out)
	}
	return classes
}

// certificates puts each pair's certificate beside it, or Java does not see the private key. A key that does not sign
// gets one from another authority.
func (p *place) certificates(t *testing.T) {
	t.Helper()
	for _, k := range kinds {
		made := p.keys[k.label]
		if made == nil || !k.pair() || len(k.uses[java]) == 0 {
			continue
		}
		var der []byte
		if text, err := os.ReadFile(p.File(k.label + ".crt")); err == nil {
			block, _ := pem.Decode(text)
			der = block.Bytes
		} else {
			der = issue(t, made)
		}
		if err := p.succeeds("pkcs11-tool", p.words("--write-object", p.Write(t, "certificate.der", der), "--type", "cert", "--id", k.id, "--label", k.label)...); err != nil {
			t.Error(err)
		}
	}
}

// issue makes a certificate of a key by an authority that is forgotten at once.
func issue(t *testing.T, k *key) []byte {
	t.Helper()
	public, err := parsePublic(k.public)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	leaf := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: k.label}, NotBefore: now, NotAfter: now.Add(48 * time.Hour)}
	issuer := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: now, NotAfter: now.Add(48 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, leaf, issuer, public, authority)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// java runs one JVM that uses all keys, and judges what it prints.
func (p *place) java(t *testing.T, classes string) {
	configuration := p.Write(t, "java.cfg", []byte(target.Replace(t, target.Page(t, "java.md", "properties"), map[string]string{
		"/usr/lib/anyhsm/anyhsm-pkcs11.so": p.Module, "slot = 1": "slot = " + p.slot,
	})))
	words := []string{"-cp", classes, "UseKeys", configuration, p.PIN, filepath.Dir(p.Write(t, "message", message)), initialization}
	for _, k := range kinds {
		made := p.keys[k.label]
		if made == nil {
			continue
		}
		for _, u := range k.uses[java] {
			words = append(words, k.label+":"+u.name)
		}
		if k.label == "decrypt" {
			if err := p.encrypted(made, false, "decrypt.encrypted"); err != nil {
				t.Fatal(err)
			}
		}
	}
	out, stderr, err := p.Try("java", words...)
	if err != nil {
		t.Fatalf("java: %v\n%s%s", err, out, stderr)
	}
	answers := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		asked, answer, _ := strings.Cut(line, "=")
		answers[asked] = answer
	}
	p.each(t, java, func(k *key, u use) error { return p.answer(k, u, answers[k.label+":"+u.name]) })
}

// answer judges what Java made with a key: hexadecimal, or an exception behind an exclamation mark.
func (p *place) answer(k *key, u use, answer string) error {
	if answer == "" || answer[0] == '!' {
		return fmt.Errorf("java says %q", answer)
	}
	made, err := hex.DecodeString(answer)
	if err != nil {
		return err
	}
	switch u.name {
	case "RSA/ECB/PKCS1Padding":
		if string(made) != secret {
			return fmt.Errorf("decrypted %q", made)
		}
		return nil
	case "AES/CBC/PKCS5Padding":
		// pkcs11-tool has encrypted the same, with the same IV.
		return p.same("aes256.encrypted", made)
	case "AES/CTR/NoPadding", "AES/GCM/NoPadding":
		// Java itself has decrypted it again.
		if len(made) < len(message) || string(made[:16]) == string(message[:16]) {
			return errors.New("it is not encrypted")
		}
		return nil
	case "HmacSHA256":
		return p.same("hmac256.SHA256-HMAC", made)
	}
	return judge(k, u.name == "RSASSA-PSS", made)
}
