package object

import (
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

func TestSplit(t *testing.T) {
	for _, template := range everyObject {
		as := create(t, template)
		open, hidden := Split(as)
		if len(open)+len(hidden) != len(as) {
			t.Error("something got lost")
		}
		c, _ := as.Class()
		wantHidden := c == cryptoki.CKO_PRIVATE_KEY || c == cryptoki.CKO_SECRET_KEY
		if (len(hidden) > 0) != wantHidden {
			t.Errorf("%v: %v", c, hidden)
		}
		for _, a := range hidden {
			if a.Type != cryptoki.CKA_VALUE && a.Type != cryptoki.CKA_PRIVATE_EXPONENT {
				t.Errorf("%v: %v is not secret", c, a.Type)
			}
		}
	}
	for _, s := range []cryptoki.AttributeType{
		cryptoki.CKA_PRIVATE_EXPONENT, cryptoki.CKA_PRIME_1, cryptoki.CKA_PRIME_2, cryptoki.CKA_EXPONENT_1, cryptoki.CKA_EXPONENT_2,
		cryptoki.CKA_COEFFICIENT, cryptoki.CKA_VALUE,
	} {
		if !Secret(cryptoki.CKO_PRIVATE_KEY, s) {
			t.Errorf("%v is secret", s)
		}
		if open, _ := Split(cryptoki.Attributes{{Type: s}}); len(open) != 0 {
			t.Errorf("%v without a class", s)
		}
	}
	if Secret(cryptoki.CKO_DATA, cryptoki.CKA_VALUE) || Secret(cryptoki.CKO_PUBLIC_KEY, cryptoki.CKA_MODULUS) || !Secret(cryptoki.CKO_SECRET_KEY, cryptoki.CKA_VALUE) {
		t.Error("Secret")
	}
}

func TestKinds(t *testing.T) {
	for a, want := range map[cryptoki.AttributeType]ValueKind{
		cryptoki.CKA_CLASS: Ulong, cryptoki.CKA_TOKEN: Bool, cryptoki.CKA_LABEL: Bytes, cryptoki.CKA_START_DATE: Date,
		cryptoki.CKA_ALLOWED_MECHANISMS: Ulongs, cryptoki.CKA_WRAP_TEMPLATE: Template, cryptoki.CKA_HW_FEATURE_TYPE: Ulong,
		cryptoki.CKA_ENCAPSULATE_TEMPLATE: Template, 0x7777: Bytes,
	} {
		if Kind(a) != want {
			t.Errorf("%v: %v", a, Kind(a))
		}
	}
	// abi converts by the type alone: no attribute may have two encodings.
	for a, rs := range byType {
		for _, r := range rs {
			if r.kind != rs[0].kind {
				t.Errorf("%v has two encodings", a)
			}
		}
	}
	if Known(0x7777) || !Known(cryptoki.CKA_MODULUS) {
		t.Error("Known")
	}
	if Size(nil) != 0 || Size(create(t, aesKey)) < 16 {
		t.Error("Size")
	}
}
