package clouds

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"testing"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// gcpRing is the key ring that the fake has.
const gcpRing = "projects/anyhsm-test/locations/europe-west3/keyRings/ring"

// gcpKMS starts the fake Google Cloud KMS and a daemon whose token keeps its keys there. It gives the fake's URL as well.
func gcpKMS(t *testing.T) (target.Target, string) {
	t.Helper()
	tables, url := gcpTables(t)
	made := target.Of(t, "gcpkms", daemontest.Start(t, daemontest.Options{Provider: "gcp", Tables: tables}))
	made.EngineConfiguration(t)
	return made, url
}

// gcpTables starts the fake and returns the configuration of a provider on it, and its URL.
func gcpTables(t *testing.T) (tables, url string) {
	t.Helper()
	url = startFake(t, "./daemon/internal/provider/gcpkms/gcpfake/serve")
	return fmt.Sprintf(`
[[provider]]
name = "gcp"
kind = "gcpkms"
[provider.gcpkms]
key_ring = %q
endpoint = %q
`, gcpRing, url), url
}

func TestGCPKMS(t *testing.T) {
	on, url := gcpKMS(t)
	for _, key := range []struct{ kind, label, id string }{
		{"rsa:2048", "rsa", "01"},
		{"EC:prime256v1", "p256", "02"},
		{"EC:secp384r1", "p384", "03"},
	} {
		on.GenerateKeyPair(t, key.kind, key.label, key.id)
		certify(t, on, key.label)
	}
	// The template says that the key is for PSS: Google's RSA keys have one padding.
	tool(t, on, "--keypairgen", "--key-type", "rsa:2048", "--label", "pss", "--id", "04", "--usage-sign", "--allowed-mechanisms", "RSA-PKCS-PSS,SHA256-RSA-PKCS-PSS")
	on.Run(t, "openssl", "req", "-new", "-x509", "-sha256", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
		"-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest", "-engine", "pkcs11", "-keyform", "engine", "-key", on.URI("pss"), "-out", "pss.crt")
	on.Write(t, "pss.pub", []byte(plain(t, on, "x509", "-in", "pss.crt", "-noout", "-pubkey")))

	t.Run("OpenSSL", func(t *testing.T) { gcpSignatures(t, on) })
	t.Run("OAEP", func(t *testing.T) { decrypts(t, on) })
	t.Run("AES", func(t *testing.T) { gcpAES(t, on) })
	t.Run("HMAC", func(t *testing.T) { gcpHMAC(t, on) })
	t.Run("refused", func(t *testing.T) { gcpRefusals(t, on) })
	t.Run("limits", func(t *testing.T) { limited(t, on, "04", "10") })
	t.Run("check", func(t *testing.T) {
		if out := on.Daemon.CLI(t, "provider", "check", "gcp"); !strings.Contains(out, "verify") {
			t.Errorf("provider check:\n%s", out)
		}
	})
	t.Run("import", func(t *testing.T) { imports(t, on) })
	t.Run("adopt", func(t *testing.T) { gcpAdopts(t, on, url) })
	t.Run("nginx p256", func(t *testing.T) { serve(t, on, "p256") })
	t.Run("nginx rsa", func(t *testing.T) {
		serveWith(t, on, "rsa", "    ssl_conf_command SignatureAlgorithms RSA+SHA256;\n", tls.VersionTLS12)
	})
	t.Run("nginx pss", func(t *testing.T) {
		serveWith(t, on, "pss", "    ssl_conf_command SignatureAlgorithms rsa_pss_rsae_sha256;\n", tls.VersionTLS12, tls.VersionTLS13)
	})
}

func gcpSignatures(t *testing.T, on target.Target) {
	message := on.Write(t, "message", []byte(strings.Repeat("AnyHSM ", 10_000)))
	pss := []string{"-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"}
	for _, tc := range []struct {
		label, hash string
		options     []string
	}{
		{"rsa", "-sha1", nil},
		{"rsa", "-sha256", nil},
		{"rsa", "-sha384", nil},
		{"rsa", "-sha512", nil},
		{"pss", "-sha256", pss},
		{"p256", "-sha256", nil},
		{"p256", "-sha384", nil},
		{"p384", "-sha256", nil},
		{"p384", "-sha512", nil},
	} {
		sign := append([]string{"dgst", tc.hash, "-out", "signature", "-engine", "pkcs11", "-keyform", "engine", "-sign", on.URI(tc.label)}, tc.options...)
		on.Run(t, "openssl", append(sign, message)...)
		verify := append([]string{"dgst", tc.hash, "-verify", tc.label + ".pub", "-signature", "signature"}, tc.options...)
		if out := plain(t, on, append(verify, message)...); !strings.Contains(out, "Verified OK") {
			t.Errorf("%s %s: %s", tc.label, tc.hash, out)
		}
	}
}

