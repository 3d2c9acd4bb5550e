package keyservice

import (
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// TestPreferAsked: what a template names goes before what is there by default, and only then.
func TestPreferAsked(t *testing.T) {
	yes := func(uses ...cryptoki.AttributeType) (a cryptoki.Attributes) {
		for _, use := range uses {
			a = append(a, cryptoki.Bool(use, true))
		}
		return a
	}
	for _, tc := range []struct {
		name           string
		template, want cryptoki.Attributes
	}{
		{"nothing asked", nil, yes(cryptoki.CKA_SIGN, cryptoki.CKA_DERIVE)},
		{"derive asked", yes(cryptoki.CKA_DERIVE), yes(cryptoki.CKA_DERIVE)},
		{"both asked", yes(cryptoki.CKA_SIGN, cryptoki.CKA_DERIVE), yes(cryptoki.CKA_SIGN, cryptoki.CKA_DERIVE)},
		{"signing refused", cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_DERIVE, false)}, yes(cryptoki.CKA_SIGN, cryptoki.CKA_DERIVE)},
	} {
		attributes := yes(cryptoki.CKA_SIGN, cryptoki.CKA_DERIVE)
		preferAsked(&attributes, tc.template)
		for _, use := range privateUses {
			if attributes.Bool(use) != tc.want.Bool(use) {
				t.Errorf("%s: %s is %t", tc.name, use, attributes.Bool(use))
			}
		}
	}
}
