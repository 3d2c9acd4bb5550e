package matrix

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

// declaration is what a provider says that it can do, as `anyhsm provider list --json` prints it.
type declaration struct {
	Name       string
	Healthy    bool
	Detail     string
	Curves     []string
	Mechanisms []struct {
		Type    string
		MinSize uint64 `json:"min_key_size"`
		MaxSize uint64 `json:"max_key_size"`
		Flags   uint64
	}
}

func declarations(t *testing.T, daemon *daemontest.Daemon) map[string]declaration {
	t.Helper()
	var list []declaration
	if err := json.Unmarshal([]byte(daemon.CLI(t, "provider", "list", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	byName := map[string]declaration{}
	for _, d := range list {
		if !d.Healthy {
			t.Fatalf("provider %s: %s", d.Name, d.Detail)
		}
		byName[d.Name] = d
	}
	return byName
}

// flagNames are the uses of a mechanism and the words for them.
var flagNames = map[cryptoki.Flags]string{
	cryptoki.CKF_GENERATE: "generate keys", cryptoki.CKF_GENERATE_KEY_PAIR: "generate pairs", cryptoki.CKF_SIGN: "sign",
	cryptoki.CKF_DECRYPT: "decrypt", cryptoki.CKF_ENCRYPT: "encrypt",
}

// lacks tells why a provider does not do something, in its own words; empty if it says that it does.
func (d declaration) lacks(mechanism cryptoki.MechanismType, flag cryptoki.Flags, size uint64) string {
	for _, m := range d.Mechanisms {
		if m.Type != mechanism.String() {
			continue
		}
		switch {
		case cryptoki.Flags(m.Flags)&flag != flag:
			return fmt.Sprintf("the provider's %v does not %s", mechanism, flagNames[flag])
		case size > 0 && (size < m.MinSize || size > m.MaxSize):
			return fmt.Sprintf("the provider's %v takes %d to %d", mechanism, m.MinSize, m.MaxSize)
		}
		return ""
	}
	return fmt.Sprintf("the provider has no %v", mechanism)
}

// lacksKind tells why a provider makes no key of a kind.
func (d declaration) lacksKind(k kind) string {
	if why := d.lacks(k.makes, k.flag(), k.size); why != "" {
		return why
	}
	if k.curve != "" && !slices.Contains(d.Curves, k.curve) {
		return "the provider has no curve " + k.curve
	}
	return ""
}

// key is a key that was made, and what it says of itself.
type key struct {
	kind
	usage   []string
	allowed []cryptoki.MechanismType
	// public is the public key, as PEM; empty for a secret key.
	public string
}

// describe asks the daemon for a key.
func (p *place) describe(t *testing.T, k kind) *key {
	t.Helper()
	var objects []struct {
		Class      string
		Usage      []string
		PublicKey  string `json:"public_key"`
		Attributes []struct{ Type, Value string }
	}
	if err := json.Unmarshal([]byte(p.Daemon.CLI(t, "key", "show", k.label, "--token", p.Token, "--json")), &objects); err != nil {
		t.Fatal(err)
	}
	made := &key{kind: k}
	for _, o := range objects {
		if o.PublicKey != "" {
			made.public = o.PublicKey
		}
		if o.Class != "CKO_PRIVATE_KEY" && o.Class != "CKO_SECRET_KEY" {
			continue
		}
		made.usage = o.Usage
		for _, a := range o.Attributes {
			if a.Type != "CKA_ALLOWED_MECHANISMS" {
				continue
			}
			value, err := hex.DecodeString(a.Value)
			if err != nil {
				t.Fatal(err)
			}
			for ; len(value) >= 8; value = value[8:] {
				made.allowed = append(made.allowed, cryptoki.MechanismType(binary.LittleEndian.Uint64(value)))
			}
		}
	}
	return made
}

// lacks tells why a use of a key cannot be: what the provider says, then what the key says.
func (p *place) lacks(k *key, u use) string {
	if why := p.declared.lacks(u.mechanism, u.flag, 0); why != "" {
		return why
	}
	word := flagNames[u.flag]
	if !slices.Contains(k.usage, word) {
		return fmt.Sprintf("the key has one use, and is not to %s", word)
	}
	if len(k.allowed) > 0 && !slices.Contains(k.allowed, u.mechanism) {
		return fmt.Sprintf("the key has one algorithm: its CKA_ALLOWED_MECHANISMS has no %v", u.mechanism)
	}
	return ""
}