func gcpAES(t *testing.T, on target.Target) {
	tool(t, on, "--keygen", "--key-type", "AES:32", "--label", "aes", "--id", "12")
	secret := []byte("a secret that is no multiple of sixteen bytes")
	on.Write(t, "secret.txt", secret)
	iv := "000102030405060708090a0b0c0d0e0f"
	tool(t, on, "--encrypt", "--id", "12", "--mechanism", "AES-CBC-PAD", "--iv", iv, "--input-file", on.File("secret.txt"), "--output-file", on.File("secret.aes"))
	tool(t, on, "--decrypt", "--id", "12", "--mechanism", "AES-CBC-PAD", "--iv", iv, "--input-file", on.File("secret.aes"), "--output-file", on.File("secret.out"))
	ciphertext, err := os.ReadFile(on.File("secret.aes"))
	if err != nil || bytes.Contains(ciphertext, secret[:16]) {
		t.Errorf("%x, %v", ciphertext, err)
	}
	if got, err := os.ReadFile(on.File("secret.out")); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("%q, %v", got, err)
	}
}

// gcpHMAC signs with a key whose length says which hash it is for.
func gcpHMAC(t *testing.T, on target.Target) {
	tool(t, on, "--keygen", "--key-type", "GENERIC:32", "--label", "mac", "--id", "13")
	on.Write(t, "order", []byte("one pizza"))
	tool(t, on, "--sign", "--id", "13", "--mechanism", "SHA256-HMAC", "--input-file", on.File("order"), "--output-file", on.File("order.mac"))
	tool(t, on, "--verify", "--id", "13", "--mechanism", "SHA256-HMAC", "--input-file", on.File("order"), "--signature-file", on.File("order.mac"))
	if mac, err := os.ReadFile(on.File("order.mac")); err != nil || len(mac) != 32 {
		t.Errorf("%x, %v", mac, err)
	}
}

func gcpRefusals(t *testing.T, on target.Target) {
	data := on.Write(t, "data", make([]byte, 32))
	// OpenSC 0.23 has no name for CKR_CURVE_NOT_SUPPORTED.
	refused(t, on, "0x140", "--keypairgen", "--key-type", "EC:secp521r1", "--label", "no", "--id", "20")
	refused(t, on, "CKR_ATTRIBUTE_VALUE_INVALID", "--keypairgen", "--key-type", "rsa:1024", "--label", "no", "--id", "20")
	refused(t, on, "CKR_ATTRIBUTE_VALUE_INVALID", "--keygen", "--key-type", "AES:24", "--label", "no", "--id", "20")
	refused(t, on, "CKR_TEMPLATE_INCONSISTENT", "--keypairgen", "--key-type", "EC:prime256v1", "--usage-derive", "--allowed-mechanisms", "ECDH1-DERIVE", "--label", "no", "--id", "20")
	// Each of the RSA keys has one padding, and both say so.
	refused(t, on, "CKR_MECHANISM_INVALID", "--sign", "--id", "01", "--mechanism", "RSA-PKCS-PSS", "--hash-algorithm", "SHA256", "--input-file", data, "--output-file", on.File("signature"))
	refused(t, on, "CKR_MECHANISM_INVALID", "--sign", "--id", "04", "--mechanism", "SHA256-RSA-PKCS", "--input-file", data, "--output-file", on.File("signature"))
	refused(t, on, "CKR_KEY_FUNCTION_NOT_PERMITTED", "--decrypt", "--id", "01", "--mechanism", "RSA-PKCS-OAEP", "--input-file", data, "--output-file", on.File("plaintext"))
}

// gcpAdopts takes a key that somebody else has made in the key ring, and deletes one of our own.
func gcpAdopts(t *testing.T, on target.Target, url string) {
	ctx := t.Context()
	service, err := kms.NewKeyManagementClient(ctx, option.WithEndpoint(strings.TrimPrefix(url, "http://")), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	if _, err := service.CreateCryptoKey(ctx, &kmspb.CreateCryptoKeyRequest{Parent: gcpRing, CryptoKeyId: "shop", CryptoKey: &kmspb.CryptoKey{
		Purpose:         kmspb.CryptoKey_ASYMMETRIC_SIGN,
		VersionTemplate: &kmspb.CryptoKeyVersionTemplate{Algorithm: kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256, ProtectionLevel: kmspb.ProtectionLevel_SOFTWARE},
	}}); err != nil {
		t.Fatal(err)
	}
	list := on.Daemon.CLI(t, "provider", "keys", "gcp")
	for _, want := range []string{"rsa", "p256", "p384", "pss", gcpRing + "/cryptoKeys/shop/cryptoKeyVersions/1"} {
		if !strings.Contains(list, want) {
			t.Errorf("the listing has no %s:\n%s", want, list)
		}
	}
	on.Daemon.CLI(t, "key", "adopt", "--token", on.Token, "shop")
	certify(t, on, "shop")

	on.Daemon.CLI(t, "key", "delete", "--token", on.Token, "--yes", "p384")
	scheduled := 0
	keys := service.ListCryptoKeys(ctx, &kmspb.ListCryptoKeysRequest{Parent: gcpRing})
	for {
		k, err := keys.Next()
		if err == iterator.Done {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		v, err := service.GetCryptoKeyVersion(ctx, &kmspb.GetCryptoKeyVersionRequest{Name: k.GetName() + "/cryptoKeyVersions/1"})
		if err != nil {
			t.Fatal(err)
		}
		if k.GetLabels()["anyhsm-label"] == "p384" && v.GetState() == kmspb.CryptoKeyVersion_DESTROY_SCHEDULED {
			scheduled++
		}
	}
	if scheduled != 1 {
		t.Errorf("%d keys of the deleted object are scheduled for destruction, not 1", scheduled)
	}
}
