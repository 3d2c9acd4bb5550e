// Package pkcs11tool runs OpenSC's pkcs11-tool against SoftHSM and against our module with each provider. OpenSSL,
// with the public key alone, judges every result.
package pkcs11tool

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// tool is pkcs11-tool on a target's token, logged in as the user.
type tool struct {
	target.Target
}

func (p tool) arguments(arguments ...string) []string {
	return append([]string{"--module", p.Module, "--token-label", p.Token, "--login", "--pin", p.PIN}, arguments...)
}

func (p tool) run(t *testing.T, arguments ...string) string {
	t.Helper()
	return p.Run(t, "pkcs11-tool", p.arguments(arguments...)...)
}

// publicKey reads a public key and returns it as a PEM file for OpenSSL.
func (p tool) publicKey(t *testing.T, id string) string {
	t.Helper()
	// The tool lists all public keys, whatever --id says.
	for _, listed := range strings.Split(p.run(t, "--list-objects", "--type", "pubkey"), "Public Key Object;")[1:] {
		if strings.Contains(listed, "ID:         "+id+"\n") && strings.Contains(listed, "EC_POINT:") {
			return p.Write(t, "public-"+id+".pem", ecPublicKey(t, listed))
		}
	}
	der, pem := p.File("public-"+id+".der"), p.File("public-"+id+".pem")
	p.run(t, "--read-object", "--type", "pubkey", "--id", id, "--output-file", der)
	p.Run(t, "openssl", "pkey", "-pubin", "-inform", "DER", "-in", der, "-out", pem)
	return pem
}

// point is the line of a listing that has a public key's CKA_EC_POINT.
var point = regexp.MustCompile(`EC_POINT: +([0-9a-f]+)`)

// ecPublicKey makes a PEM file from a listing: OpenSC 0.23 cannot read a P-384 or P-521 public key back.
func ecPublicKey(t *testing.T, list string) []byte {
	t.Helper()
	match := point.FindStringSubmatch(list)
	if match == nil {
		t.Fatalf("no EC_POINT in\n%s", list)
	}
	der, err := hex.DecodeString(match[1])
	if err != nil {
		t.Fatal(err)
	}
	var raw []byte
	if rest, err := asn1.Unmarshal(der, &raw); err != nil || len(rest) > 0 {
		t.Fatalf("CKA_EC_POINT %x is no OCTET STRING: %v", der, err)
	}
	curve := map[int]ecdh.Curve{65: ecdh.P256(), 97: ecdh.P384(), 133: ecdh.P521()}[len(raw)]
	key, err := curve.NewPublicKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
}

var message = []byte("any HSM, any cloud, behind one local PKCS#11 module\n")

// signature is a way to sign and the OpenSSL arguments that verify it.
type signature struct {
	mechanism string
	sign      []string
	hashed    string // the tool takes the digest of this hash instead of the message
	verify    []string
}

var rsaSignatures = []signature{
	{mechanism: "RSA-PKCS", hashed: "info", verify: []string{"-sha256"}},
	{mechanism: "SHA1-RSA-PKCS", verify: []string{"-sha1"}},
	{mechanism: "SHA256-RSA-PKCS", verify: []string{"-sha256"}},
	{mechanism: "SHA384-RSA-PKCS", verify: []string{"-sha384"}},
	{mechanism: "SHA512-RSA-PKCS", verify: []string{"-sha512"}},
	{
		mechanism: "RSA-PKCS-PSS", hashed: "sha256", sign: []string{"--hash-algorithm", "SHA256", "--mgf", "MGF1-SHA256", "--salt-len", "32"},
		verify: []string{"-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"},
	},
	{
		mechanism: "SHA384-RSA-PKCS-PSS", sign: []string{"--mgf", "MGF1-SHA384", "--salt-len", "20"},
		verify: []string{"-sha384", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:20"},
	},
}

var ecSignatures = []signature{
	{mechanism: "ECDSA", hashed: "sha256", verify: []string{"-sha256"}},
}

// ecHashSignatures are mechanisms that SoftHSM 2.6 does not have.
var ecHashSignatures = []signature{
	{mechanism: "ECDSA-SHA1", verify: []string{"-sha1"}},
	{mechanism: "ECDSA-SHA256", verify: []string{"-sha256"}},
	{mechanism: "ECDSA-SHA384", verify: []string{"-sha384"}},
	{mechanism: "ECDSA-SHA512", verify: []string{"-sha512"}},
}

// input writes what the tool is to sign: the message, its digest, or its DigestInfo.
func (p tool) input(t *testing.T, hashed string) string {
	t.Helper()
	plain := p.Write(t, "message", message)
	switch hashed {
	case "":
		return plain
	case "info":
		digest := p.Run(t, "openssl", "dgst", "-sha256", "-binary", plain)
		prefix := []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}
		return p.Write(t, "info", append(prefix, digest...))
	default:
		return p.Write(t, "digest", []byte(p.Run(t, "openssl", "dgst", "-"+hashed, "-binary", plain)))
	}
}

