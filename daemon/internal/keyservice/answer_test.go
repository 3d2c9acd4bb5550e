package keyservice_test

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// TestSignaturesOfAdoptedKeys: what a provider answers is verified with the public half before anybody gets it, as the
// token wants it.
func TestSignaturesOfAdoptedKeys(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "vault")
	f.hold("old", true)
	_, _, err := f.AdoptKeys(f.ctx, f.as("t"), keyservice.Adoption{All: true})
	ok(t, err)
	app := f.application("app", token, policy.Use, policy.Create)
	call := f.user(app, token)
	_, own := f.pair(call)
	pair, err := f.GetKey(f.ctx, f.as("t"), "old")
	ok(t, err)
	adopted := pair[0].ID
	digest := sha256.Sum256([]byte("message"))
	sign := func(object uint64) error {
		_, _, err := f.Sign(f.ctx, call, keyservice.KeyRef{Object: object}, cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, digest[:], false)
		return err
	}
	ok(t, sign(adopted))
	ok(t, sign(own.ID))

	// From now on the vault answers with another key's signatures.
	f.vault.forge = true
	for _, test := range []struct {
		verify              string
		refuses, refusesOwn bool
	}{
		{"", true, false}, {"all", true, true}, {"none", false, false}, {"adopted", true, false},
	} {
		_, err := f.SetVerification(f.ctx, f.as("t"), test.verify)
		ok(t, err)
		err = sign(adopted)
		if test.refuses != (err != nil) || err != nil && (fault.RV(err) != cryptoki.CKR_FUNCTION_FAILED || !strings.Contains(err.Error(), "provider vault answered")) {
			t.Errorf("%q: the adopted key: %v", test.verify, err)
		}
		if err := sign(own.ID); test.refusesOwn != (err != nil) {
			t.Errorf("%q: the token's own key: %v", test.verify, err)
		}
	}
	if !strings.Contains(f.log.String(), "provider=vault") {
		t.Errorf("the log does not name the provider:\n%s", f.log)
	}
	if _, err := f.SetVerification(f.ctx, f.as("t"), "some"); !fault.Is(err, fault.InvalidInput) {
		t.Errorf("a choice that is none: %v", err)
	}
	if holds, err := f.SetVerification(f.ctx, f.as("t"), ""); err != nil || holds != "adopted" {
		t.Errorf("%q, %v", holds, err)
	}
}
