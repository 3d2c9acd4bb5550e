package object

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

func TestSet(t *testing.T) {
	b, y := cryptoki.Bool, cryptoki.Bytes
	open := create(t, with(aesKey, b(cryptoki.CKA_SENSITIVE, false), b(cryptoki.CKA_EXTRACTABLE, true)))
	closed := create(t, aesKey)
	frozen := create(t, with(aesKey, b(cryptoki.CKA_MODIFIABLE, false)))
	for _, test := range []struct {
		name    string
		current cryptoki.Attributes
		change  cryptoki.Attribute
		want    cryptoki.RV
	}{
		{"label", open, y(cryptoki.CKA_LABEL, []byte("new")), cryptoki.CKR_OK},
		{"id", open, y(cryptoki.CKA_ID, []byte{1}), cryptoki.CKR_OK},
		{"sensitive", open, b(cryptoki.CKA_SENSITIVE, true), cryptoki.CKR_OK},
		{"not sensitive any more", closed, b(cryptoki.CKA_SENSITIVE, false), cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"sensitive as before", closed, b(cryptoki.CKA_SENSITIVE, true), cryptoki.CKR_OK},
		{"not extractable", open, b(cryptoki.CKA_EXTRACTABLE, false), cryptoki.CKR_OK},
		{"extractable again", closed, b(cryptoki.CKA_EXTRACTABLE, true), cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"copyable", open, b(cryptoki.CKA_COPYABLE, false), cryptoki.CKR_OK},
		{"wrap with trusted", open, b(cryptoki.CKA_WRAP_WITH_TRUSTED, true), cryptoki.CKR_OK},
		{"trusted", open, b(cryptoki.CKA_TRUSTED, true), cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"usage", open, b(cryptoki.CKA_ENCRYPT, false), cryptoki.CKR_OK},
		{"token", open, b(cryptoki.CKA_TOKEN, true), cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"private", open, b(cryptoki.CKA_PRIVATE, false), cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"modifiable", open, b(cryptoki.CKA_MODIFIABLE, false), cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"class", open, cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY), cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"value", open, y(cryptoki.CKA_VALUE, make([]byte, 16)), cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"history", open, b(cryptoki.CKA_NEVER_EXTRACTABLE, true), cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"allowed mechanisms", open, y(cryptoki.CKA_ALLOWED_MECHANISMS, nil), cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"modulus", open, y(cryptoki.CKA_MODULUS, nil), cryptoki.CKR_TEMPLATE_INCONSISTENT},
		{"unknown", open, y(0x7777, nil), cryptoki.CKR_ATTRIBUTE_TYPE_INVALID},
		{"bad length", open, y(cryptoki.CKA_SENSITIVE, nil), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"bad date", open, y(cryptoki.CKA_END_DATE, []byte("never")), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"frozen", frozen, y(cryptoki.CKA_LABEL, nil), cryptoki.CKR_ACTION_PROHIBITED},
		{"always authenticate", create(t, rsaPrivate), b(cryptoki.CKA_ALWAYS_AUTHENTICATE, true), cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"certificate's value", create(t, x509Object), y(cryptoki.CKA_VALUE, []byte{1}), cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"certificate's subject", create(t, x509Object), y(cryptoki.CKA_SUBJECT, []byte{1}), cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"certificate's serial number", create(t, x509Object), y(cryptoki.CKA_SERIAL_NUMBER, []byte{1}), cryptoki.CKR_OK},
		{"data's value", create(t, dataObject), y(cryptoki.CKA_VALUE, []byte{1}), cryptoki.CKR_OK},
	} {
		before := test.current.Clone()
		after, err := Set(test.current, cryptoki.Attributes{test.change})
		wantRV(t, test.name, err, test.want)
		if !reflect.DeepEqual(before, test.current) {
			t.Errorf("%s: the input changed", test.name)
		}
		if err == nil && !bytes.Equal(after.Bytes(test.change.Type), test.change.Value) {
			t.Errorf("%s: %x", test.name, after.Bytes(test.change.Type))
		}
	}
	// An EC key cannot encrypt, whatever is asked.
	after, err := Set(create(t, ecPrivate), cryptoki.Attributes{b(cryptoki.CKA_DECRYPT, true)})
	if err != nil || after.Bool(cryptoki.CKA_DECRYPT) {
		t.Error(after, err)
	}
	// All or nothing.
	if after, err := Set(open, cryptoki.Attributes{y(cryptoki.CKA_LABEL, []byte("x")), b(cryptoki.CKA_TOKEN, true)}); err == nil || after != nil {
		t.Error(after, err)
	}
}

