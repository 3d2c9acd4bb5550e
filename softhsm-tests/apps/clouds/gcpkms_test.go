package clouds

import (
	"crypto/tls"
	"strings"
	"testing"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/anyhsm/anyhsm/softhsm-tests/peertest"
	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

func TestGCPKMS(t *testing.T) {
	peer := peertest.Google(t)
	on := start(t, "gcpkms", peer)
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
	t.Run("refused", func(t *testing.T) { gcpRefusals(t, on) })
	t.Run("OAEP", func(t *testing.T) { decrypts(t, on) })
	t.Run("limits", func(t *testing.T) { limited(t, on, "04", "10") })
	t.Run("check", func(t *testing.T) { check(t, on, peer.Provider) })
	t.Run("import", func(t *testing.T) { imports(t, on) })
	t.Run("adopt", func(t *testing.T) { gcpAdopts(t, on, peer.URL) })
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
	if _, err := service.CreateCryptoKey(ctx, &kmspb.CreateCryptoKeyRequest{Parent: peertest.GoogleRing, CryptoKeyId: "shop", CryptoKey: &kmspb.CryptoKey{
		Purpose:         kmspb.CryptoKey_ASYMMETRIC_SIGN,
		VersionTemplate: &kmspb.CryptoKeyVersionTemplate{Algorithm: kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256, ProtectionLevel: kmspb.ProtectionLevel_SOFTWARE},
	}}); err != nil {
		t.Fatal(err)
	}
	list := on.Daemon.CLI(t, "provider", "keys", "gcp")
	for _, want := range []string{"rsa", "p256", "p384", "pss", peertest.GoogleRing + "/cryptoKeys/shop/cryptoKeyVersions/1"} {
		if !strings.Contains(list, want) {
			t.Errorf("the listing has no %s:\n%s", want, list)
		}
	}
	on.Daemon.CLI(t, "key", "adopt", "--token", on.Token, "shop")
	certify(t, on, "shop")

	on.Daemon.CLI(t, "key", "delete", "--token", on.Token, "--yes", "p384")
	scheduled := 0
	keys := service.ListCryptoKeys(ctx, &kmspb.ListCryptoKeysRequest{Parent: peertest.GoogleRing})
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
