package vault

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// FuzzAnswer: whatever a server sends, it is read without harm, and no key comes out of it that is none.
func FuzzAnswer(f *testing.F) {
	f.Add(200, "", `{"data":{"type":"ed25519","latest_version":1,"min_decryption_version":1,"keys":{"1":{"name":"ed25519","public_key":"eDIHUhYcZC1LDu5yuS8sIqnibMTXMuFwQP5QcX6ffZs="}}}}`)
	f.Add(200, "", `{"data":{"type":"hmac","key_size":48,"latest_version":2,"min_available_version":1}}`)
	f.Add(429, "30", `{"errors":["rate limit quota exceeded"]}`)
	f.Add(500, "Wed, 21 Oct 2015 07:28:00 GMT", `{"errors":["1 error occurred:\n\t* requested version for signing is higher than the latest key version\n\n"]}`)
	f.Add(404, "-1", `{"errors":[]}`)
	f.Add(204, "", "")
	f.Fuzz(func(t *testing.T, status int, after, text string) {
		a, err := readAnswer(status, after, []byte(text))
		if err != nil {
			p := &Provider{config: Config{Address: "https://vault.example.org:8200", Mount: "transit"}}
			r := request{action: actionSign, key: "name", method: "POST", path: "transit/sign/name"}
			if explained := p.explain(t.Context(), r, err); explained == nil || len(explained.Error()) > 2000 {
				t.Errorf("%d %q: %v", status, text, explained)
			}
			return
		}
		var found policy
		if decode(a.Data, &found) != nil {
			return
		}
		m, err := understand("name", found.Latest, found)
		if err != nil {
			return
		}
		if m.spec.private() == (m.verifier == nil) || m.spec.private() && len(m.public) == 0 {
			t.Errorf("%s became a key without its public half", text)
		}
		if length := m.spec.bytes; !m.spec.private() && length == 0 {
			t.Errorf("%s became a secret key without a length", text)
		}
	})
}

// FuzzUnframe: what is taken is the one form of what it holds.
func FuzzUnframe(f *testing.F) {
	f.Add("vault:v1:MAYCAQECAQE=", 1)
	f.Add("vault:v12:AAAA", 1)
	f.Add("vault:v1:", 1)
	f.Fuzz(func(t *testing.T, text string, version int) {
		made, err := unframe(text, version)
		if (err == nil) == (len(made) == 0) || err == nil && !strings.HasPrefix(text, frame(version)) {
			t.Errorf("%q: %x, %v", text, made, err)
		}
	})
}

// FuzzReference: a reference that is taken is written the same again.
func FuzzReference(f *testing.F) {
	for _, text := range []string{"name/1", "anyhsm-0/12", "a.b-c/3", "a/0", "a/01", "../sys/1", "a/1/2", "name", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parse([]byte(text))
		if err == nil && (r.String() != text || strings.Contains(r.name, "/") || strings.HasPrefix(r.name, ".")) {
			t.Errorf("%q became %v", text, r)
		}
	})
}

// FuzzSecret: what an export holds is a key of the kind that was asked for, or nothing.
func FuzzSecret(f *testing.F) {
	f.Add("eDIHUhYcZC1LDu5yuS8sIqnibMTXMuFwQP5QcX6ffZs=", uint8(8))
	f.Add("-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----\n", uint8(3))
	f.Add("-----BEGIN RSA PRIVATE KEY-----\nMAA=\n-----END RSA PRIVATE KEY-----\n", uint8(0))
	f.Fuzz(func(t *testing.T, text string, n uint8) {
		kind := kinds[int(n)%len(kinds)]
		if kind.name == typeHMAC {
			kind.bytes = 32
		}
		secret, err := readSecret(kind, text)
		if err == nil && !secret.Has(cryptoki.CKA_VALUE) && !secret.Has(cryptoki.CKA_PRIVATE_EXPONENT) {
			t.Errorf("%q became nothing", text)
		}
	})
}

func TestNames(t *testing.T) {
	const uid = "0123456789abcdef0123456789abcdef"
	for label, want := range map[string]string{
		"":                       "anyhsm-" + uid,
		"web":                    "anyhsm-" + uid + "-web",
		"Schlüssel für nginx":    "anyhsm-" + uid + "-Schl_ssel_f_r_nginx",
		"../../sys":              "anyhsm-" + uid + "-sys",
		"---":                    "anyhsm-" + uid,
		strings.Repeat("x", 200): "anyhsm-" + uid + "-" + strings.Repeat("x", maxLabel),
	} {
		name := nameOf(uid, cryptoki.Attributes{cryptoki.String(cryptoki.CKA_LABEL, label)})
		if name != want || !keyName.MatchString(name) {
			t.Errorf("%q: %s", label, name)
		}
	}
	for name, want := range map[string]string{"anyhsm-" + uid + "-web": "web", "anyhsm-" + uid: "anyhsm-" + uid, "shop": "shop"} {
		if got := labelOf(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestUnderstand refuses what is no usable version of a key.
func TestUnderstand(t *testing.T) {
	rows := map[string]json.RawMessage{"1": json.RawMessage(`{"public_key":"eDIHUhYcZC1LDu5yuS8sIqnibMTXMuFwQP5QcX6ffZs="}`), "2": json.RawMessage(`17`)}
	good := policy{Type: "ed25519", Latest: 2, Decrypts: 1, Keys: rows}
	if _, err := understand("name", 1, good); err != nil {
		t.Error(err)
	}
	for name, tc := range map[string]struct {
		version int
		change  func(*policy)
		kind    fault.Kind
	}{
		"no public key":    {2, func(*policy) {}, fault.FunctionFailed},
		"another's":        {1, func(p *policy) { p.Type = "rsa-2048" }, fault.FunctionFailed},
		"an unknown type":  {1, func(p *policy) { p.Type = "ml-dsa" }, fault.KeyTypeInconsistent},
		"derived":          {1, func(p *policy) { p.Derived = true }, fault.KeyTypeInconsistent},
		"trimmed":          {1, func(p *policy) { p.Oldest = 2 }, fault.KeyHandleInvalid},
		"archived":         {1, func(p *policy) { p.Decrypts = 2 }, fault.KeyHandleInvalid},
		"not yet made":     {3, func(*policy) {}, fault.KeyHandleInvalid},
		"version nothing":  {0, func(*policy) {}, fault.KeyHandleInvalid},
		"a strange number": {-1, func(*policy) {}, fault.KeyHandleInvalid},
	} {
		p := good
		tc.change(&p)
		if _, err := understand("name", tc.version, p); !fault.Is(err, tc.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFits holds a key to being the recorded one, in whichever form the application has named its curve.
func TestFits(t *testing.T) {
	rows := map[string]json.RawMessage{"1": json.RawMessage(`{"public_key":"eDIHUhYcZC1LDu5yuS8sIqnibMTXMuFwQP5QcX6ffZs="}`)}
	m, err := understand("name", 1, policy{Type: "ed25519", Latest: 1, Decrypts: 1, Keys: rows})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		params []byte
		fits   bool
	}{
		"as Vault's":              {m.public.Bytes(cryptoki.CKA_EC_PARAMS), true},
		"by name, as pkcs11-tool": {append([]byte{0x13, 12}, "edwards25519"...), true},
		"another curve":           {[]byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}, false},
		"none that we know":       {append([]byte{0x13, 6}, "nobody"...), false},
	} {
		recorded := cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, tc.params)}
		if err := m.fits(recorded); (err == nil) != tc.fits {
			t.Errorf("%s: %v", name, err)
		}
	}
}
