package keyservice_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// placeOf returns the provider of rank 0 of a token object.
func (r *routed) placeOf(key keyservice.Object) string {
	r.t.Helper()
	o, err := r.store.Object(r.ctx, r.token, key.ID)
	ok(r.t, err)
	return o.Provider
}

func (r *routed) rules(rules ...keyservice.Rule) {
	r.t.Helper()
	ok(r.t, r.SetRules(r.ctx, r.public(r.admin, "routed"), rules))
}

var rsaGen = cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN}

func rsaPublic(bits uint64) cryptoki.Attributes {
	return cryptoki.Attributes{tokenOn, cryptoki.Ulong(cryptoki.CKA_MODULUS_BITS, bits)}
}

// The first rule that matches decides where a key goes: by its kind, size and label, or by what its template asks for.
func TestRules(t *testing.T) {
	r := newRouted(t)
	r.rules(
		keyservice.Rule{Provider: "two", Keys: []string{"rsa"}, MaxBits: 2048},
		keyservice.Rule{Provider: "three", Label: "web-*"},
		keyservice.Rule{Provider: "two", Keys: []string{"aes", "ec"}, MinBits: 256, OnRequest: true},
	)
	label := func(l string) cryptoki.Attribute { return cryptoki.String(cryptoki.CKA_LABEL, l) }
	asking := func(p string) cryptoki.Attribute { return cryptoki.String(cryptoki.CKA_ANYHSM_PROVIDER, p) }
	for _, c := range []struct {
		what string
		make func() (keyservice.Object, error)
		want string
	}{
		{"a small RSA key", func() (keyservice.Object, error) {
			_, key, _, err := r.GenerateKeyPair(t.Context(), again(r.call), rsaGen, rsaPublic(2048), onToken())
			return key, err
		}, "two"},
		{"a large RSA key", func() (keyservice.Object, error) {
			_, key, _, err := r.GenerateKeyPair(t.Context(), again(r.call), rsaGen, rsaPublic(3072), onToken())
			return key, err
		}, "one"},
		{"a label", func() (keyservice.Object, error) {
			_, key, _, err := r.GenerateKeyPair(t.Context(), again(r.call), ecGen, p256(true), append(onToken(), label("web-7")))
			return key, err
		}, "three"},
		{"another label", func() (keyservice.Object, error) {
			key, _, err := r.GenerateKey(t.Context(), again(r.call), aesGen, aesTemplate(true, label("my web-7")))
			return key, err
		}, "one"},
		{"on request", func() (keyservice.Object, error) {
			key, _, err := r.GenerateKey(t.Context(), again(r.call), aesGen, aesTemplate(true, asking("two")))
			return key, err
		}, "two"},
		{"the token's own on request", func() (keyservice.Object, error) {
			_, key, _, err := r.GenerateKeyPair(t.Context(), again(r.call), rsaGen, rsaPublic(2048), append(onToken(), asking("one")))
			return key, err
		}, "one"},
		{"an imported key", func() (keyservice.Object, error) {
			key, _, err := r.CreateObject(t.Context(), again(r.call), cryptoki.Attributes{
				tokenOn, cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_AES),
				cryptoki.Bytes(cryptoki.CKA_VALUE, make([]byte, 32)), asking("two"),
			})
			return key, err
		}, "two"},
		{"a session key", func() (keyservice.Object, error) {
			key, _, err := r.GenerateKey(t.Context(), again(r.call), aesGen, aesTemplate(false, label("web-7")))
			return key, err
		}, ""},
	} {
		key, err := c.make()
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if c.want == "" {
			if key.ID != 0 || len(key.Sealed) == 0 {
				t.Errorf("%s: is in the store", c.what)
			}
		} else if got := r.placeOf(key); got != c.want {
			t.Errorf("%s: in %s, want %s", c.what, got, c.want)
		}
	}
	// What the rules do not allow cannot be asked for, nor a session key in a provider.
	_, _, err := r.GenerateKey(t.Context(), again(r.call), aesGen, aesTemplate(true, asking("three")))
	refused(t, err, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID)
	_, _, err = r.GenerateKey(t.Context(), again(r.call), aesGen, aesTemplate(false, asking("two")))
	refused(t, err, cryptoki.CKR_TEMPLATE_INCONSISTENT)
	if event := r.lastEvent("token.rules"); event.Outcome != "OK" || !strings.Contains(event.Detail, `"web-*"`) {
		t.Errorf("%+v", event)
	}
	r.rules()
	key, _, err := r.GenerateKey(t.Context(), again(r.call), aesGen, aesTemplate(true, label("web-7")))
	if ok(t, err); r.placeOf(key) != "one" {
		t.Error("rules that were taken away still hold")
	}
}

