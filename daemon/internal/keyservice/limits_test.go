package keyservice_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// The module hears of a provider's limits only as long as no place of the key does without them.
func TestLimitsOfPlaces(t *testing.T) {
	r := newRoutedWith(t, func(c *provider.Capabilities) {
		c.Mechanisms = slices.Clone(c.Mechanisms) // all three have one slice
		for i := range c.Mechanisms {
			if c.Mechanisms[i].Type == cryptoki.CKM_RSA_PKCS_PSS {
				c.Mechanisms[i].Hashes, c.Mechanisms[i].SaltIsHash = []cryptoki.MechanismType{cryptoki.CKM_SHA256}, true
			}
		}
	})
	_, key, _, err := r.GenerateKeyPair(r.ctx, again(r.call), cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN},
		cryptoki.Attributes{tokenOn, cryptoki.Ulong(cryptoki.CKA_MODULUS_BITS, uint64(2048))}, onToken())
	ok(t, err)
	limits := func(o keyservice.Object) int {
		t.Helper()
		listing, _, err := r.ListObjects(r.ctx, again(r.call), 0, "")
		ok(t, err)
		for _, listed := range listing.Objects {
			if listed.ID == o.ID {
				return len(listed.Limits)
			}
		}
		t.Fatal("the key is not listed")
		return 0
	}
	if l := key.Limits; len(l) != 1 || l[0].Type != cryptoki.CKM_RSA_PKCS_PSS || !l[0].SaltIsHash || len(l[0].Hashes) != 1 {
		t.Errorf("a new key: %+v", l)
	}
	for places, want := range map[string]int{"one": 1, "one two": 0, "two": 0} {
		names := map[string][]string{"one": {"one"}, "one two": {"one", "two"}, "two": {"two"}}[places]
		r.places(key, "", names...)
		if n := limits(key); n != want {
			t.Errorf("in %s: %d limits, not %d", places, n, want)
		}
	}
}

// The administrator hears which provider refuses what, and what would work.
func TestLimitWarnings(t *testing.T) {
	r := newRoutedWith(t, func(c *provider.Capabilities) {
		c.OneAlgorithm = true
		c.Mechanisms = slices.Clone(c.Mechanisms)
		for i := range c.Mechanisms {
			if c.Mechanisms[i].Type == cryptoki.CKM_RSA_PKCS_PSS {
				c.Mechanisms[i].Hashes = []cryptoki.MechanismType{cryptoki.CKM_SHA256}
			}
		}
	})
	rsa := func(label string, mechanisms ...uint64) keyservice.Object {
		private := cryptoki.Attributes{tokenOn, cryptoki.String(cryptoki.CKA_LABEL, label), cryptoki.Bool(cryptoki.CKA_SIGN, true)}
		if mechanisms != nil {
			private = append(private, cryptoki.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS, mechanisms))
		}
		_, key, _, err := r.GenerateKeyPair(r.ctx, again(r.call), cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN},
			cryptoki.Attributes{tokenOn, cryptoki.Ulong(cryptoki.CKA_MODULUS_BITS, uint64(2048))}, private)
		ok(t, err)
		return key
	}
	rsa("pss", uint64(cryptoki.CKM_RSA_PKCS_PSS), uint64(cryptoki.CKM_SHA256_RSA_PKCS_PSS))
	both := rsa("both", uint64(cryptoki.CKM_RSA_PKCS))
	r.places(both, "", "two")
	view, err := r.ExplainView(r.ctx, r.as(""), "")
	ok(t, err)
	warnings := strings.Join(view.Visible[0].Warnings, "\n")
	for _, want := range []string{
		`key "pss": provider one signs with it by CKM_RSA_PKCS_PSS only, and C_SignInit refuses CKM_RSA_PKCS: make one key for both with anyhsm key create --twin, or use a key of another provider (software, three, two would do it)`,
		`key "pss": provider one does CKM_RSA_PKCS_PSS only with CKM_SHA256; the Init function answers CKR_MECHANISM_PARAM_INVALID to others (software, three, two would do it)`,
	} {
		if !strings.Contains(warnings, want) {
			t.Errorf("not said: %s\nbut:\n%s", want, warnings)
		}
	}
	if strings.Contains(warnings, `key "both": provider`) {
		t.Errorf("a key that was restricted on purpose is warned of:\n%s", warnings)
	}
}
