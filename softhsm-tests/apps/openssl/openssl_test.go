// Package openssl runs OpenSSL 3 with libp11's engine against SoftHSM and against our module with each provider. Every
// signature is checked by an OpenSSL process that has only the public key and no engine.
package openssl

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// engine makes OpenSSL take the private key from the token.
func engine(target target.Target, option, label string) []string {
	return []string{"-engine", "pkcs11", "-keyform", "engine", option, target.URI(label)}
}

// plain runs OpenSSL as a party that knows no token.
func plain(t *testing.T, target target.Target, arguments ...string) string {
	t.Helper()
	target.Env = append(target.Env, "OPENSSL_CONF=/dev/null")
	return target.Run(t, "openssl", arguments...)
}

var keys = []struct{ kind, label, id string }{
	{"rsa:2048", "rsa", "01"},
	{"EC:prime256v1", "p256", "02"},
	{"EC:secp384r1", "p384", "03"},
}

// start makes the keys and a self-signed certificate for each.
func start(t *testing.T, target target.Target) target.Target {
	t.Helper()
	target.EngineConfiguration(t)
	for _, key := range keys {
		target.GenerateKeyPair(t, key.kind, key.label, key.id)
		target.Run(t, "openssl", append([]string{
			"req", "-new", "-x509", "-sha256", "-days", "2", "-subj", "/CN=" + key.label,
			"-addext", "subjectAltName=DNS:localhost", "-out", key.label + ".crt",
		}, engine(target, "-key", key.label)...)...)
		plain(t, target, "verify", "-CAfile", target.File(key.label+".crt"), target.File(key.label+".crt"))
		public := plain(t, target, "x509", "-in", key.label+".crt", "-noout", "-pubkey")
		target.Write(t, key.label+".pub", []byte(public))
	}
	return target
}

func TestOpenSSL(t *testing.T) {
	target.Each(t, func(t *testing.T, target target.Target) {
		target = start(t, target)
		t.Run("dgst", func(t *testing.T) { dgst(t, target) })
		t.Run("req and x509", func(t *testing.T) { issue(t, target) })
		t.Run("cms", func(t *testing.T) { cms(t, target) })
		t.Run("pkeyutl", func(t *testing.T) { decrypt(t, target) })
		t.Run("s_server", func(t *testing.T) { serve(t, target) })
	})
}

func dgst(t *testing.T, target target.Target) {
	message := target.Write(t, "message", bytes.Repeat([]byte("AnyHSM "), 100_000))
	for _, key := range keys {
		for _, hash := range []string{"-sha256", "-sha384", "-sha512"} {
			variants := [][]string{nil}
			if key.label == "rsa" {
				variants = append(variants,
					[]string{"-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"},
					[]string{"-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:11"})
			}
			for _, options := range variants {
				sign := append([]string{"dgst", hash, "-out", "signature"}, options...)
				target.Run(t, "openssl", append(append(sign, engine(target, "-sign", key.label)...), message)...)
				verify := append([]string{"dgst", hash, "-verify", key.label + ".pub", "-signature", "signature"}, options...)
				if out := plain(t, target, append(verify, message)...); !strings.Contains(out, "Verified OK") {
					t.Errorf("%s %s %v: %s", key.label, hash, options, out)
				}
			}
		}
	}
}

// issue lets each key sign another party's request as its CA.
func issue(t *testing.T, target target.Target) {
	plain(t, target, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "leaf.key", "-subj", "/CN=leaf", "-out", "leaf.csr", "-config", target.File("openssl.cnf"))
	for _, key := range keys {
		target.Run(t, "openssl", append([]string{"req", "-new", "-subj", "/CN=" + key.label, "-out", key.label + ".csr"}, engine(target, "-key", key.label)...)...)
		if out := plain(t, target, "req", "-in", key.label+".csr", "-noout", "-verify", "-config", target.File("openssl.cnf")); strings.Contains(out, "failure") {
			t.Errorf("%s: %s", key.label, out)
		}
		target.Run(t, "openssl", "x509", "-req", "-in", "leaf.csr", "-CA", key.label+".crt", "-engine", "pkcs11", "-CAkeyform", "engine", "-CAkey", target.URI(key.label),
			"-set_serial", "7", "-days", "1", "-out", "leaf.crt")
		plain(t, target, "verify", "-CAfile", key.label+".crt", "leaf.crt")
	}
}