// CKA_ANYHSM_PROVIDER tells where the key is, also after it has moved, and is not changed by the application.
func TestProviderAttribute(t *testing.T) {
	r := newRouted(t)
	r.rules(keyservice.Rule{Provider: "two", OnRequest: true})
	key, _, err := r.GenerateKey(t.Context(), again(r.call), aesGen, aesTemplate(true, cryptoki.String(cryptoki.CKA_ANYHSM_PROVIDER, "two")))
	ok(t, err)
	told := func() string {
		listing, _, err := r.ListObjects(t.Context(), again(r.call), 0, "")
		ok(t, err)
		i := slices.IndexFunc(listing.Objects, func(o keyservice.Object) bool { return o.ID == key.ID })
		return string(listing.Objects[i].Attributes.Bytes(cryptoki.CKA_ANYHSM_PROVIDER))
	}
	if first := string(key.Attributes.Bytes(cryptoki.CKA_ANYHSM_PROVIDER)); first != "two" || told() != "two" {
		t.Errorf("told %q, then %q", first, told())
	}
	_, _, err = r.SetAttributes(t.Context(), again(r.call), ref(key), cryptoki.Attributes{cryptoki.String(cryptoki.CKA_ANYHSM_PROVIDER, "one")})
	refused(t, err, cryptoki.CKR_ATTRIBUTE_READ_ONLY)
	r.places(key, "", "three")
	if told() != "three" {
		t.Errorf("after a move: %q", told())
	}
	plain, _, err := r.GenerateKey(t.Context(), again(r.call), aesGen, aesTemplate(true))
	if ok(t, err); plain.Attributes.Has(cryptoki.CKA_ANYHSM_PROVIDER) {
		t.Error("a key tells its provider to who did not ask")
	}
}

func TestRulesAreChecked(t *testing.T) {
	r := newRouted(t)
	for what, rule := range map[string]keyservice.Rule{
		"no such provider": {Provider: "nowhere"}, "no provider": {}, "no such kind": {Provider: "one", Keys: []string{"dsa"}},
		"no size": {Provider: "one", MinBits: 2, MaxBits: 1}, "too large": {Provider: "one", Keys: []string{"rsa"}, MinBits: 1 << 20},
		"aes in bits": {Provider: "one", Keys: []string{"aes"}, MinBits: 257},
	} {
		if err := r.SetRules(t.Context(), r.public(r.admin, "routed"), []keyservice.Rule{{Provider: "two"}, rule}); !fault.Is(err, fault.InvalidInput) || !strings.Contains(err.Error(), "rule 2") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := r.SetRules(t.Context(), r.public(r.call.Caller, r.token), nil); !fault.Is(err, fault.NotGranted) {
		t.Errorf("an application sets rules: %v", err)
	}
	rules, otherwise, err := r.Rules(t.Context(), r.public(r.admin, "routed"))
	if err != nil || len(rules) > 0 || otherwise != "one" {
		t.Errorf("%v, %q, %v", rules, otherwise, err)
	}
}

// An application sees the mechanisms of all providers that its keys can be in.
func TestMechanismsOfAllProviders(t *testing.T) {
	f := newFixture(t)
	token := f.token("small", "vault")
	app := f.application("app", token, everything...)
	has := func(m cryptoki.MechanismType) bool {
		slots, err := f.ListSlots(t.Context(), keyservice.Call{Caller: app}, "")
		ok(t, err)
		return slices.ContainsFunc(slots.Tables[slots.Slots[0].Table], func(row keyservice.Mechanism) bool { return row.Type == m })
	}
	if !has(cryptoki.CKM_ECDSA) || has(rsaGen.Type) {
		t.Error("not the vault's mechanisms")
	}
	ok(t, f.SetRules(t.Context(), f.public(f.admin, "small"), []keyservice.Rule{{Provider: "software", Keys: []string{"rsa"}}}))
	if !has(cryptoki.CKM_ECDSA) || !has(rsaGen.Type) {
		t.Error("not the mechanisms of both")
	}
}
