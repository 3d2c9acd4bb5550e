package hsm

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// tool runs a program of others on a token.
func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

func pkcs11Tool(t *testing.T, token string, args ...string) {
	t.Helper()
	tool(t, "pkcs11-tool", append([]string{"--module", softhsm, "--token-label", token, "--login", "--pin", userPIN}, args...)...)
}

// listed lists all that a provider holds.
func listed(t *testing.T, p *Provider) []provider.Found {
	t.Helper()
	var all []provider.Found
	page := ""
	for {
		found, next, err := p.List(t.Context(), page)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
		if next == "" {
			return all
		}
		page = next
	}
}

// named finds an entry by its name.
func named(t *testing.T, all []provider.Found, name string) provider.Found {
	t.Helper()
	i := slices.IndexFunc(all, func(f provider.Found) bool { return f.Name == name })
	if i < 0 {
		var names []string
		for _, f := range all {
			names = append(names, f.Name)
		}
		t.Fatalf("there is no %q among %q", name, names)
	}
	return all[i]
}

// TestAdopt lists and uses keys that pkcs11-tool and softhsm2-util have made.
func TestAdopt(t *testing.T) {
	const token = "adopt"
	directory := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// A key and its certificate from outside.
	brought, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, _ := x509.MarshalPKCS8PrivateKey(brought)
	tool(t, "softhsm2-util", "--import", write("key.pem", "PRIVATE KEY", pkcs8), "--token", token, "--pin", userPIN, "--label", "brought", "--id", "b1b2")
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(0x1234), Subject: pkix.Name{CommonName: "brought"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, authority, authority, &brought.PublicKey, brought)
	if err != nil {
		t.Fatal(err)
	}
	pkcs11Tool(t, token, "--write-object", write("cert.pem", "CERTIFICATE", certificate), "--type", "cert", "--label", "brought", "--id", "b1b2")
	// Keys made in the token.
	pkcs11Tool(t, token, "--keypairgen", "--key-type", "rsa:2048", "--label", "web", "--id", "01")
	pkcs11Tool(t, token, "--keypairgen", "--key-type", "EC:prime256v1", "--label", "signer", "--id", "01")
	pkcs11Tool(t, token, "--keygen", "--key-type", "AES:32", "--label", "wrapper", "--id", "02", "--extractable")
	// Two EC keys of one id and one label: only their public keys differ, and nothing shows which belongs to which.
	pkcs11Tool(t, token, "--keypairgen", "--key-type", "EC:prime256v1", "--label", "twin", "--id", "05")
	pkcs11Tool(t, token, "--keypairgen", "--key-type", "EC:prime256v1", "--label", "twin", "--id", "05")
	// One id, different labels.
	pkcs11Tool(t, token, "--keypairgen", "--key-type", "EC:prime256v1", "--label", "older", "--id", "06")
	pkcs11Tool(t, token, "--keypairgen", "--key-type", "EC:prime256v1", "--label", "newer", "--id", "06")
	// A private key whose public half is gone but for the certificate.
	pkcs11Tool(t, token, "--delete-object", "--type", "pubkey", "--id", "b1b2")
	pkcs11Tool(t, token, "--keypairgen", "--key-type", "EC:secp384r1", "--label", "no id")
	// A key that wants the PIN again for each use.
	pkcs11Tool(t, token, "--keypairgen", "--key-type", "EC:prime256v1", "--label", "careful", "--id", "07", "--always-auth")

	p := connect(t, config(token))
	all := listed(t, p)
	open := func(f provider.Found) *key {
		t.Helper()
		k, err := p.Key(t.Context(), provider.Reference{Identity: provider.Identity{UID: "0"}, Ref: f.Ref, Attributes: f.Objects[0]})
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		return k.(*key)
	}
	sign := func(f provider.Found) {
		t.Helper()
		on, _ := curve.Of(f.Objects[1])
		point, _ := on.Point(f.Objects[1].Bytes(cryptoki.CKA_EC_POINT))
		public, err := ecdsa.ParseUncompressedPublicKey(on.Elliptic, point)
		if err != nil {
			t.Fatal(err)
		}
		digest := make([]byte, 32)
		signature, err := open(f).Sign(t.Context(), ecdsaMechanism, digest)
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		n := on.Bytes()
		if !ecdsa.Verify(public, digest, new(big.Int).SetBytes(signature[:n]), new(big.Int).SetBytes(signature[n:])) {
			t.Errorf("%s: the signature does not verify with the listed public half", f.Name)
		}
	}

	web := named(t, all, "private-key/web/01")
	if string(web.Objects[0].Bytes(cryptoki.CKA_LABEL)) != "web" || !bytes.Equal(web.Objects[0].Bytes(cryptoki.CKA_ID), []byte{1}) ||
		!web.Objects[0].Bool(cryptoki.CKA_SENSITIVE) || web.Objects[0].Bool(cryptoki.CKA_EXTRACTABLE) || len(web.Objects[1].Bytes(cryptoki.CKA_MODULUS)) != 256 {
		t.Errorf("web is listed as %v", web.Objects)
	}
	if signature, err := open(web).Sign(t.Context(), cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, []byte("digest")); err != nil || len(signature) != 256 {
		t.Errorf("web: %v", err)
	}
	sign(named(t, all, "private-key/signer/01"))
	older, newer := named(t, all, "private-key/older/06"), named(t, all, "private-key/newer/06")
	sign(older)
	sign(newer)
	if bytes.Equal(older.Ref, newer.Ref) {
		t.Error("two keys of one id have one reference")
	}
	sign(named(t, all, "private-key/no id/"))
	careful := named(t, all, "private-key/careful/07")
	sign(careful)
	sign(careful)
	wrapper := named(t, all, "secret-key/wrapper/02")
	if length, _ := wrapper.Objects[0].Ulong(cryptoki.CKA_VALUE_LEN); length != 32 {
		t.Errorf("wrapper has %d bytes", length)
	}
	if _, err := open(wrapper).Encrypt(t.Context(), cryptoki.Mechanism{Type: cryptoki.CKM_AES_ECB}, make([]byte, 16)); err != nil {
		t.Errorf("wrapper: %v", err)
	}

	// The public half comes from the certificate.
	found := named(t, all, "private-key/brought/b1b2")
	sign(found)
	point, _ := brought.PublicKey.Bytes()
	if !bytes.Equal(found.Objects[1].Bytes(cryptoki.CKA_EC_POINT), curve.OctetString(point)) {
		t.Error("brought has another public half than the key that was brought")
	}
	listedCertificate := named(t, all, "certificate/brought/b1b2")
	if !bytes.Equal(listedCertificate.Objects[0].Bytes(cryptoki.CKA_VALUE), certificate) || len(listedCertificate.Ref) != 0 {
		t.Error("the certificate is listed as another")
	}

	// Twins are listed, under two names, and refused in a sentence: signing with the wrong one would be worse.
	twin := named(t, all, "private-key/twin/05")
	named(t, all, "private-key/twin/05#2")
	_, err = p.Key(t.Context(), provider.Reference{Ref: twin.Ref})
	if !fault.Is(err, fault.FunctionFailed) || !strings.Contains(err.Error(), "CKA_ID") {
		t.Errorf("a twin: %v", err)
	}
	if err := p.Destroy(t.Context(), provider.Reference{Ref: twin.Ref}); !fault.Is(err, fault.FunctionFailed) {
		t.Errorf("destroying a twin: %v", err)
	}
	named(t, listed(t, p), "private-key/twin/05#2")
	// Destroying one key of an id leaves the other.
	if err := p.Destroy(t.Context(), provider.Reference{Ref: older.Ref}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Key(t.Context(), provider.Reference{Ref: older.Ref}); !fault.Is(err, fault.KeyHandleInvalid) {
		t.Errorf("a destroyed key: %v", err)
	}
	sign(newer)
	// The listing is the same again, so that what is adopted is known.
	for _, f := range listed(t, p) {
		if f.Name == newer.Name && !bytes.Equal(f.Ref, newer.Ref) {
			t.Error("newer has another reference now")
		}
	}
}
