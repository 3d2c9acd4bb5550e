// Package leak searches for a known key and a known PIN where they must not be: logs, store, error texts, and a core
// dump of the process that uses the module.
package leak

import (
	"bytes"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// secret is something to look for, in every form that a careless program writes.
type secret struct {
	name  string
	forms [][]byte
}

func newSecret(name string, value []byte) secret {
	reversed := slices.Clone(value) // big numbers lie in memory with the low word first
	slices.Reverse(reversed)
	return secret{name, [][]byte{
		value, reversed, []byte(hex.EncodeToString(value)), []byte(strings.ToUpper(hex.EncodeToString(value))),
		[]byte(base64.StdEncoding.EncodeToString(value)[:len(value)]),
	}}
}

// in tells which form of the secret a text holds.
func (s secret) in(text []byte) bool {
	return slices.ContainsFunc(s.forms, func(form []byte) bool { return bytes.Contains(text, form) })
}

func TestKnownKey(t *testing.T) {
	target.Ours(t, func(t *testing.T, target target.Target) {
		target.EngineConfiguration(t)
		target.Run(t, "openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "known.pem")
		text, err := os.ReadFile(target.File("known.pem"))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		key := parsed.(*rsa.PrivateKey)
		secrets := []secret{
			newSecret("the private exponent", key.D.Bytes()), newSecret("the first prime", key.Primes[0].Bytes()),
			newSecret("the second prime", key.Primes[1].Bytes()), newSecret("PKCS#8", block.Bytes[26:]),
		}
		// The search works: the file itself has them.
		if !secrets[0].in(block.Bytes) || !secrets[1].in(block.Bytes) {
			t.Fatal("the search does not find the key in its own file")
		}
		target.Daemon.CLI(t, "key", "import", target.File("known.pem"), "--token", target.Token, "--label", "known", "--id", "01")
		target.Run(t, "openssl", "req", "-new", "-x509", "-sha256", "-days", "2", "-subj", "/CN=localhost", "-engine", "pkcs11", "-keyform", "engine",
			"-key", target.URI("known"), "-out", "known.crt")
		// Errors of all kinds on the way: they must not quote what they were given.
		var errors bytes.Buffer
		for _, arguments := range [][]string{
			{"--sign", "--id", "01", "--mechanism", "RSA-X-509", "--input-file", "known.pem"},
			{"--decrypt", "--id", "01", "--mechanism", "RSA-PKCS", "--input-file", "known.crt"},
			{"--write-object", "known.crt", "--type", "privkey", "--id", "02"},
		} {
			out, stderr, err := target.Try("pkcs11-tool", append([]string{"--module", target.Module, "--token-label", target.Token, "--login", "--pin", target.PIN}, arguments...)...)
			if err == nil {
				t.Errorf("%v succeeds", arguments)
			}
			errors.WriteString(out + stderr)
		}
		core := dump(t, target)
		for _, secret := range secrets {
			if secret.in(core) {
				t.Errorf("%s is in the core dump of the module's host", secret.name)
			}
			if secret.in(errors.Bytes()) {
				t.Errorf("%s is in an error text", secret.name)
			}
		}
		searched := 0
		err = filepath.WalkDir(target.Daemon.Dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			searched++
			for _, secret := range secrets {
				if secret.in(content) {
					t.Errorf("%s is in %s", secret.name, path)
				}
			}
			for _, pin := range []string{target.PIN, target.SOPIN} {
				if bytes.Contains(content, []byte(pin)) {
					t.Errorf("a PIN is in %s", path)
				}
			}
			return nil
		})
		if err != nil || searched < 3 {
			t.Errorf("searched %d files of the daemon: %v", searched, err)
		}
	})
}

// dump lets a server sign with the key through the module and returns a core dump of it.
func dump(t *testing.T, target target.Target) []byte {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	server := target.Command("openssl", "s_server", "-accept", address, "-cert", "known.crt", "-quiet", "-engine", "pkcs11", "-keyform", "engine", "-key", target.URI("known"))
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { server.Process.Kill(); server.Wait() }()
	shaken := false
	for range 200 {
		if connection, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}); err == nil {
			connection.Close()
			shaken = true
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !shaken {
		t.Fatal("no handshake with the known key")
	}
	target.Run(t, "gcore", "-o", target.File("core"), strconv.Itoa(server.Process.Pid))
	core, err := os.ReadFile(target.File("core." + strconv.Itoa(server.Process.Pid)))
	if err != nil || len(core) < 1<<20 {
		t.Fatalf("core dump of %d bytes: %v", len(core), err)
	}
	certificate, err := os.ReadFile(target.File("known.crt"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(certificate)
	if parsed, err := x509.ParseCertificate(block.Bytes); err != nil || !newSecret("modulus", parsed.PublicKey.(*rsa.PublicKey).N.Bytes()).in(core) {
		t.Errorf("the dump does not even hold the modulus: %v", err)
	}
	return core
}
