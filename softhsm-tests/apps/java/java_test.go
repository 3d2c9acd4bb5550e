// Package java runs Java's SunPKCS11 against SoftHSM itself and against our module with each provider. What Java made in
// the token is checked by OpenSSL, curl or Go, which know no token.
package java

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// token is a target with the provider configuration of docs/applications/java.md.
type token struct {
	target.Target
	configuration string
}

func open(t *testing.T, target_ target.Target) token {
	t.Helper()
	text := target.Replace(t, target.Page(t, "java.md", "properties"), map[string]string{
		"/usr/lib/anyhsm/anyhsm-pkcs11.so": target_.Module, "slot = 1": "slot = " + target_.Slot(t),
	})
	return token{target_, target_.Write(t, "java.cfg", []byte(text))}
}

// java runs one of the programs beside this file.
func (k token) java(t *testing.T, program string, arguments ...string) string {
	t.Helper()
	return k.Run(t, "java", append([]string{source(program), k.configuration, k.PIN}, arguments...)...)
}

func source(program string) string {
	return filepath.Join(target.Root(), "softhsm-tests", "apps", "java", program)
}

// keytoolWords are the words by which keytool opens the token.
func (k token) keytoolWords(arguments ...string) []string {
	return append([]string{
		"-keystore", "NONE", "-storetype", "PKCS11", "-providerClass", "sun.security.pkcs11.SunPKCS11",
		"-providerArg", k.configuration, "-storepass", k.PIN,
	}, arguments...)
}

func (k token) keytool(t *testing.T, arguments ...string) string {
	t.Helper()
	return k.Run(t, "keytool", k.keytoolWords(arguments...)...)
}

// openssl runs OpenSSL as a party that knows no token.
func (k token) openssl(t *testing.T, arguments ...string) string {
	t.Helper()
	k.Env = append(append([]string{}, k.Env...), "OPENSSL_CONF=/dev/null")
	return k.Run(t, "openssl", arguments...)
}

var algorithms = map[string][]string{
	"rsa":  {"-keyalg", "RSA", "-keysize", "2048"},
	"p256": {"-keyalg", "EC", "-groupname", "secp256r1"},
	"p384": {"-keyalg", "EC", "-groupname", "secp384r1"},
}

// generate makes a key pair with a self-signed certificate and leaves the certificate as ALIAS.pem, the public key as
// ALIAS.pub.
func (k token) generate(t *testing.T, alias string) {
	t.Helper()
	k.keytool(t, append([]string{
		"-genkeypair", "-alias", alias, "-dname", "CN=" + alias, "-ext", "SAN=dns:localhost", "-validity", "30",
	}, algorithms[alias]...)...)
	k.keytool(t, "-exportcert", "-rfc", "-alias", alias, "-file", k.File(alias+".pem"))
	k.openssl(t, "verify", "-CAfile", k.File(alias+".pem"), k.File(alias+".pem"))
	k.Write(t, alias+".pub", []byte(k.openssl(t, "x509", "-in", k.File(alias+".pem"), "-noout", "-pubkey")))
}

// lines splits what a program printed.
func lines(out string) []string { return strings.Split(strings.TrimSpace(out), "\n") }

func TestJava(t *testing.T) {
	target.Each(t, func(t *testing.T, target target.Target) {
		k := open(t, target)
		t.Run("keytool", func(t *testing.T) { keytool(t, k) })
		for alias := range algorithms {
			k.generate(t, alias)
		}
		t.Run("signatures", func(t *testing.T) { signatures(t, k) })
		t.Run("secret keys", func(t *testing.T) { secretKeys(t, k) })
		t.Run("decryption", func(t *testing.T) { decryption(t, k) })
		t.Run("TLS server, provider last", func(t *testing.T) { tlsServer(t, k, "last") })
		if target.Name == "softhsm" {
			// The rest is more than SoftHSM can: it saves no state of a digest, so that Java's clones of digests fail, and
			// with them TLS when the provider is first; it wants CKA_DERIVE, which Java does not set, for ECDH; it refuses
			// MAC keys shorter than the hash, and signatures whose leading zeros Java has cut.
			return
		}
		t.Run("TLS server, provider first", func(t *testing.T) { tlsServer(t, k, "first") })
		for _, place := range []string{"last", "first"} {
			t.Run("everything, provider "+place, func(t *testing.T) { everything(t, k, place) })
		}
	})
}

// most is how many calls to the daemon Everything.java may need: it signs about 280 times and makes about 30 keys. Its
// 600 verifications, its digests and its MACs stay in the process, and the random numbers that its 16 threads take from
// the token with the provider first come many at a time; any kind of these on the wire would be over it.
const most = 450

func everything(t *testing.T, k token, place string) {
	before, known := k.Daemon.RPCs(), k.Daemon.Calls()
	if out := k.java(t, "Everything.java", place); out != "done\n" {
		t.Error(out)
	}
	rpcs := k.Daemon.RPCs() - before
	t.Logf("%d calls to the daemon", rpcs)
	if rpcs > most {
		t.Errorf("%d calls to the daemon, at most %d are needed; since the daemon's start %v, before %v", rpcs, most, k.Daemon.Calls(), known)
	}
}