func TestCopy(t *testing.T) {
	b, y := cryptoki.Bool, cryptoki.Bytes
	source := with(create(t, rsaPrivate), y(cryptoki.CKA_UNIQUE_ID, []byte("u")))
	// Java stores a session key so.
	copied, err := Copy(source, cryptoki.Attributes{b(cryptoki.CKA_TOKEN, true), y(cryptoki.CKA_ID, []byte("alias"))})
	if err != nil {
		t.Fatal(err)
	}
	checkComplete(t, copied)
	if !copied.Bool(cryptoki.CKA_TOKEN) || string(copied.Bytes(cryptoki.CKA_ID)) != "alias" || copied.Has(cryptoki.CKA_UNIQUE_ID) || !copied.Has(cryptoki.CKA_PRIVATE_EXPONENT) {
		t.Error(copied)
	}
	if !source.Has(cryptoki.CKA_UNIQUE_ID) || source.Bool(cryptoki.CKA_TOKEN) {
		t.Error("the source changed")
	}
	for _, test := range []struct {
		name     string
		source   cryptoki.Attributes
		template cryptoki.Attributes
		want     cryptoki.RV
	}{
		{"nothing else", source, nil, cryptoki.CKR_OK},
		{"not modifiable", source, cryptoki.Attributes{b(cryptoki.CKA_MODIFIABLE, false), b(cryptoki.CKA_DESTROYABLE, false)}, cryptoki.CKR_OK},
		{"public", source, cryptoki.Attributes{b(cryptoki.CKA_PRIVATE, false)}, cryptoki.CKR_TEMPLATE_INCONSISTENT},
		{"not sensitive", source, cryptoki.Attributes{b(cryptoki.CKA_SENSITIVE, false)}, cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"extractable", source, cryptoki.Attributes{b(cryptoki.CKA_EXTRACTABLE, true)}, cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"another class", source, cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PUBLIC_KEY)}, cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"contradiction", source, cryptoki.Attributes{b(cryptoki.CKA_TOKEN, true), b(cryptoki.CKA_TOKEN, false)}, cryptoki.CKR_TEMPLATE_INCONSISTENT},
		{"not copyable", create(t, with(rsaPrivate, b(cryptoki.CKA_COPYABLE, false))), nil, cryptoki.CKR_ACTION_PROHIBITED},
		{"not modifiable source", create(t, with(rsaPrivate, b(cryptoki.CKA_MODIFIABLE, false))), cryptoki.Attributes{y(cryptoki.CKA_LABEL, []byte("x"))}, cryptoki.CKR_OK},
	} {
		_, err := Copy(test.source, test.template)
		wantRV(t, test.name, err, test.want)
	}
}

func TestMatch(t *testing.T) {
	b, y := cryptoki.Bool, cryptoki.Bytes
	public := create(t, with(rsaPublic, y(cryptoki.CKA_LABEL, []byte("a"))))
	readable := create(t, with(aesKey, b(cryptoki.CKA_SENSITIVE, false), b(cryptoki.CKA_EXTRACTABLE, true)))
	edwards25519 := append([]byte{0x13, 12}, "edwards25519"...)
	for _, test := range []struct {
		name     string
		object   cryptoki.Attributes
		template cryptoki.Attributes
		want     bool
	}{
		{"everything", public, nil, true},
		{"class", public, class(cryptoki.CKO_PUBLIC_KEY), true},
		{"another class", public, class(cryptoki.CKO_PRIVATE_KEY), false},
		{"class and label", public, class(cryptoki.CKO_PUBLIC_KEY, y(cryptoki.CKA_LABEL, []byte("a"))), true},
		{"class and another label", public, class(cryptoki.CKO_PUBLIC_KEY, y(cryptoki.CKA_LABEL, []byte("b"))), false},
		{"part of a label", public, cryptoki.Attributes{y(cryptoki.CKA_LABEL, nil)}, false},
		{"an attribute that it lacks", public, cryptoki.Attributes{b(cryptoki.CKA_SENSITIVE, false)}, false},
		{"unknown attribute", public, cryptoki.Attributes{y(0x7777, nil)}, false},
		{"vendor class", public, class(0xce534351), false},
		{"CK_TRUE as 255", public, cryptoki.Attributes{y(cryptoki.CKA_VERIFY, []byte{255})}, true},
		{"CK_BBOOL of 4 bytes", public, cryptoki.Attributes{y(cryptoki.CKA_VERIFY, []byte{1, 0, 0, 0})}, false},
		{"modulus with a zero before it", public, cryptoki.Attributes{y(cryptoki.CKA_MODULUS, append([]byte{0}, modulus...))}, true},
		{"another modulus", public, cryptoki.Attributes{y(cryptoki.CKA_MODULUS, modulus[1:])}, false},
		{"curve by name", create(t, edPublic), cryptoki.Attributes{y(cryptoki.CKA_EC_PARAMS, edwards25519)}, true},
		{"another curve", create(t, edPublic), cryptoki.Attributes{y(cryptoki.CKA_EC_PARAMS, p256.Params)}, false},
		{"raw point", create(t, ecPublic), cryptoki.Attributes{y(cryptoki.CKA_EC_POINT, point)}, true},
		{"another point", create(t, ecPublic), cryptoki.Attributes{y(cryptoki.CKA_EC_POINT, point[1:])}, false},
		{"a secret value", create(t, aesKey), cryptoki.Attributes{y(cryptoki.CKA_VALUE, make([]byte, 16))}, false},
		{"a readable value", readable, cryptoki.Attributes{y(cryptoki.CKA_VALUE, make([]byte, 16))}, true},
		{"a profile", Profile(cryptoki.CKP_BASELINE_PROVIDER), class(cryptoki.CKO_PROFILE, cryptoki.Ulong(cryptoki.CKA_PROFILE_ID, cryptoki.CKP_BASELINE_PROVIDER)), true},
	} {
		if got := Match(test.object, test.template); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
