package gcpkms

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/anyhsm/anyhsm/internal/fault"
)

func TestVersionOf(t *testing.T) {
	const ring = "projects/example.com:p-1/locations/global/keyRings/R_1"
	const good = ring + "/cryptoKeys/k/cryptoKeyVersions/12"
	if name, err := versionOf([]byte(good)); err != nil || name != good || keyOf(name) != ring+"/cryptoKeys/k" || location(ring) != "projects/example.com:p-1/locations/global" {
		t.Error(name, err)
	}
	for _, wrong := range []string{"", ring, ring + "/cryptoKeys/k", good + "\n", good + "/", "x" + good, strings.Replace(good, "/12", "/0", 1), strings.Replace(good, "/k/", "/../", 1)} {
		if _, err := versionOf([]byte(wrong)); !fault.Is(err, fault.KeyHandleInvalid) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

func TestCredentialsKind(t *testing.T) {
	for file, good := range map[string]bool{
		`{"type": "service_account", "private_key": "SECRET"}`: true, `{"type": "external_account"}`: true, `{"type": "authorized_user"}`: true,
		`{"type": "SECRET"}`: false, `{}`: false, `SECRET`: false, ``: false,
	} {
		if _, err := credentialsKind([]byte(file)); (err == nil) != good {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestComplete(t *testing.T) {
	ring := "projects/p/locations/l/keyRings/r"
	for _, c := range []Config{
		{},
		{KeyRing: ring + "/"},
		{KeyRing: ring, ProtectionLevel: "EXTERNAL"},
		{KeyRing: ring, ProtectionLevel: "PROTECTION_LEVEL_UNSPECIFIED"},
		{KeyRing: ring, RSASigning: "both"},
		{KeyRing: ring, DestroyAfter: 1},
		{KeyRing: ring, Endpoint: "http://kms.example.org:80"},
		{KeyRing: ring, Endpoint: "http://127.0.0.1"},
		{KeyRing: ring, Credentials: []byte("{}")},
	} {
		if p, err := New(t.Context(), c); !fault.Is(err, fault.InvalidInput) {
			t.Errorf("%+v: %v, %v", c, p, err)
		}
	}
}

// FuzzLabels: what the service takes as labels gives CKA_LABEL back, as far as there is room.
func FuzzLabels(f *testing.F) {
	for _, label := range []string{"", "web", "Web server", "x--web", "Köln", strings.Repeat("ü", 300), "a\x00b", strings.Repeat("a", 64)} {
		f.Add(label, "0123456789abcdef")
	}
	f.Fuzz(func(t *testing.T, label, token string) {
		all := labels("00112233445566778899aabbccddeeff", token, label)
		for name, value := range all {
			if len(name) > 63 || value != "" && !plainLabel.MatchString(value) {
				t.Errorf("the label %q: %q is nothing for the service", name, value)
			}
		}
		got := labelOf("projects/p/locations/l/keyRings/r/cryptoKeys/k", all)
		switch {
		case label == "":
			if got != "k" {
				t.Errorf("no label became %q", got)
			}
		case !utf8.ValidString(label):
			if !utf8.ValidString(got) {
				t.Errorf("%q became %q", label, got)
			}
		case len(label) <= labelParts*60*5/8:
			if got != label {
				t.Errorf("%q became %q", label, got)
			}
		case !strings.HasPrefix(label, got):
			t.Errorf("%q became %q", label, got)
		}
	})
}

// FuzzUnpad: only the padding of PKCS#7 comes off.
func FuzzUnpad(f *testing.F) {
	f.Add([]byte("0123456789abcde\x01"))
	f.Add([]byte("\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10\x10"))
	f.Add([]byte("0123456789abcd\x03\x03"))
	f.Add(make([]byte, 32))
	f.Fuzz(func(t *testing.T, plaintext []byte) {
		if plaintext = plaintext[:len(plaintext)/16*16]; len(plaintext) == 0 {
			return
		}
		n := int(plaintext[len(plaintext)-1])
		good := n >= 1 && n <= 16 && strings.HasSuffix(string(plaintext), strings.Repeat(string(rune(n)), n))
		got, err := unpad(plaintext)
		if good != (err == nil) || good && len(got) != len(plaintext)-n {
			t.Errorf("%x: %x, %v", plaintext, got, err)
		}
	})
}
