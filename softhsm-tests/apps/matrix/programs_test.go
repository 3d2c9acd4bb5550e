package matrix

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strings"
)

var message = bytes.Repeat([]byte("any HSM, any cloud, behind one local PKCS#11 module\n"), 20)

// secret is what is encrypted for keys that decrypt.
const secret = "sesame"

// initialization is the IV of the ciphers, in hexadecimal.
const initialization = "000102030405060708090a0b0c0d0e0f"

// succeeds runs a program, which must succeed.
func (p *place) succeeds(program string, arguments ...string) error {
	out, stderr, err := p.Try(program, arguments...)
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s%s", program, strings.Join(arguments, " "), err, out, stderr)
	}
	return nil
}

// words are pkcs11-tool's, as the token's user.
func (p *place) words(arguments ...string) []string {
	return append([]string{"--module", p.Module, "--token-label", p.Token, "--login", "--pin", p.PIN}, arguments...)
}

// engine makes OpenSSL take the key of an option from the token.
func (p *place) engine(option, label string, arguments ...string) []string {
	return append(arguments, "-engine", "pkcs11", "-keyform", "engine", option, p.URI(label))
}

func parsePublic(text string) (crypto.PublicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("no PEM")
	}
	return x509.ParsePKIXPublicKey(block.Bytes)
}

// judge verifies a signature over the message in a file, with Go, which knows the public key only. The file's signature
// is raw or DER for ECDSA.
func (p *place) judge(k *key, pss bool, file string) error {
	signature, err := os.ReadFile(p.File(file))
	if err != nil {
		return err
	}
	return judge(k, pss, signature)
}

func judge(k *key, pss bool, signature []byte) error {
	public, err := parsePublic(k.public)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(message)
	valid := false
	switch public := public.(type) {
	case *rsa.PublicKey:
		if pss {
			return rsa.VerifyPSS(public, crypto.SHA256, digest[:], signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature)
	case *ecdsa.PublicKey:
		size := (public.Curve.Params().BitSize + 7) / 8
		if len(signature) == 2*size {
			r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
			valid = ecdsa.Verify(public, digest[:], r, s)
		} else {
			valid = ecdsa.VerifyASN1(public, digest[:], signature)
		}
	case ed25519.PublicKey:
		valid = ed25519.Verify(public, message, signature)
	}
	if !valid {
		return fmt.Errorf("a wrong signature by %s: %x", k.name, signature)
	}
	return nil
}

// same compares a file with what it must be.
func (p *place) same(file string, want []byte) error {
	got, err := os.ReadFile(p.File(file))
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("%s has %x, not %x", file, got, want)
	}
	return err
}
