package target

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// GenerateKeyPair makes a key pair with pkcs11-tool; kind is rsa:2048, EC:prime256v1…, id is hexadecimal.
func (target Target) GenerateKeyPair(t testing.TB, kind, label, id string) {
	t.Helper()
	target.Run(t, "pkcs11-tool", "--module", target.Module, "--token-label", target.Token, "--login", "--pin", target.PIN,
		"--keypairgen", "--key-type", kind, "--label", label, "--id", id, "--usage-sign", "--usage-decrypt")
}

// URI is the private key's PKCS#11 URI with the PIN in it.
func (target Target) URI(label string) string {
	return fmt.Sprintf("pkcs11:token=%s;object=%s;type=private?pin-value=%s", url.PathEscape(target.Token), url.PathEscape(label), target.PIN)
}

// EngineConfiguration writes the openssl.cnf of docs/applications/openssl.md for the target's module, sets OPENSSL_CONF
// for all later commands of the target, and returns the file's path.
func (target *Target) EngineConfiguration(t testing.TB) string {
	t.Helper()
	text := Replace(t, Page(t, "openssl.md", "ini"), map[string]string{"/usr/lib/anyhsm/anyhsm-pkcs11.so": target.Module})
	path := target.Write(t, "openssl.cnf", []byte(text))
	target.Env = append(target.Env, "OPENSSL_CONF="+path)
	return path
}

// slotLine is pkcs11-tool's line that names a slot: Slot 0 (0x1): …
var slotLine = regexp.MustCompile(`^Slot \d+ \((0x[0-9a-f]+)\)`)

// Slot returns the id of the slot that holds the target's token, in decimal.
func (target Target) Slot(t testing.TB) string {
	t.Helper()
	var slot string
	out := target.Run(t, "pkcs11-tool", "--module", target.Module, "--list-slots")
	for _, line := range strings.Split(out, "\n") {
		if match := slotLine.FindStringSubmatch(line); match != nil {
			slot = match[1]
		}
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "token label" && strings.TrimSpace(value) == target.Token {
			number, err := strconv.ParseUint(slot, 0, 64)
			if err != nil {
				t.Fatal(err)
			}
			return strconv.FormatUint(number, 10)
		}
	}
	t.Fatalf("no slot has the token %s:\n%s", target.Token, out)
	return ""
}