// cms signs with each key and decrypts with the RSA key.
func cms(t *testing.T, target target.Target) {
	message := target.Write(t, "letter", []byte("a letter\r\n"))
	for _, key := range keys {
		sign := append([]string{"cms", "-sign", "-binary", "-nodetach", "-in", message, "-signer", key.label + ".crt", "-outform", "DER", "-out", "signed.der"}, "-engine", "pkcs11", "-keyform", "engine", "-inkey", target.URI(key.label))
		target.Run(t, "openssl", sign...)
		if out := plain(t, target, "cms", "-verify", "-binary", "-inform", "DER", "-in", "signed.der", "-CAfile", key.label+".crt", "-purpose", "any"); out != "a letter\r\n" {
			t.Errorf("%s: %q", key.label, out)
		}
	}
	plain(t, target, "cms", "-encrypt", "-binary", "-aes256", "-in", message, "-outform", "DER", "-out", "encrypted.der", "rsa.crt")
	decrypted := target.Run(t, "openssl", "cms", "-decrypt", "-binary", "-inform", "DER", "-in", "encrypted.der", "-recip", "rsa.crt", "-engine", "pkcs11", "-keyform", "engine", "-inkey", target.URI("rsa"))
	if decrypted != "a letter\r\n" {
		t.Errorf("decrypted %q", decrypted)
	}
}

// decrypt lets the token open what OpenSSL encrypted to the public key.
func decrypt(t *testing.T, target target.Target) {
	secret := target.Write(t, "secret", []byte("sesame"))
	for _, padding := range []string{"rsa_padding_mode:pkcs1", "rsa_padding_mode:oaep"} {
		plain(t, target, "pkeyutl", "-encrypt", "-pubin", "-inkey", "rsa.pub", "-pkeyopt", padding, "-in", secret, "-out", "encrypted")
		out := target.Run(t, "openssl", append([]string{"pkeyutl", "-decrypt", "-pkeyopt", padding, "-in", "encrypted"}, engine(target, "-inkey", "rsa")...)...)
		if out != "sesame" {
			t.Errorf("%s: %q", padding, out)
		}
	}
}

// serve runs s_server on the token's key and shakes hands with it in TLS 1.2 and 1.3.
func serve(t *testing.T, target target.Target) {
	for _, key := range keys {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := listener.Addr().String()
		listener.Close()
		server := target.Command("openssl", append([]string{"s_server", "-accept", address, "-cert", key.label + ".crt", "-www", "-quiet"}, engine(target, "-key", key.label)...)...)
		var log bytes.Buffer
		server.Stdout, server.Stderr = io.Discard, &log
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Process.Kill(); server.Wait() })
		wait(t, address, &log)
		for _, version := range []string{"-tls1_2", "-tls1_3"} {
			client := target.Command("openssl", "s_client", "-connect", address, "-servername", "localhost", version, "-CAfile", key.label+".crt", "-verify_return_error")
			client.Env = append(os.Environ(), "OPENSSL_CONF=/dev/null")
			client.Stdin = strings.NewReader("GET / HTTP/1.0\r\n\r\n")
			out, err := client.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "Verify return code: 0 (ok)") {
				t.Errorf("%s %s: %v\n%s\nserver: %s", key.label, version, err, out, log.String())
			}
		}
	}
}

func wait(t *testing.T, address string, log fmt.Stringer) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if connection, err := net.Dial("tcp", address); err == nil {
			connection.Close()
			return
		}
	}
	t.Fatalf("nothing listens on %s: %s", address, log)
}
