package matrix

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// openSSL makes a self-signed certificate with each key, LABEL.crt, signs with it, and decrypts.
func (p *place) openSSL(t *testing.T) {
	file := p.Write(t, "message", message)
	p.each(t, openSSL, func(k *key, u use) error {
		switch u.name {
		case "req":
			return p.certify(k)
		case "pkeyutl", "pkeyutl OAEP":
			oaep := u.name != "pkeyutl"
			if err := p.encrypted(k, oaep, "encrypted"); err != nil {
				return err
			}
			words := p.engine("-inkey", k.label, "pkeyutl", "-decrypt", "-in", p.File("encrypted"), "-out", p.File("decrypted"))
			if oaep {
				words = append(words, "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256")
			}
			if err := p.succeeds("openssl", words...); err != nil {
				return err
			}
			return p.same("decrypted", []byte(secret))
		}
		pss := strings.HasSuffix(u.name, "PSS")
		words := p.engine("-sign", k.label, "dgst", "-sha256", "-out", p.File("signature"))
		if pss {
			words = append(words, "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest")
		}
		if err := p.succeeds("openssl", append(words, file)...); err != nil {
			return err
		}
		return p.judge(k, pss, "signature")
	})
}

// stumbles holds the table to what it says of the engine and Ed25519 keys: it is the engine's fault, on any module.
func (p *place) stumbles(t *testing.T) {
	if p.keys["ed25519"] == nil {
		return
	}
	for _, label := range []string{"ed25519", "p256"} {
		if err := p.succeeds("openssl", p.engine("-sign", label, "dgst", "-sha256", "-out", p.File("signature"), p.File("message"))...); err == nil {
			t.Errorf("OpenSSL signs with %s in a token with an Ed25519 key: the table must not say that it does not", label)
		}
	}
}

// certify makes the certificate and lets an OpenSSL verify it that knows no token.
func (p *place) certify(k *key) error {
	file := p.File(k.label + ".crt")
	if err := p.succeeds("openssl", p.engine("-key", k.label, "req", "-new", "-x509", "-sha256", "-days", "2", "-subj", "/CN="+k.label,
		"-addext", "subjectAltName=DNS:localhost", "-out", file)...); err != nil {
		return err
	}
	plain := p.Target
	plain.Env = append(append([]string{}, p.Env...), "OPENSSL_CONF=/dev/null")
	if out, stderr, err := plain.Try("openssl", "verify", "-CAfile", file, file); err != nil {
		return fmt.Errorf("openssl verify: %w\n%s%s", err, out, stderr)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return errors.New("the certificate is no PEM")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	if public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: certificate.RawSubjectPublicKeyInfo}); string(public) != k.public {
		return errors.New("the certificate has another public key")
	}
	return nil
}

// encrypted writes the secret into a file, encrypted for an RSA key.
func (p *place) encrypted(k *key, oaep bool, file string) error {
	public, err := parsePublic(k.public)
	if err != nil {
		return err
	}
	key, ok := public.(*rsa.PublicKey)
	if !ok {
		return fmt.Errorf("%s is no RSA key", k.name)
	}
	var ciphertext []byte
	if oaep {
		ciphertext, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, key, []byte(secret), nil)
	} else {
		//lint:ignore SA1019 it is what applications still do
		ciphertext, err = rsa.EncryptPKCS1v15(rand.Reader, key, []byte(secret))
	}
	if err != nil {
		return err
	}
	return os.WriteFile(p.File(file), ciphertext, 0o600)
}