// derSignature turns PKCS#11's r‖s into what OpenSSL takes; OpenSC 0.23 does it wrongly for P-521.
func derSignature(t *testing.T, file string) []byte {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	half := len(raw) / 2
	der, err := asn1.Marshal([]*big.Int{new(big.Int).SetBytes(raw[:half]), new(big.Int).SetBytes(raw[half:])})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (p tool) signAndVerify(t *testing.T, id string, s signature) {
	t.Helper()
	public := p.publicKey(t, id)
	signed := p.File("signature-" + s.mechanism)
	input := p.input(t, s.hashed)
	arguments := append([]string{"--sign", "--id", id, "--mechanism", s.mechanism, "--input-file", input, "--output-file", signed}, s.sign...)
	p.run(t, arguments...)
	forOpenSSL := signed
	if strings.HasPrefix(s.mechanism, "ECDSA") {
		forOpenSSL = p.Write(t, "signature.der", derSignature(t, signed))
	}
	verify := append([]string{"dgst"}, s.verify...)
	verify = append(verify, "-verify", public, "-signature", forOpenSSL, p.File("message"))
	if out := p.Run(t, "openssl", verify...); !strings.Contains(out, "Verified OK") {
		t.Errorf("%s: openssl says %s", s.mechanism, out)
	}
	// The tool's own verification: accepts this signature and refuses a changed one.
	check := append([]string{"--verify", "--id", id, "--mechanism", s.mechanism, "--input-file", input, "--signature-file", signed}, s.sign...)
	if out := p.run(t, check...); !strings.Contains(out, "Signature is valid") {
		t.Errorf("%s: pkcs11-tool says %s", s.mechanism, out)
	}
	p.Write(t, "changed", append(bytes.Clone(message), '!'))
	if s.hashed != "" {
		changed, err := os.ReadFile(input)
		if err != nil {
			t.Fatal(err)
		}
		changed[len(changed)-1] ^= 1
		p.Write(t, "changed", changed)
	}
	check[len(check)-len(s.sign)-3] = p.File("changed")
	if out, _, _ := p.Try("pkcs11-tool", p.arguments(check...)...); strings.Contains(out, "Signature is valid") {
		t.Errorf("%s: pkcs11-tool takes a signature over other data", s.mechanism)
	}
}

func TestRSA(t *testing.T) {
	target.Each(t, func(t *testing.T, target target.Target) {
		p := tool{target}
		p.run(t, "--keypairgen", "--key-type", "rsa:2048", "--id", "01", "--label", "rsa key")
		list := p.run(t, "--list-objects")
		for _, want := range []string{"Private Key Object; RSA", "Public Key Object; RSA 2048 bits", "rsa key"} {
			if !strings.Contains(list, want) {
				t.Errorf("the list lacks %q:\n%s", want, list)
			}
		}
		for _, s := range rsaSignatures {
			p.signAndVerify(t, "01", s)
		}
		p.decrypt(t, "01")
	})
}

// decrypt lets OpenSSL encrypt to the public key and the token decrypt.
func (p tool) decrypt(t *testing.T, id string) {
	t.Helper()
	public := p.publicKey(t, id)
	plain := p.Write(t, "plain", []byte("the secret of the day"))
	for _, padding := range []struct {
		mechanism     string
		openssl, ours []string
	}{
		{mechanism: "RSA-PKCS", openssl: []string{"-pkeyopt", "rsa_padding_mode:pkcs1"}},
		{
			mechanism: "RSA-PKCS-OAEP", openssl: []string{"-pkeyopt", "rsa_padding_mode:oaep"},
			ours: []string{"--hash-algorithm", "SHA-1", "--mgf", "MGF1-SHA1"},
		},
	} {
		encrypted, decrypted := p.File("encrypted"), p.File("decrypted")
		p.Run(t, "openssl", append([]string{"pkeyutl", "-encrypt", "-pubin", "-inkey", public, "-in", plain, "-out", encrypted}, padding.openssl...)...)
		p.run(t, append([]string{"--decrypt", "--id", id, "--mechanism", padding.mechanism, "--input-file", encrypted, "--output-file", decrypted}, padding.ours...)...)
		if got, err := os.ReadFile(decrypted); err != nil || string(got) != "the secret of the day" {
			t.Errorf("%s: %q %v", padding.mechanism, got, err)
		}
	}
}

func TestEC(t *testing.T) {
	target.Each(t, func(t *testing.T, target target.Target) {
		p := tool{target}
		for i, curve := range []string{"prime256v1", "secp384r1", "secp521r1"} {
			id := fmt.Sprintf("1%d", i)
			p.run(t, "--keypairgen", "--key-type", "EC:"+curve, "--id", id, "--label", curve, "--usage-sign", "--usage-derive")
			signatures := ecSignatures
			if target.Name != "softhsm" {
				signatures = append(signatures, ecHashSignatures...)
			}
			for _, s := range signatures {
				p.signAndVerify(t, id, s)
			}
			p.derive(t, id, curve)
		}
	})
}

// TestEdwards makes an Ed25519 key and lets OpenSSL verify what it signs.
func TestEdwards(t *testing.T) {
	target.Each(t, func(t *testing.T, target target.Target) {
		p := tool{target}
		p.run(t, "--keypairgen", "--key-type", "EC:edwards25519", "--id", "15", "--label", "edwards", "--usage-sign")
		match := point.FindStringSubmatch(p.run(t, "--list-objects", "--type", "pubkey"))
		if match == nil {
			t.Fatal("no EC_POINT")
		}
		der, err := hex.DecodeString(match[1])
		if err != nil || len(der) < ed25519.PublicKeySize {
			t.Fatalf("CKA_EC_POINT %x: %v", der, err)
		}
		spki, err := x509.MarshalPKIXPublicKey(ed25519.PublicKey(der[len(der)-ed25519.PublicKeySize:]))
		if err != nil {
			t.Fatal(err)
		}
		public := p.Write(t, "edwards.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))
		input, signed := p.Write(t, "message", message), p.File("signature")
		p.run(t, "--sign", "--id", "15", "--mechanism", "EDDSA", "--input-file", input, "--output-file", signed)
		if out := p.Run(t, "openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", input, "-sigfile", signed); !strings.Contains(out, "Verified Successfully") {
			t.Errorf("openssl says %s", out)
		}
	})
}

// derive compares ECDH with what OpenSSL derives from the other side.
func (p tool) derive(t *testing.T, id, curve string) {
	t.Helper()
	public := p.publicKey(t, id)
	peer, peerPublic := p.File("peer.pem"), p.File("peer.der")
	p.Run(t, "openssl", "ecparam", "-name", curve, "-genkey", "-noout", "-out", peer)
	p.Run(t, "openssl", "pkey", "-in", peer, "-pubout", "-outform", "DER", "-out", peerPublic)
	shared, derived := p.File("shared"), p.File("derived")
	p.Run(t, "openssl", "pkeyutl", "-derive", "-inkey", peer, "-peerkey", public, "-out", shared)
	p.run(t, "--derive", "--id", id, "--mechanism", "ECDH1-DERIVE", "--input-file", peerPublic, "--output-file", derived)
	want, err := os.ReadFile(shared)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(derived); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: derived %x, OpenSSL %x: %v", curve, got, want, err)
	}
}

func TestAES(t *testing.T) {
	target.Each(t, func(t *testing.T, target target.Target) {
		p := tool{target}
		iv := "00112233445566778899aabbccddeeff"
		// An imported key whose value OpenSSL has too.
		key := "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"
		raw := make([]byte, 0, 32)
		for i := 0; i < len(key); i += 2 {
			var b byte
			fmt.Sscanf(key[i:i+2], "%02x", &b)
			raw = append(raw, b)
		}
		p.run(t, "--write-object", p.Write(t, "aes.key", raw), "--type", "secrkey", "--key-type", "AES:32", "--id", "20", "--label", "imported", "--usage-decrypt")
		plain := p.Write(t, "plain", bytes.Repeat(message, 100))
		encrypted, decrypted := p.File("encrypted"), p.File("decrypted")
		p.run(t, "--encrypt", "--id", "20", "--mechanism", "AES-CBC-PAD", "--iv", iv, "--input-file", plain, "--output-file", encrypted)
		p.Run(t, "openssl", "enc", "-d", "-aes-256-cbc", "-K", key, "-iv", iv, "-in", encrypted, "-out", decrypted)
		same(t, plain, decrypted)
		p.Run(t, "openssl", "enc", "-aes-256-cbc", "-K", key, "-iv", iv, "-in", plain, "-out", encrypted)
		p.run(t, "--decrypt", "--id", "20", "--mechanism", "AES-CBC-PAD", "--iv", iv, "--input-file", encrypted, "--output-file", decrypted)
		same(t, plain, decrypted)

		for i, size := range []string{"16", "24", "32"} {
			id := fmt.Sprintf("3%d", i)
			p.run(t, "--keygen", "--key-type", "AES:"+size, "--id", id, "--label", "aes "+size)
			p.run(t, "--encrypt", "--id", id, "--mechanism", "AES-CBC-PAD", "--iv", iv, "--input-file", plain, "--output-file", encrypted)
			p.run(t, "--decrypt", "--id", id, "--mechanism", "AES-CBC-PAD", "--iv", iv, "--input-file", encrypted, "--output-file", decrypted)
			same(t, plain, decrypted)
		}
	})
}

func same(t *testing.T, a, b string) {
	t.Helper()
	want, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(b); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s differs from %s: %v", b, a, err)
	}
}
