package cryptoki

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"testing"
)

func TestNames(t *testing.T) {
	for _, test := range []struct {
		got  fmt.Stringer
		want string
	}{
		{CKR_OK, "CKR_OK"},
		{CKR_PIN_INCORRECT, "CKR_PIN_INCORRECT"},
		{RV(0x7fffffff), "CKR 0x7fffffff"},
		{CKO_PRIVATE_KEY, "CKO_PRIVATE_KEY"},
		{CKA_UNWRAP_TEMPLATE, "CKA_UNWRAP_TEMPLATE"},
		{AttributeType(CKA_VENDOR_DEFINED) | 1, "CKA 0x80000001"},
		{CKK_AES, "CKK_AES"},
		{CKM_SHA256_RSA_PKCS_PSS, "CKM_SHA256_RSA_PKCS_PSS"},
		// Of two names for one value the one that is not deprecated.
		{CKK_ECDSA, "CKK_EC"},
		{CKM_ECDSA_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN"},
		{CKA_ECDSA_PARAMS, "CKA_EC_PARAMS"},
	} {
		if got := test.got.String(); got != test.want {
			t.Errorf("%s, want %s", got, test.want)
		}
	}
}

func TestRVIsAnError(t *testing.T) {
	err := fmt.Errorf("around: %w", CKR_DEVICE_ERROR)
	var rv RV
	if !errors.As(err, &rv) || rv != CKR_DEVICE_ERROR || !errors.Is(err, CKR_DEVICE_ERROR) || rv.Error() != "CKR_DEVICE_ERROR" {
		t.Error(err)
	}
}

func TestAttributeEncoding(t *testing.T) {
	for _, test := range []struct {
		got  Attribute
		want []byte
	}{
		{Ulong(CKA_CLASS, CKO_SECRET_KEY), []byte{4, 0, 0, 0, 0, 0, 0, 0}},
		{Ulong(CKA_VALUE_LEN, uint64(0x0102030405060708)), []byte{8, 7, 6, 5, 4, 3, 2, 1}},
		{Bool(CKA_TOKEN, true), []byte{1}},
		{Bool(CKA_TOKEN, false), []byte{0}},
		{String(CKA_LABEL, "é"), []byte{0xc3, 0xa9}},
		{Ulongs(CKA_ALLOWED_MECHANISMS, []MechanismType{1, 2}), []byte{1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0}},
		{Ulongs[uint64](CKA_ALLOWED_MECHANISMS, nil), nil},
	} {
		if !bytes.Equal(test.got.Value, test.want) {
			t.Errorf("%v: %x, want %x", test.got.Type, test.got.Value, test.want)
		}
	}
}

func TestAttributes(t *testing.T) {
	as := Attributes{
		Ulong(CKA_CLASS, CKO_PUBLIC_KEY), Ulong(CKA_KEY_TYPE, CKK_EC), Bool(CKA_TOKEN, true), String(CKA_LABEL, "a"),
		Ulongs(CKA_ALLOWED_MECHANISMS, []MechanismType{CKM_ECDSA}), Bytes(CKA_VALUE_LEN, []byte{1, 2}),
	}
	if c, ok := as.Class(); c != CKO_PUBLIC_KEY || !ok {
		t.Error(c, ok)
	}
	if k, ok := as.KeyType(); k != CKK_EC || !ok {
		t.Error(k, ok)
	}
	if !as.Bool(CKA_TOKEN) || as.Bool(CKA_PRIVATE) || as.Bool(CKA_VALUE_LEN) {
		t.Error("Bool")
	}
	if _, ok := as.Ulong(CKA_VALUE_LEN); ok {
		t.Error("a CK_ULONG of two bytes")
	}
	if _, ok := as.Ulongs(CKA_VALUE_LEN); ok {
		t.Error("an array of two bytes")
	}
	if v, ok := as.Ulongs(CKA_ALLOWED_MECHANISMS); !ok || !reflect.DeepEqual(v, []uint64{uint64(CKM_ECDSA)}) {
		t.Error(v, ok)
	}
	if _, ok := Attributes(nil).Class(); ok || as.Has(CKA_ID) || as.Bytes(CKA_ID) != nil {
		t.Error("what is not there")
	}
	clone := as.Clone()
	clone.Set(String(CKA_LABEL, "b"))
	clone[0].Value[0] = 9
	clone.Set(Bool(CKA_PRIVATE, false))
	clone.Remove(CKA_TOKEN)
	clone.Remove(CKA_ID)
	if string(as.Bytes(CKA_LABEL)) != "a" || as[0].Value[0] == 9 || len(as) != 6 {
		t.Error("the clone shares memory", as)
	}
	if string(clone.Bytes(CKA_LABEL)) != "b" || clone.Has(CKA_TOKEN) || !clone.Has(CKA_PRIVATE) || len(clone) != 6 {
		t.Error(clone)
	}
}
