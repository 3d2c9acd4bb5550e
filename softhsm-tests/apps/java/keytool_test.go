package java

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// keytool goes through the life of a key as keytool's users do: generate, list, request, import the answer, delete. It
// leaves the token as empty as it was.
func keytool(t *testing.T, k token) {
	k.openssl(t, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", k.File("ca.key"), "-out", k.File("ca.pem"), "-subj", "/CN=Test CA",
		"-days", "30")
	for alias := range algorithms {
		k.generate(t, alias)
		k.keytool(t, "-certreq", "-alias", alias, "-file", k.File(alias+".csr"))
		k.openssl(t, "req", "-in", k.File(alias+".csr"), "-verify", "-noout")
		if got := k.openssl(t, "req", "-in", k.File(alias+".csr"), "-noout", "-pubkey"); got != read(t, k, alias+".pub") {
			t.Errorf("%s: the request is for another key", alias)
		}
		k.openssl(t, "x509", "-req", "-in", k.File(alias+".csr"), "-CA", k.File("ca.pem"), "-CAkey", k.File("ca.key"), "-CAcreateserial",
			"-days", "30", "-out", k.File(alias+"-signed.pem"))
		k.Write(t, alias+"-chain.pem", []byte(read(t, k, alias+"-signed.pem")+read(t, k, "ca.pem")))
		k.keytool(t, "-importcert", "-noprompt", "-alias", alias, "-file", k.File(alias+"-chain.pem"))
	}
	listed := k.keytool(t, "-list")
	if !strings.Contains(listed, "contains 3 entries") || strings.Count(listed, "PrivateKeyEntry") != 3 {
		t.Errorf("keytool -list: %s", listed)
	}
	if verbose := k.keytool(t, "-list", "-v"); strings.Count(verbose, "Certificate chain length: 2") != 3 ||
		strings.Count(verbose, "Issuer: CN=Test CA") != 6 {
		t.Errorf("keytool -list -v: %s", verbose)
	}
	entries := k.java(t, "ListKeys.java")
	for alias, kind := range map[string]string{"rsa": "RSA", "p256": "EC", "p384": "EC"} {
		if want := "private " + alias + " " + kind + " 2 CN=" + alias + "\n"; !strings.Contains(entries, want) {
			t.Errorf("%q is missing in:\n%s", want, entries)
		}
	}
	imported(t, k)
	wrong(t, k)
	for alias := range algorithms {
		k.keytool(t, "-delete", "-alias", alias)
	}
	if listed := k.keytool(t, "-list"); !strings.Contains(listed, "contains 0 entries") {
		t.Errorf("after -delete: %s", listed)
	}
	k.empty(t)
}

// imported brings a key with its certificate from a PKCS#12 file into the token, and takes it out again.
func imported(t *testing.T, k token) {
	k.openssl(t, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", k.File("imported.key"),
		"-out", k.File("imported.pem"), "-subj", "/CN=imported", "-days", "30")
	k.openssl(t, "pkcs12", "-export", "-inkey", k.File("imported.key"), "-in", k.File("imported.pem"), "-name", "imported",
		"-passout", "pass:changeit", "-out", k.File("imported.p12"))
	k.Run(t, "keytool", "-importkeystore", "-noprompt", "-srckeystore", k.File("imported.p12"), "-srcstoretype", "PKCS12", "-srcstorepass", "changeit",
		"-destkeystore", "NONE", "-deststoretype", "PKCS11", "-deststorepass", k.PIN,
		"-providerClass", "sun.security.pkcs11.SunPKCS11", "-providerArg", k.configuration)
	k.keytool(t, "-certreq", "-alias", "imported", "-file", k.File("imported.csr"))
	k.openssl(t, "req", "-in", k.File("imported.csr"), "-verify", "-noout")
	want := k.openssl(t, "pkey", "-in", k.File("imported.key"), "-pubout")
	if got := k.openssl(t, "req", "-in", k.File("imported.csr"), "-noout", "-pubkey"); got != want {
		t.Error("the token signs with another key than the imported one")
	}
	k.keytool(t, "-delete", "-alias", "imported")
}

// wrong gives keytool a wrong PIN, once.
func wrong(t *testing.T, k token) {
	words := k.keytoolWords("-list", "-v")
	for i, word := range words {
		if word == k.PIN {
			words[i] = "wrong-pin"
		}
	}
	out, _, err := k.Try("keytool", words...)
	if _, failed := err.(*exec.ExitError); !failed || !strings.Contains(out, "CKR_PIN_INCORRECT") && !strings.Contains(out, "password was incorrect") {
		t.Errorf("a wrong PIN: %v, %s", err, out)
	}
}

// empty holds the token to nothing left behind: no half of a pair, no certificate of a chain.
func (k token) empty(t *testing.T) {
	t.Helper()
	out := k.Run(t, "pkcs11-tool", "--module", k.Module, "--token-label", k.Token, "--login", "--pin", k.PIN, "--list-objects")
	if strings.Contains(out, "Object;") || strings.Contains(out, " Object") {
		t.Errorf("left in the token:\n%s", out)
	}
}

func read(t *testing.T, k token, name string) string {
	t.Helper()
	text, err := os.ReadFile(k.File(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
