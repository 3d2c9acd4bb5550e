// Package clouds shows what is each service's own: what it refuses, what becomes of templates, adoption, imports. What
// applications do with keys of each type in all of them is in package matrix. The clouds are strict fakes, all else is real.
package clouds

import (
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/peertest"
	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// start starts a daemon whose token keeps its keys in a service.
func start(t *testing.T, kind string, peer peertest.Peer) target.Target {
	t.Helper()
	daemon := daemontest.Start(t, daemontest.Options{Provider: peer.Provider, Tables: "[log]\nlevel = \"info\"\n" + peer.Tables})
	made := target.Of(t, kind, daemon)
	made.EngineConfiguration(t)
	return made
}

// pairs makes the keys that all these tests use.
func pairs(t *testing.T, on target.Target) {
	t.Helper()
	on.GenerateKeyPair(t, "rsa:2048", "rsa", "01")
	on.GenerateKeyPair(t, "EC:secp384r1", "p384", "03")
}

// check exercises the provider.
func check(t *testing.T, on target.Target, provider string) {
	if out := on.Daemon.CLI(t, "provider", "check", provider); !strings.Contains(out, "verify") {
		t.Errorf("provider check:\n%s", out)
	}
}

// tool runs pkcs11-tool as the token's user.
func tool(t *testing.T, on target.Target, arguments ...string) string {
	t.Helper()
	return on.Run(t, "pkcs11-tool", append([]string{"--module", on.Module, "--token-label", on.Token, "--login", "--pin", on.PIN}, arguments...)...)
}

func refused(t *testing.T, on target.Target, want string, arguments ...string) {
	t.Helper()
	out, stderr, err := on.Try("pkcs11-tool", append([]string{"--module", on.Module, "--token-label", on.Token, "--login", "--pin", on.PIN}, arguments...)...)
	if err == nil || !strings.Contains(out+stderr, want) {
		t.Errorf("pkcs11-tool %s: want %s, got %v\n%s%s", strings.Join(arguments, " "), want, err, out, stderr)
	}
}

// plain runs OpenSSL as a party that knows no token.
func plain(t *testing.T, on target.Target, arguments ...string) string {
	t.Helper()
	on.Env = append(on.Env, "OPENSSL_CONF=/dev/null")
	return on.Run(t, "openssl", arguments...)
}

// certify makes a self-signed certificate with a key of the token.
func certify(t *testing.T, on target.Target, label string) {
	t.Helper()
	on.Run(t, "openssl", "req", "-new", "-x509", "-sha256", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
		"-engine", "pkcs11", "-keyform", "engine", "-key", on.URI(label), "-out", label+".crt")
	plain(t, on, "verify", "-CAfile", on.File(label+".crt"), on.File(label+".crt"))
	on.Write(t, label+".pub", []byte(plain(t, on, "x509", "-in", label+".crt", "-noout", "-pubkey")))
}

func TestAWSKMS(t *testing.T) {
	peer := peertest.AWS(t)
	on := start(t, "awskms", peer)
	pairs(t, on)
	t.Run("what the key became", func(t *testing.T) { truth(t, on) })
	t.Run("ECDH", func(t *testing.T) { derives(t, on) })
	t.Run("refused", func(t *testing.T) { refusals(t, on) })
	t.Run("OAEP", func(t *testing.T) { decrypts(t, on) })
	t.Run("limits", func(t *testing.T) { limited(t, on, "01", "10") })
	t.Run("check", func(t *testing.T) { check(t, on, peer.Provider) })
	t.Run("import", func(t *testing.T) { imports(t, on) })
	t.Run("adopt", func(t *testing.T) { adopts(t, on, peer) })
}

// truth: pkcs11-tool asked for a key that signs and decrypts, and AWS KMS makes none.
func truth(t *testing.T, on target.Target) {
	list := tool(t, on, "--list-objects", "--id", "01")
	for _, object := range strings.Split(list, "Object;")[1:] {
		if !strings.Contains(object, "label:      rsa\n") && !strings.Contains(object, "ID:         01") {
			continue
		}
		usage := object[strings.Index(object, "Usage:"):]
		usage, _, _ = strings.Cut(usage, "\n")
		if strings.Contains(usage, "crypt") || !strings.Contains(usage, "sign") && !strings.Contains(usage, "verify") {
			t.Errorf("the RSA key says of itself: %s", usage)
		}
	}
	mechanisms := tool(t, on, "--list-mechanisms")
	for _, line := range strings.Split(mechanisms, "\n") {
		if strings.Contains(line, "SHA1-RSA-PKCS") && strings.Contains(line, "sign") {
			t.Errorf("the token shows what AWS KMS refuses: %s", line)
		}
	}
	if !strings.Contains(mechanisms, "SHA256-RSA-PKCS") {
		t.Errorf("SHA256-RSA-PKCS is missing:\n%s", mechanisms)
	}
}

// decrypts with a key whose template says what it is for.
func decrypts(t *testing.T, on target.Target) {
	tool(t, on, "--keypairgen", "--key-type", "rsa:2048", "--label", "oaep", "--id", "10", "--usage-decrypt")
	tool(t, on, "--read-object", "--type", "pubkey", "--id", "10", "--output-file", on.File("oaep.der"))
	plain(t, on, "pkey", "-pubin", "-inform", "DER", "-in", "oaep.der", "-out", "oaep.pub")
	secret := on.Write(t, "secret", []byte("sesame"))
	plain(t, on, "pkeyutl", "-encrypt", "-pubin", "-inkey", "oaep.pub", "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256",
		"-in", secret, "-out", "ciphertext")
	tool(t, on, "--decrypt", "--id", "10", "--mechanism", "RSA-PKCS-OAEP", "--hash-algorithm", "SHA256", "--input-file", on.File("ciphertext"), "--output-file", on.File("plaintext"))
	if got, err := os.ReadFile(on.File("plaintext")); err != nil || string(got) != "sesame" {
		t.Errorf("decrypted %q: %v", got, err)
	}
}

// limited asks keys for parameters that their service does not take: the application hears of it when it names them, not
// when it has gathered the data.
func limited(t *testing.T, on target.Target, signing, decrypting string) {
	for hash, length := range map[string]int{"SHA-1": 20, "SHA256": 32} {
		data := on.Write(t, "hash", make([]byte, length))
		refused(t, on, "C_SignInit failed: rv = CKR_MECHANISM_PARAM_INVALID", "--sign", "--id", signing, "--mechanism", "RSA-PKCS-PSS",
			"--hash-algorithm", hash, "--salt-len", "11", "--input-file", data, "--output-file", on.File("signature"))
	}
	data := on.Write(t, "hash", make([]byte, 32))
	tool(t, on, "--sign", "--id", signing, "--mechanism", "RSA-PKCS-PSS", "--hash-algorithm", "SHA256", "--salt-len", "32",
		"--input-file", data, "--output-file", on.File("signature"))
	refused(t, on, "C_DecryptInit failed: rv = CKR_MECHANISM_PARAM_INVALID", "--decrypt", "--id", decrypting, "--mechanism", "RSA-PKCS-OAEP",
		"--hash-algorithm", "SHA512", "--input-file", on.File("ciphertext"), "--output-file", on.File("plaintext"))
}

// derives with a key that is for key agreement.
func derives(t *testing.T, on target.Target) {
	tool(t, on, "--keypairgen", "--key-type", "EC:prime256v1", "--label", "ecdh", "--id", "11", "--usage-derive")
	plain(t, on, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "peer.key")
	plain(t, on, "pkey", "-in", "peer.key", "-pubout", "-outform", "DER", "-out", "peer.der")
	tool(t, on, "--derive", "--id", "11", "--mechanism", "ECDH1-DERIVE", "--input-file", on.File("peer.der"), "--output-file", on.File("derived"))
	tool(t, on, "--read-object", "--type", "pubkey", "--id", "11", "--output-file", on.File("ecdh.der"))
	plain(t, on, "pkeyutl", "-derive", "-inkey", "peer.key", "-peerkey", on.File("ecdh.der"), "-peerform", "DER", "-out", "wanted")
	got, err1 := os.ReadFile(on.File("derived"))
	want, err2 := os.ReadFile(on.File("wanted"))
	if err1 != nil || err2 != nil || string(got) != string(want) {
		t.Errorf("derived %x, want %x: %v, %v", got, want, err1, err2)
	}
}

func refusals(t *testing.T, on target.Target) {
	data := on.Write(t, "data", make([]byte, 32))
	// OpenSC 0.23 has no name for CKR_CURVE_NOT_SUPPORTED.
	refused(t, on, "0x140", "--keypairgen", "--key-type", "EC:secp224r1", "--label", "no", "--id", "20")
	refused(t, on, "CKR_ATTRIBUTE_VALUE_INVALID", "--keypairgen", "--key-type", "rsa:1024", "--label", "no", "--id", "20")
	refused(t, on, "mechanism not supported", "--keygen", "--key-type", "AES:32", "--label", "no", "--id", "20")
	refused(t, on, "CKR_DATA_INVALID", "--sign", "--id", "01", "--mechanism", "RSA-PKCS", "--input-file", data, "--output-file", on.File("signature"))
	refused(t, on, "CKR_MECHANISM_INVALID", "--sign", "--id", "01", "--mechanism", "SHA1-RSA-PKCS", "--input-file", data, "--output-file", on.File("signature"))
	refused(t, on, "CKR_KEY_FUNCTION_NOT_PERMITTED", "--decrypt", "--id", "01", "--mechanism", "RSA-PKCS-OAEP", "--input-file", data, "--output-file", on.File("plaintext"))
}

// imports a key that OpenSSL has made: what it signs, the old public key verifies.
func imports(t *testing.T, on target.Target) {
	plain(t, on, "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "own.key")
	plain(t, on, "pkey", "-in", "own.key", "-pubout", "-out", "own.pub")
	on.Daemon.CLI(t, "key", "import", on.File("own.key"), "--token", on.Token, "--label", "own")
	message := on.Write(t, "letter", []byte("a letter"))
	on.Run(t, "openssl", "dgst", "-sha384", "-out", "signature", "-engine", "pkcs11", "-keyform", "engine", "-sign", on.URI("own"), message)
	if out := plain(t, on, "dgst", "-sha384", "-verify", "own.pub", "-signature", "signature", message); !strings.Contains(out, "Verified OK") {
		t.Error(out)
	}
}

// adopts a key that somebody else has made in the account.
func adopts(t *testing.T, on target.Target, peer peertest.Peer) {
	ctx := t.Context()
	service := kms.New(kms.Options{
		Region: "eu-central-1", BaseEndpoint: aws.String(peer.URL),
		Credentials: credentials.NewStaticCredentialsProvider(peertest.AWSKeyID, peertest.AWSSecretKey, ""),
	})
	made, err := service.CreateKey(ctx, &kms.CreateKeyInput{KeySpec: types.KeySpecEccNistP256, KeyUsage: types.KeyUsageTypeSignVerify})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := service.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/shop"), TargetKeyId: made.KeyMetadata.KeyId}); err != nil {
		t.Fatal(err)
	}
	list := on.Daemon.CLI(t, "provider", "keys", "aws")
	for _, want := range []string{"rsa", "p384", "shop", aws.ToString(made.KeyMetadata.Arn)} {
		if !strings.Contains(list, want) {
			t.Errorf("the listing has no %s:\n%s", want, list)
		}
	}
	on.Daemon.CLI(t, "key", "adopt", "--token", on.Token, "alias/shop")
	certify(t, on, "shop")
	// What the account's owner turns off stops signing, and comes back.
	if _, err := service.DisableKey(ctx, &kms.DisableKeyInput{KeyId: made.KeyMetadata.KeyId}); err != nil {
		t.Fatal(err)
	}
	sign := []string{"dgst", "-sha256", "-out", "signature", "-engine", "pkcs11", "-keyform", "engine", "-sign", on.URI("shop"), on.File("shop.crt")}
	if out, _, err := on.Try("openssl", sign...); err == nil {
		t.Errorf("a disabled key signed: %s", out)
	}
	if _, err := service.EnableKey(ctx, &kms.EnableKeyInput{KeyId: made.KeyMetadata.KeyId}); err != nil {
		t.Fatal(err)
	}
	on.Run(t, "openssl", sign...)
	// Deleting the object schedules the key for deletion, and leaves no alias behind.
	on.Daemon.CLI(t, "key", "delete", "--token", on.Token, "--yes", "p384")
	aliases, err := service.ListAliases(ctx, &kms.ListAliasesInput{})
	if err != nil {
		t.Fatal(err)
	}
	pending := 0
	for _, a := range aliases.Aliases {
		found, err := service.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: a.TargetKeyId})
		if err != nil || found.KeyMetadata.KeyState != types.KeyStateEnabled {
			t.Errorf("the alias %s names no key in use: %v", aws.ToString(a.AliasName), err)
		}
	}
	keys, err := service.ListKeys(ctx, &kms.ListKeysInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys.Keys {
		found, err := service.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: k.KeyId})
		if err == nil && found.KeyMetadata.KeyState == types.KeyStatePendingDeletion && aws.ToString(found.KeyMetadata.Description) == "p384" {
			pending++
		}
	}
	if pending != 1 {
		t.Errorf("%d keys of the deleted object are pending deletion, not 1", pending)
	}
}
