package softkey

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// openssl runs the command in a directory that holds the files of the test; an independent party has the last word.
func openssl(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl %v: %v\n%s%s", args, err, out, stderr.String())
	}
	return out
}

func write(t *testing.T, dir, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func writeKey(t *testing.T, dir string, p pair) {
	t.Helper()
	write(t, dir, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(p.native))}))
	public := load(t, p.public).Public()
	write(t, dir, "pub.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(public))}))
}

func TestOpenSSLVerifies(t *testing.T) {
	data := []byte("a message for OpenSSL")
	digest := sha256.Sum256(data)
	for _, test := range []struct {
		name string
		p    pair
		m    cryptoki.Mechanism
		data []byte
		args []string
	}{
		{"PKCS1", rsa2048(), cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_RSA_PKCS}, data, []string{"-pkeyopt", "digest:sha256"}},
		{"PSS", rsa2048(), cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_PSS, Params: cryptoki.PSSParams{Hash: cryptoki.CKM_SHA256, MGF: cryptoki.CKG_MGF1_SHA256, SaltLength: 32}}, digest[:], []string{"-pkeyopt", "digest:sha256", "-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:32"}},
		{"PSS with another mask", rsa2048(), cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_PSS, Params: cryptoki.PSSParams{Hash: cryptoki.CKM_SHA256, MGF: cryptoki.CKG_MGF1_SHA1, SaltLength: 20}}, digest[:], []string{"-pkeyopt", "digest:sha256", "-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:20", "-pkeyopt", "rsa_mgf1_md:sha1"}},
		{"PSS without salt", rsa1031(), cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_PSS, Params: cryptoki.PSSParams{Hash: cryptoki.CKM_SHA256, MGF: cryptoki.CKG_MGF1_SHA256}}, digest[:], []string{"-pkeyopt", "digest:sha256", "-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:0"}},
		{"X.509", rsa2048(), cryptoki.Mechanism{Type: cryptoki.CKM_RSA_X_509}, append(make([]byte, 224), digest[:]...), []string{"-pkeyopt", "rsa_padding_mode:none"}},
		{"P-224", curvePair(t, "P-224"), cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, digest[:], nil},
		{"P-521", curvePair(t, "P-521"), cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA_SHA256}, data, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			writeKey(t, dir, test.p)
			k := load(t, test.p.private)
			signature, err := k.Sign(test.m, test.data)
			if err != nil {
				t.Fatal(err)
			}
			in := digest[:]
			if test.m.Type == cryptoki.CKM_RSA_X_509 {
				in = test.data
			}
			write(t, dir, "in", in)
			ec := k.ecPublic != nil
			if ec {
				half := len(signature) / 2
				signature = must(asn1.Marshal([]*big.Int{new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])}))
			}
			write(t, dir, "sig", signature)
			args := append([]string{"pkeyutl", "-verify", "-pubin", "-inkey", "pub.pem", "-in", "in", "-sigfile", "sig"}, test.args...)
			if test.m.Type == cryptoki.CKM_RSA_X_509 {
				args = []string{"pkeyutl", "-verifyrecover", "-pubin", "-inkey", "pub.pem", "-in", "sig", "-pkeyopt", "rsa_padding_mode:none"}
				if got := openssl(t, dir, args...); !bytes.Equal(got, in) {
					t.Errorf("recovered %x", got)
				}
				return
			}
			openssl(t, dir, args...)
			// And the other way round.
			sign := append([]string{"pkeyutl", "-sign", "-inkey", "key.pem", "-in", "in"}, test.args...)
			theirs := openssl(t, dir, sign...)
			if ec {
				var rs struct{ R, S *big.Int }
				if _, err := asn1.Unmarshal(theirs, &rs); err != nil {
					t.Fatal(err)
				}
				size := k.curve.Bytes()
				theirs = append(rs.R.FillBytes(make([]byte, size)), rs.S.FillBytes(make([]byte, size))...)
			}
			if err := k.Verify(test.m, test.data, theirs); err != nil {
				t.Error("their signature:", err)
			}
		})
	}
}

