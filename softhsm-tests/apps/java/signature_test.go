package java

import (
	"bytes"
	"strings"
	"testing"
)

// signatures lets Java sign with each key in each way and OpenSSL verify with the public key.
func signatures(t *testing.T, k token) {
	message := k.Write(t, "message", bytes.Repeat([]byte("AnyHSM "), 50_000))
	k.plantKey(t)
	count := map[string]int{}
	for _, line := range lines(k.java(t, "SignData.java", message)) {
		words := strings.Fields(line)
		if len(words) != 4 {
			t.Fatalf("SignData printed %q", line)
		}
		alias, hash, salt, signature := words[0], words[1], words[2], words[3]
		verify := []string{"dgst", "-" + strings.ToLower(hash), "-verify", k.File(alias + ".pub"), "-signature", signature}
		if salt != "-" {
			verify = append(verify, "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:"+salt)
		}
		if out := k.openssl(t, append(verify, message)...); !strings.Contains(out, "Verified OK") {
			t.Errorf("%s: %s", line, out)
		}
		count[alias]++
	}
	for alias, want := range map[string]int{"rsa": 8, "p256": 5, "p384": 5, "planted": 8} {
		if count[alias] != want {
			t.Errorf("%d signatures with %s, not %d", count[alias], alias, want)
		}
	}
}

// plantKey puts a key and its certificate into the token as other tools do: Java must find them by the equal CKA_ID.
func (k token) plantKey(t *testing.T) {
	t.Helper()
	k.openssl(t, "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-keyout", k.File("planted.key"), "-out", k.File("planted.pem"),
		"-subj", "/CN=planted", "-days", "30")
	k.openssl(t, "pkey", "-in", k.File("planted.key"), "-outform", "DER", "-out", k.File("planted.key.der"))
	k.openssl(t, "x509", "-in", k.File("planted.pem"), "-outform", "DER", "-out", k.File("planted.der"))
	k.Write(t, "planted.pub", []byte(k.openssl(t, "pkey", "-in", k.File("planted.key"), "-pubout")))
	tool := []string{"--module", k.Module, "--token-label", k.Token, "--login", "--pin", k.PIN, "--id", "0bad", "--label", "planted"}
	k.Run(t, "pkcs11-tool", append(tool, "--write-object", k.File("planted.key.der"), "--type", "privkey", "--usage-sign", "--usage-decrypt")...)
	k.Run(t, "pkcs11-tool", append(tool, "--write-object", k.File("planted.der"), "--type", "cert")...)
}

// decryption lets the token decrypt, through Java, what OpenSSL encrypted for its key.
func decryption(t *testing.T, k token) {
	secret := k.Write(t, "secret", []byte("a session key of 32 bytes or so."))
	k.openssl(t, "pkeyutl", "-encrypt", "-pubin", "-inkey", k.File("rsa.pub"), "-in", secret, "-out", k.File("encrypted"))
	if out := k.java(t, "Decrypt.java", "rsa", k.File("encrypted")); out != "a session key of 32 bytes or so." {
		t.Errorf("decrypted: %q", out)
	}
}