func TestOpenSSLVerifiesEd25519(t *testing.T) {
	dir, p := t.TempDir(), curvePair(t, "Ed25519")
	writeKey(t, dir, p)
	write(t, dir, "in", []byte("data"))
	k, m := load(t, p.private), cryptoki.Mechanism{Type: cryptoki.CKM_EDDSA}
	write(t, dir, "sig", must(k.Sign(m, []byte("data"))))
	openssl(t, dir, "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "pub.pem", "-in", "in", "-sigfile", "sig")
	if err := k.Verify(m, []byte("data"), openssl(t, dir, "pkeyutl", "-sign", "-rawin", "-inkey", "key.pem", "-in", "in")); err != nil {
		t.Error(err)
	}
}

func TestOpenSSLEncrypts(t *testing.T) {
	dir, p := t.TempDir(), rsa2048()
	writeKey(t, dir, p)
	plaintext := []byte("a secret")
	write(t, dir, "in", plaintext)
	private, public := load(t, p.private), load(t, p.public)
	for _, test := range []struct {
		m    cryptoki.Mechanism
		args []string
	}{
		{cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, nil},
		{oaepWith(cryptoki.CKM_SHA_1, cryptoki.CKG_MGF1_SHA1, nil), []string{"-pkeyopt", "rsa_padding_mode:oaep"}},
		{oaepWith(cryptoki.CKM_SHA256, cryptoki.CKG_MGF1_SHA512, []byte("abc")), []string{"-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt", "rsa_mgf1_md:sha512", "-pkeyopt", "rsa_oaep_label:" + hex.EncodeToString([]byte("abc"))}},
	} {
		theirs := openssl(t, dir, append([]string{"pkeyutl", "-encrypt", "-pubin", "-inkey", "pub.pem", "-in", "in"}, test.args...)...)
		if got, err := private.Decrypt(test.m, theirs); err != nil || !bytes.Equal(got, plaintext) {
			t.Errorf("%v: %q %v", test.m, got, err)
		}
		write(t, dir, "ours", must(public.Encrypt(test.m, plaintext)))
		if got := openssl(t, dir, append([]string{"pkeyutl", "-decrypt", "-inkey", "key.pem", "-in", "ours"}, test.args...)...); !bytes.Equal(got, plaintext) {
			t.Errorf("%v: %q", test.m, got)
		}
	}
}

func TestOpenSSLDerivesOnP224(t *testing.T) {
	dir, a, b := t.TempDir(), curvePair(t, "P-224"), curvePair(t, "P-224")
	writeKey(t, dir, a)
	public := load(t, b.public).Public()
	write(t, dir, "peer.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(public))}))
	m := cryptoki.Mechanism{Type: cryptoki.CKM_ECDH1_DERIVE, Params: cryptoki.ECDH1Params{KDF: cryptoki.CKD_NULL, PublicData: b.public.Bytes(cryptoki.CKA_EC_POINT)}}
	want := openssl(t, dir, "pkeyutl", "-derive", "-inkey", "key.pem", "-peerkey", "peer.pem")
	if got := must(load(t, a.private).Derive(m, 0)); !bytes.Equal(got, want) {
		t.Errorf("%x, OpenSSL has %x", got, want)
	}
}

func TestOpenSSLAES(t *testing.T) {
	dir, value, start := t.TempDir(), random(32), random(16)
	k := load(t, secretKey(cryptoki.CKK_AES, value))
	data := random(100)
	write(t, dir, "in", data)
	counter := cryptoki.CTRParams{CounterBits: 128}
	copy(counter.CounterBlock[:], start)
	for name, m := range map[string]cryptoki.Mechanism{
		"-aes-256-cbc": iv(cryptoki.CKM_AES_CBC_PAD, start),
		"-aes-256-ctr": {Type: cryptoki.CKM_AES_CTR, Params: counter},
	} {
		want := openssl(t, dir, "enc", name, "-K", hex.EncodeToString(value), "-iv", hex.EncodeToString(start), "-in", "in")
		if got := must(k.Encrypt(m, data)); !bytes.Equal(got, want) {
			t.Errorf("%s: %x, OpenSSL has %x", name, got, want)
		}
	}
}
