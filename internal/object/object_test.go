package object

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"reflect"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/wire"
)

func wantRV(t *testing.T, name string, err error, want cryptoki.RV) {
	t.Helper()
	if got := fault.RV(err); got != want {
		t.Errorf("%s: %v (%v), want %v", name, got, err, want)
	}
}

func class(c cryptoki.ObjectClass, more ...cryptoki.Attribute) cryptoki.Attributes {
	return append(cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_CLASS, c)}, more...)
}

func key(c cryptoki.ObjectClass, t cryptoki.KeyType, more ...cryptoki.Attribute) cryptoki.Attributes {
	return append(class(c, cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, t)), more...)
}

func with(as cryptoki.Attributes, more ...cryptoki.Attribute) cryptoki.Attributes {
	return append(as.Clone(), more...)
}

func replace(as cryptoki.Attributes, a cryptoki.Attribute) cryptoki.Attributes {
	c := as.Clone()
	c.Set(a)
	return c
}

func without(as cryptoki.Attributes, t cryptoki.AttributeType) cryptoki.Attributes {
	c := as.Clone()
	c.Remove(t)
	return c
}

// modulus is an odd number of 2048 bits; nothing here looks for its primes.
var modulus = append(bytes.Repeat([]byte{0xc5}, 255), 0x0b)

var (
	p256, _ = curve.ByName("P-256")
	ed, _   = curve.ByName("Ed25519")

	point = func() []byte {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		b, err := key.PublicKey.Bytes()
		if err != nil {
			panic(err)
		}
		return b
	}()

	rsaPublic  = key(cryptoki.CKO_PUBLIC_KEY, cryptoki.CKK_RSA, cryptoki.Bytes(cryptoki.CKA_MODULUS, modulus), cryptoki.Bytes(cryptoki.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}))
	rsaPrivate = key(cryptoki.CKO_PRIVATE_KEY, cryptoki.CKK_RSA, cryptoki.Bytes(cryptoki.CKA_MODULUS, modulus), cryptoki.Bytes(cryptoki.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}),
		cryptoki.Bytes(cryptoki.CKA_PRIVATE_EXPONENT, modulus[1:]))
	ecPublic    = key(cryptoki.CKO_PUBLIC_KEY, cryptoki.CKK_EC, cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, p256.Params), cryptoki.Bytes(cryptoki.CKA_EC_POINT, curve.OctetString(point)))
	ecPrivate   = key(cryptoki.CKO_PRIVATE_KEY, cryptoki.CKK_EC, cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, p256.Params), cryptoki.Bytes(cryptoki.CKA_VALUE, bytes.Repeat([]byte{1}, 32)))
	edPublic    = key(cryptoki.CKO_PUBLIC_KEY, cryptoki.CKK_EC_EDWARDS, cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, ed.Params), cryptoki.Bytes(cryptoki.CKA_EC_POINT, curve.OctetString(make([]byte, 32))))
	aesKey      = key(cryptoki.CKO_SECRET_KEY, cryptoki.CKK_AES, cryptoki.Bytes(cryptoki.CKA_VALUE, make([]byte, 16)))
	genericKey  = key(cryptoki.CKO_SECRET_KEY, cryptoki.CKK_GENERIC_SECRET, cryptoki.Bytes(cryptoki.CKA_VALUE, []byte{1}))
	dataObject  = class(cryptoki.CKO_DATA)
	x509Object  = class(cryptoki.CKO_CERTIFICATE, cryptoki.Ulong(cryptoki.CKA_CERTIFICATE_TYPE, cryptoki.CKC_X_509), cryptoki.Bytes(cryptoki.CKA_SUBJECT, []byte{0x30, 0}), cryptoki.Bytes(cryptoki.CKA_VALUE, []byte{0x30, 0}))
	everyObject = []cryptoki.Attributes{rsaPublic, rsaPrivate, ecPublic, ecPrivate, edPublic, aesKey, genericKey, dataObject, x509Object}
)

func create(t testing.TB, template cryptoki.Attributes) cryptoki.Attributes {
	t.Helper()
	as, err := New(Create, 0, template)
	if err != nil {
		t.Fatal(err)
	}
	return as
}

// checkComplete holds of every object that New and its like return.
func checkComplete(t testing.TB, as cryptoki.Attributes) {
	t.Helper()
	c, f := shape(as)
	seen := map[cryptoki.AttributeType]bool{}
	for _, a := range as {
		r, ok := find(c, f, a.Type)
		if !ok {
			t.Errorf("%v does not belong there", a.Type)
			continue
		}
		if seen[a.Type] {
			t.Errorf("%v is there twice", a.Type)
		}
		seen[a.Type] = true
		if value, err := normalise(r, a.Value); err != nil || !bytes.Equal(value, a.Value) {
			t.Errorf("%v: %x is not in its form (%v)", a.Type, a.Value, err)
		}
	}
	must := []cryptoki.AttributeType{
		cryptoki.CKA_CLASS, cryptoki.CKA_TOKEN, cryptoki.CKA_PRIVATE, cryptoki.CKA_LABEL, cryptoki.CKA_MODIFIABLE,
		cryptoki.CKA_COPYABLE, cryptoki.CKA_DESTROYABLE,
	}
	if c&keys != 0 {
		must = append(must, cryptoki.CKA_KEY_TYPE, cryptoki.CKA_ID, cryptoki.CKA_START_DATE, cryptoki.CKA_END_DATE,
			cryptoki.CKA_DERIVE, cryptoki.CKA_LOCAL, cryptoki.CKA_KEY_GEN_MECHANISM)
	}
	if c&(privateKey|secretKey) != 0 {
		must = append(must, cryptoki.CKA_SENSITIVE, cryptoki.CKA_EXTRACTABLE, cryptoki.CKA_ALWAYS_SENSITIVE,
			cryptoki.CKA_NEVER_EXTRACTABLE, cryptoki.CKA_SIGN, cryptoki.CKA_DECRYPT)
	}
	if c == privateKey {
		must = append(must, cryptoki.CKA_ALWAYS_AUTHENTICATE, cryptoki.CKA_SUBJECT)
	}
	for _, m := range must {
		if !as.Has(m) {
			t.Errorf("%v is missing", m)
		}
	}
	if as.Bool(cryptoki.CKA_ALWAYS_AUTHENTICATE) && !as.Bool(cryptoki.CKA_PRIVATE) {
		t.Error("CKA_ALWAYS_AUTHENTICATE on a public object")
	}
	if as.Bool(cryptoki.CKA_ALWAYS_SENSITIVE) && !as.Bool(cryptoki.CKA_SENSITIVE) || as.Bool(cryptoki.CKA_NEVER_EXTRACTABLE) && as.Bool(cryptoki.CKA_EXTRACTABLE) {
		t.Error("a history that contradicts the present")
	}
}

func TestCreateAccepts(t *testing.T) {
	for _, template := range everyObject {
		as := create(t, template)
		checkComplete(t, as)
		for _, a := range template {
			if !bytes.Equal(as.Bytes(a.Type), a.Value) {
				t.Errorf("%v became %x", a.Type, as.Bytes(a.Type))
			}
		}
		if as.Bool(cryptoki.CKA_LOCAL) || as.Bool(cryptoki.CKA_ALWAYS_SENSITIVE) || as.Bool(cryptoki.CKA_NEVER_EXTRACTABLE) {
			t.Error("a created key has no history")
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	b, u, y := cryptoki.Bool, func(t cryptoki.AttributeType, v uint64) cryptoki.Attribute { return cryptoki.Ulong(t, v) }, cryptoki.Bytes
	for _, test := range []struct {
		name     string
		template cryptoki.Attributes
		want     cryptoki.RV
	}{
		{"nothing", nil, cryptoki.CKR_TEMPLATE_INCOMPLETE},
		{"short class", cryptoki.Attributes{y(cryptoki.CKA_CLASS, []byte{3, 0, 0, 0})}, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"vendor class", class(0xce534350), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"profile", class(cryptoki.CKO_PROFILE), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"mechanism", class(cryptoki.CKO_MECHANISM), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"no key type", class(cryptoki.CKO_PUBLIC_KEY), cryptoki.CKR_TEMPLATE_INCOMPLETE},
		{"DSA", key(cryptoki.CKO_PUBLIC_KEY, cryptoki.CKK_DSA), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"secret RSA key", key(cryptoki.CKO_SECRET_KEY, cryptoki.CKK_RSA), cryptoki.CKR_TEMPLATE_INCONSISTENT},
		{"private AES key", key(cryptoki.CKO_PRIVATE_KEY, cryptoki.CKK_AES), cryptoki.CKR_TEMPLATE_INCONSISTENT},
		{"the same twice", with(aesKey, y(cryptoki.CKA_LABEL, []byte("a")), y(cryptoki.CKA_LABEL, []byte("a"))), cryptoki.CKR_OK},
		{"two labels", with(aesKey, y(cryptoki.CKA_LABEL, []byte("a")), y(cryptoki.CKA_LABEL, []byte("b"))), cryptoki.CKR_TEMPLATE_INCONSISTENT},
		{"unknown attribute", with(aesKey, y(cryptoki.CKA_VENDOR_DEFINED|1, nil)), cryptoki.CKR_ATTRIBUTE_TYPE_INVALID},
		{"attribute of DSA", with(aesKey, y(cryptoki.CKA_SUBPRIME, nil)), cryptoki.CKR_ATTRIBUTE_TYPE_INVALID},
		{"modulus of an AES key", with(aesKey, y(cryptoki.CKA_MODULUS, modulus)), cryptoki.CKR_TEMPLATE_INCONSISTENT},
		{"CKA_SIGN of a public key", with(rsaPublic, b(cryptoki.CKA_SIGN, true)), cryptoki.CKR_TEMPLATE_INCONSISTENT},
		{"CKA_LOCAL", with(aesKey, b(cryptoki.CKA_LOCAL, true)), cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"CKA_ALWAYS_SENSITIVE", with(aesKey, b(cryptoki.CKA_ALWAYS_SENSITIVE, true)), cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"CKA_UNIQUE_ID", with(dataObject, y(cryptoki.CKA_UNIQUE_ID, []byte("x"))), cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"CKA_TRUSTED", with(x509Object, b(cryptoki.CKA_TRUSTED, true)), cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"CKA_TRUSTED false", with(x509Object, b(cryptoki.CKA_TRUSTED, false)), cryptoki.CKR_OK},
		{"long CK_BBOOL", with(aesKey, y(cryptoki.CKA_TOKEN, []byte{1, 0})), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"empty CK_BBOOL", with(aesKey, y(cryptoki.CKA_TOKEN, nil)), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"date of 7 digits", with(aesKey, y(cryptoki.CKA_START_DATE, []byte("2026112"))), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"date of 13 months", with(aesKey, y(cryptoki.CKA_START_DATE, []byte("20261301"))), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"date with letters", with(aesKey, y(cryptoki.CKA_END_DATE, []byte("2026feb1"))), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"date", with(aesKey, y(cryptoki.CKA_END_DATE, []byte("20261123"))), cryptoki.CKR_OK},
		{"mechanism list of 7 bytes", with(aesKey, y(cryptoki.CKA_ALLOWED_MECHANISMS, make([]byte, 7))), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"label of a megabyte", with(aesKey, y(cryptoki.CKA_LABEL, make([]byte, 1<<20))), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"template that is none", with(aesKey, y(cryptoki.CKA_WRAP_TEMPLATE, []byte{0xff})), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"template with a bad value", with(aesKey, y(cryptoki.CKA_WRAP_TEMPLATE, wire.MarshalAttributes(cryptoki.Attributes{y(cryptoki.CKA_TOKEN, nil)}))), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"template with an unknown attribute", with(aesKey, y(cryptoki.CKA_WRAP_TEMPLATE, wire.MarshalAttributes(cryptoki.Attributes{y(0x7777, nil)}))), cryptoki.CKR_ATTRIBUTE_TYPE_INVALID},
		{"template in a template", with(aesKey, y(cryptoki.CKA_WRAP_TEMPLATE, wire.MarshalAttributes(cryptoki.Attributes{y(cryptoki.CKA_WRAP_TEMPLATE, nil)}))), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"template", with(aesKey, y(cryptoki.CKA_WRAP_TEMPLATE, wire.MarshalAttributes(cryptoki.Attributes{b(cryptoki.CKA_TOKEN, true)}))), cryptoki.CKR_OK},
		{"always authenticate, public", with(rsaPrivate, b(cryptoki.CKA_ALWAYS_AUTHENTICATE, true), b(cryptoki.CKA_PRIVATE, false)), cryptoki.CKR_TEMPLATE_INCONSISTENT},
		{"always authenticate", with(rsaPrivate, b(cryptoki.CKA_ALWAYS_AUTHENTICATE, true)), cryptoki.CKR_OK},

		{"AES without value", without(aesKey, cryptoki.CKA_VALUE), cryptoki.CKR_TEMPLATE_INCOMPLETE},
		{"AES of 17 bytes", replace(aesKey, y(cryptoki.CKA_VALUE, make([]byte, 17))), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"AES with its length", with(aesKey, u(cryptoki.CKA_VALUE_LEN, 16)), cryptoki.CKR_OK},
		{"AES with another length", with(aesKey, u(cryptoki.CKA_VALUE_LEN, 32)), cryptoki.CKR_TEMPLATE_INCONSISTENT},
		{"secret of no bytes", replace(genericKey, y(cryptoki.CKA_VALUE, nil)), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"secret of 5000 bytes", replace(genericKey, y(cryptoki.CKA_VALUE, make([]byte, 5000))), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"HMAC key", replace(genericKey, u(cryptoki.CKA_KEY_TYPE, uint64(cryptoki.CKK_SHA256_HMAC))), cryptoki.CKR_OK},
		{"check value of 4 bytes", with(aesKey, y(cryptoki.CKA_CHECK_VALUE, make([]byte, 4))), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"check value", with(aesKey, y(cryptoki.CKA_CHECK_VALUE, make([]byte, 3))), cryptoki.CKR_OK},

		{"RSA without modulus", without(rsaPublic, cryptoki.CKA_MODULUS), cryptoki.CKR_TEMPLATE_INCOMPLETE},
		{"RSA without exponent", without(rsaPublic, cryptoki.CKA_PUBLIC_EXPONENT), cryptoki.CKR_TEMPLATE_INCOMPLETE},
		{"RSA without private exponent", without(rsaPrivate, cryptoki.CKA_PRIVATE_EXPONENT), cryptoki.CKR_TEMPLATE_INCOMPLETE},
		{"RSA with one prime", with(rsaPrivate, y(cryptoki.CKA_PRIME_1, []byte{7})), cryptoki.CKR_TEMPLATE_INCOMPLETE},
		{"RSA modulus 0", replace(rsaPublic, y(cryptoki.CKA_MODULUS, []byte{0, 0})), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"RSA modulus even", replace(rsaPublic, y(cryptoki.CKA_MODULUS, append(bytes.Clone(modulus), 0))), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"RSA modulus short", replace(rsaPublic, y(cryptoki.CKA_MODULUS, modulus[200:])), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"RSA exponent 1", replace(rsaPublic, y(cryptoki.CKA_PUBLIC_EXPONENT, []byte{1})), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"RSA exponent even", replace(rsaPublic, y(cryptoki.CKA_PUBLIC_EXPONENT, []byte{1, 0, 2})), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"RSA private exponent too large", replace(rsaPrivate, y(cryptoki.CKA_PRIVATE_EXPONENT, append([]byte{1}, modulus...))), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"RSA bits", with(rsaPublic, u(cryptoki.CKA_MODULUS_BITS, 2048)), cryptoki.CKR_OK},
		{"RSA other bits", with(rsaPublic, u(cryptoki.CKA_MODULUS_BITS, 2047)), cryptoki.CKR_TEMPLATE_INCONSISTENT},

		{"EC without point", without(ecPublic, cryptoki.CKA_EC_POINT), cryptoki.CKR_TEMPLATE_INCOMPLETE},
		{"EC without curve", without(ecPrivate, cryptoki.CKA_EC_PARAMS), cryptoki.CKR_TEMPLATE_INCOMPLETE},
		{"EC raw point", replace(ecPublic, y(cryptoki.CKA_EC_POINT, point)), cryptoki.CKR_OK},
		{"EC point off the curve", replace(ecPublic, y(cryptoki.CKA_EC_POINT, append(bytes.Clone(point[:64]), point[64]^1))), cryptoki.CKR_PUBLIC_KEY_INVALID},
		{"EC point of another size", replace(ecPublic, y(cryptoki.CKA_EC_POINT, point[:60])), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"EC secp256k1", replace(ecPublic, y(cryptoki.CKA_EC_PARAMS, []byte{6, 5, 0x2b, 0x81, 4, 0, 0xa})), cryptoki.CKR_CURVE_NOT_SUPPORTED},
		{"EC implicit curve", replace(ecPublic, y(cryptoki.CKA_EC_PARAMS, []byte{5, 0})), cryptoki.CKR_DOMAIN_PARAMS_INVALID},
		{"EC with Edwards' curve", replace(ecPublic, y(cryptoki.CKA_EC_PARAMS, ed.Params)), cryptoki.CKR_TEMPLATE_INCONSISTENT},
		{"EC scalar too long", replace(ecPrivate, y(cryptoki.CKA_VALUE, bytes.Repeat([]byte{1}, 33))), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"EC scalar with a zero before it", replace(ecPrivate, y(cryptoki.CKA_VALUE, append([]byte{0}, bytes.Repeat([]byte{1}, 32)...))), cryptoki.CKR_OK},
		{"Edwards as pkcs11-tool names it", replace(edPublic, y(cryptoki.CKA_EC_PARAMS, append([]byte{0x13, 12}, "edwards25519"...))), cryptoki.CKR_OK},

		{"certificate without type", without(x509Object, cryptoki.CKA_CERTIFICATE_TYPE), cryptoki.CKR_TEMPLATE_INCOMPLETE},
		{"certificate without subject", without(x509Object, cryptoki.CKA_SUBJECT), cryptoki.CKR_TEMPLATE_INCOMPLETE},
		{"certificate without value", without(x509Object, cryptoki.CKA_VALUE), cryptoki.CKR_TEMPLATE_INCOMPLETE},
		{"certificate with a URL only", with(without(x509Object, cryptoki.CKA_VALUE), y(cryptoki.CKA_URL, []byte("http://x"))), cryptoki.CKR_TEMPLATE_INCOMPLETE},
		{"WTLS certificate", replace(x509Object, u(cryptoki.CKA_CERTIFICATE_TYPE, cryptoki.CKC_WTLS)), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"certificate of category 9", with(x509Object, u(cryptoki.CKA_CERTIFICATE_CATEGORY, 9)), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		// keytool writes the number itself.
		{"raw serial number", with(x509Object, y(cryptoki.CKA_SERIAL_NUMBER, []byte{0xff, 1})), cryptoki.CKR_OK},
		{"check value of a certificate", with(x509Object, y(cryptoki.CKA_CHECK_VALUE, []byte{1, 2, 3})), cryptoki.CKR_OK},
		{"data of two megabytes", with(dataObject, y(cryptoki.CKA_VALUE, make([]byte, 2<<20))), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
	} {
		as, err := New(Create, 0, test.template)
		wantRV(t, test.name, err, test.want)
		if err == nil {
			checkComplete(t, as)
		} else if as != nil {
			t.Errorf("%s: attributes beside an error", test.name)
		}
	}
}

func TestDefaults(t *testing.T) {
	for _, test := range []struct {
		name     string
		template cryptoki.Attributes
		yes, no  []cryptoki.AttributeType
	}{
		{"data", dataObject, []cryptoki.AttributeType{cryptoki.CKA_MODIFIABLE, cryptoki.CKA_COPYABLE, cryptoki.CKA_DESTROYABLE}, []cryptoki.AttributeType{cryptoki.CKA_TOKEN, cryptoki.CKA_PRIVATE}},
		{"certificate", x509Object, nil, []cryptoki.AttributeType{cryptoki.CKA_PRIVATE, cryptoki.CKA_TRUSTED}},
		{"RSA public", rsaPublic, []cryptoki.AttributeType{cryptoki.CKA_VERIFY, cryptoki.CKA_ENCRYPT, cryptoki.CKA_WRAP}, []cryptoki.AttributeType{cryptoki.CKA_PRIVATE, cryptoki.CKA_DERIVE, cryptoki.CKA_VERIFY_RECOVER, cryptoki.CKA_TRUSTED}},
		{"RSA private", rsaPrivate, []cryptoki.AttributeType{cryptoki.CKA_PRIVATE, cryptoki.CKA_SENSITIVE, cryptoki.CKA_SIGN, cryptoki.CKA_DECRYPT, cryptoki.CKA_UNWRAP}, []cryptoki.AttributeType{cryptoki.CKA_EXTRACTABLE, cryptoki.CKA_DERIVE, cryptoki.CKA_SIGN_RECOVER, cryptoki.CKA_ALWAYS_AUTHENTICATE}},
		// SunPKCS11 sets no CKA_DERIVE on EC keys and derives with them.
		{"EC private", ecPrivate, []cryptoki.AttributeType{cryptoki.CKA_SIGN, cryptoki.CKA_DERIVE}, []cryptoki.AttributeType{cryptoki.CKA_DECRYPT, cryptoki.CKA_UNWRAP}},
		{"Edwards public", edPublic, []cryptoki.AttributeType{cryptoki.CKA_VERIFY}, []cryptoki.AttributeType{cryptoki.CKA_DERIVE, cryptoki.CKA_ENCRYPT}},
		{"AES", aesKey, []cryptoki.AttributeType{cryptoki.CKA_PRIVATE, cryptoki.CKA_SENSITIVE, cryptoki.CKA_ENCRYPT, cryptoki.CKA_DECRYPT}, []cryptoki.AttributeType{cryptoki.CKA_EXTRACTABLE, cryptoki.CKA_DERIVE}},
		{"generic", genericKey, []cryptoki.AttributeType{cryptoki.CKA_SIGN, cryptoki.CKA_VERIFY}, []cryptoki.AttributeType{cryptoki.CKA_ENCRYPT, cryptoki.CKA_DECRYPT, cryptoki.CKA_DERIVE}},
		{"EC that shall decrypt", with(ecPrivate, cryptoki.Bool(cryptoki.CKA_DECRYPT, true)), []cryptoki.AttributeType{cryptoki.CKA_SIGN}, []cryptoki.AttributeType{cryptoki.CKA_DECRYPT}},
		{"AES, not sensitive", with(aesKey, cryptoki.Bool(cryptoki.CKA_SENSITIVE, false)), nil, []cryptoki.AttributeType{cryptoki.CKA_SENSITIVE, cryptoki.CKA_EXTRACTABLE}},
		{"AES that may not encrypt", with(aesKey, cryptoki.Bool(cryptoki.CKA_ENCRYPT, false)), []cryptoki.AttributeType{cryptoki.CKA_DECRYPT}, []cryptoki.AttributeType{cryptoki.CKA_ENCRYPT}},
	} {
		as := create(t, test.template)
		for _, a := range test.yes {
			if !as.Bool(a) {
				t.Errorf("%s: %v is not true", test.name, a)
			}
		}
		for _, a := range test.no {
			if !as.Has(a) || as.Bool(a) {
				t.Errorf("%s: %v is not false", test.name, a)
			}
		}
	}
	if m, ok := create(t, rsaPublic).Ulong(cryptoki.CKA_KEY_GEN_MECHANISM); !ok || m != cryptoki.Unavailable {
		t.Error("a created key has a generation mechanism")
	}
	if n, ok := create(t, aesKey).Ulong(cryptoki.CKA_VALUE_LEN); !ok || n != 16 {
		t.Error("CKA_VALUE_LEN", n)
	}
	if n, ok := create(t, rsaPublic).Ulong(cryptoki.CKA_MODULUS_BITS); !ok || n != 2048 {
		t.Error("CKA_MODULUS_BITS", n)
	}
	sum := sha1.Sum(modulus)
	padded := create(t, replace(rsaPublic, cryptoki.Bytes(cryptoki.CKA_MODULUS, append([]byte{0}, modulus...))))
	if !bytes.Equal(padded.Bytes(cryptoki.CKA_MODULUS), modulus) || !bytes.Equal(padded.Bytes(cryptoki.CKA_ID), sum[:]) {
		t.Error("a leading zero")
	}
	if id := create(t, with(rsaPublic, cryptoki.Bytes(cryptoki.CKA_ID, nil))).Bytes(cryptoki.CKA_ID); len(id) != 0 {
		t.Errorf("an id that was to be empty is %x", id)
	}
	sum = sha1.Sum(point)
	raw := create(t, replace(ecPublic, cryptoki.Bytes(cryptoki.CKA_EC_POINT, point)))
	if !bytes.Equal(raw.Bytes(cryptoki.CKA_ID), sum[:]) || !bytes.Equal(raw.Bytes(cryptoki.CKA_EC_POINT), curve.OctetString(point)) {
		t.Error("the point's form")
	}
	if _, err := x509.ParsePKIXPublicKey(raw.Bytes(cryptoki.CKA_PUBLIC_KEY_INFO)); err != nil {
		t.Error(err)
	}
	if as := create(t, with(aesKey, cryptoki.Bytes(cryptoki.CKA_TOKEN, []byte{0xff}))); !bytes.Equal(as.Bytes(cryptoki.CKA_TOKEN), []byte{1}) {
		t.Error("CK_TRUE has one form")
	}
}

func TestGenerateSecretKey(t *testing.T) {
	length := func(n uint64) cryptoki.Attribute { return cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, n) }
	for _, test := range []struct {
		name      string
		mechanism cryptoki.MechanismType
		template  cryptoki.Attributes
		want      cryptoki.RV
	}{
		{"AES", cryptoki.CKM_AES_KEY_GEN, cryptoki.Attributes{length(32)}, cryptoki.CKR_OK},
		{"AES with class and type", cryptoki.CKM_AES_KEY_GEN, key(cryptoki.CKO_SECRET_KEY, cryptoki.CKK_AES, length(16)), cryptoki.CKR_OK},
		{"AES without length", cryptoki.CKM_AES_KEY_GEN, nil, cryptoki.CKR_TEMPLATE_INCOMPLETE},
		{"AES of 20", cryptoki.CKM_AES_KEY_GEN, cryptoki.Attributes{length(20)}, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"AES of 2^60", cryptoki.CKM_AES_KEY_GEN, cryptoki.Attributes{length(1 << 60)}, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"AES with a value", cryptoki.CKM_AES_KEY_GEN, cryptoki.Attributes{length(16), cryptoki.Bytes(cryptoki.CKA_VALUE, make([]byte, 16))}, cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"AES as generic", cryptoki.CKM_AES_KEY_GEN, key(cryptoki.CKO_SECRET_KEY, cryptoki.CKK_GENERIC_SECRET, length(16)), cryptoki.CKR_TEMPLATE_INCONSISTENT},
		{"AES as private key", cryptoki.CKM_AES_KEY_GEN, class(cryptoki.CKO_PRIVATE_KEY, length(16)), cryptoki.CKR_TEMPLATE_INCONSISTENT},
		{"generic", cryptoki.CKM_GENERIC_SECRET_KEY_GEN, cryptoki.Attributes{length(1)}, cryptoki.CKR_OK},
		{"HMAC by the generic mechanism", cryptoki.CKM_GENERIC_SECRET_KEY_GEN, key(cryptoki.CKO_SECRET_KEY, cryptoki.CKK_SHA256_HMAC, length(32)), cryptoki.CKR_OK},
		{"generic of none", cryptoki.CKM_GENERIC_SECRET_KEY_GEN, cryptoki.Attributes{length(0)}, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"CKA_LOCAL", cryptoki.CKM_AES_KEY_GEN, cryptoki.Attributes{length(16), cryptoki.Bool(cryptoki.CKA_LOCAL, true)}, cryptoki.CKR_ATTRIBUTE_READ_ONLY},
	} {
		as, err := New(Generate, test.mechanism, test.template)
		wantRV(t, test.name, err, test.want)
		if err != nil {
			continue
		}
		checkComplete(t, as)
		if m, _ := as.Ulong(cryptoki.CKA_KEY_GEN_MECHANISM); !as.Bool(cryptoki.CKA_LOCAL) || m != uint64(test.mechanism) || !as.Bool(cryptoki.CKA_ALWAYS_SENSITIVE) || !as.Bool(cryptoki.CKA_NEVER_EXTRACTABLE) {
			t.Errorf("%s: its history is wrong: %v", test.name, as)
		}
	}
	open := cryptoki.Attributes{length(16), cryptoki.Bool(cryptoki.CKA_SENSITIVE, false), cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, true)}
	as, err := New(Generate, cryptoki.CKM_AES_KEY_GEN, open)
	if err != nil || as.Bool(cryptoki.CKA_ALWAYS_SENSITIVE) || as.Bool(cryptoki.CKA_NEVER_EXTRACTABLE) || !Readable(as) {
		t.Error(as, err)
	}
}

func TestDerive(t *testing.T) {
	// SunPKCS11's ECDH asks for class and key type only and then reads the value.
	as, err := New(Derive, cryptoki.CKM_ECDH1_DERIVE, key(cryptoki.CKO_SECRET_KEY, cryptoki.CKK_GENERIC_SECRET))
	if err != nil || !Readable(as) || as.Has(cryptoki.CKA_VALUE_LEN) || as.Bool(cryptoki.CKA_LOCAL) {
		t.Error(as, err)
	}
	checkComplete(t, as)
	for name, more := range map[string]cryptoki.Attribute{
		"a token object": cryptoki.Bool(cryptoki.CKA_TOKEN, true), "sensitive": cryptoki.Bool(cryptoki.CKA_SENSITIVE, true),
		"not extractable": cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, false),
	} {
		as, err := New(Derive, cryptoki.CKM_ECDH1_DERIVE, cryptoki.Attributes{more})
		if err != nil || Readable(as) {
			t.Errorf("%s: %v %v", name, as, err)
		}
	}
	_, err = New(Derive, cryptoki.CKM_ECDH1_DERIVE, key(cryptoki.CKO_SECRET_KEY, cryptoki.CKK_AES))
	wantRV(t, "AES of no size", err, cryptoki.CKR_TEMPLATE_INCOMPLETE)
	_, err = New(Derive, cryptoki.CKM_ECDH1_DERIVE, class(cryptoki.CKO_PUBLIC_KEY))
	wantRV(t, "a public key", err, cryptoki.CKR_TEMPLATE_INCONSISTENT)
	sensitive, err := New(Derive, cryptoki.CKM_ECDH1_DERIVE, cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_SENSITIVE, true)})
	if err != nil {
		t.Fatal(err)
	}
	base := cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_ALWAYS_SENSITIVE, true), cryptoki.Bool(cryptoki.CKA_NEVER_EXTRACTABLE, true)}
	if got := Inherit(sensitive, base); !got.Bool(cryptoki.CKA_ALWAYS_SENSITIVE) || !got.Bool(cryptoki.CKA_NEVER_EXTRACTABLE) {
		t.Error(got)
	}
	if got := Inherit(as, base); got.Bool(cryptoki.CKA_ALWAYS_SENSITIVE) || got.Bool(cryptoki.CKA_NEVER_EXTRACTABLE) {
		t.Error(got)
	}
	if got := Inherit(sensitive, nil); got.Bool(cryptoki.CKA_ALWAYS_SENSITIVE) || got.Bool(cryptoki.CKA_NEVER_EXTRACTABLE) {
		t.Error(got)
	}
}

func TestUnwrap(t *testing.T) {
	as, err := New(Unwrap, cryptoki.CKM_RSA_PKCS, key(cryptoki.CKO_PRIVATE_KEY, cryptoki.CKK_RSA))
	if err != nil || as.Bool(cryptoki.CKA_LOCAL) || as.Bool(cryptoki.CKA_ALWAYS_SENSITIVE) {
		t.Error(as, err)
	}
	checkComplete(t, as)
	_, err = New(Unwrap, cryptoki.CKM_RSA_PKCS, nil)
	wantRV(t, "nothing", err, cryptoki.CKR_TEMPLATE_INCOMPLETE)
	_, err = New(Unwrap, cryptoki.CKM_RSA_PKCS, aesKey)
	wantRV(t, "with a value", err, cryptoki.CKR_ATTRIBUTE_READ_ONLY)
}

func TestNewKeyPair(t *testing.T) {
	rsaGen := cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN}
	ecGen := cryptoki.Mechanism{Type: cryptoki.CKM_EC_KEY_PAIR_GEN}
	edGen := cryptoki.Mechanism{Type: cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN}
	bits := cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_MODULUS_BITS, uint64(2048))}
	params := func(b []byte) cryptoki.Attributes {
		return cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, b)}
	}
	edwards25519 := append([]byte{0x13, 12}, "edwards25519"...)
	for _, test := range []struct {
		name            string
		m               cryptoki.Mechanism
		public, private cryptoki.Attributes
		want            cryptoki.RV
	}{
		// Java's KeyPairGenerator gives an empty private template.
		{"RSA as Java asks", rsaGen, with(bits, cryptoki.Bytes(cryptoki.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1})), nil, cryptoki.CKR_OK},
		{"RSA with classes", rsaGen, key(cryptoki.CKO_PUBLIC_KEY, cryptoki.CKK_RSA, bits...), key(cryptoki.CKO_PRIVATE_KEY, cryptoki.CKK_RSA), cryptoki.CKR_OK},
		// pkcs11-tool asks for everything on one key.
		{"RSA as pkcs11-tool asks", rsaGen, with(bits, cryptoki.Bool(cryptoki.CKA_VERIFY, true), cryptoki.Bool(cryptoki.CKA_ENCRYPT, true)), cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_SIGN, true), cryptoki.Bool(cryptoki.CKA_DECRYPT, true)}, cryptoki.CKR_OK},
		{"RSA without size", rsaGen, nil, nil, cryptoki.CKR_TEMPLATE_INCOMPLETE},
		{"RSA of 512 bits", rsaGen, cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_MODULUS_BITS, uint64(512))}, nil, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"RSA with a modulus", rsaGen, with(bits, cryptoki.Bytes(cryptoki.CKA_MODULUS, modulus)), nil, cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"RSA with a private exponent", rsaGen, bits, cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_PRIVATE_EXPONENT, modulus)}, cryptoki.CKR_ATTRIBUTE_READ_ONLY},
		{"RSA with classes swapped", rsaGen, with(bits, cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PRIVATE_KEY)), nil, cryptoki.CKR_TEMPLATE_INCONSISTENT},
		{"RSA as EC", rsaGen, with(bits, cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_EC)), nil, cryptoki.CKR_TEMPLATE_INCONSISTENT},
		{"RSA, exponents differ", rsaGen, with(bits, cryptoki.Bytes(cryptoki.CKA_PUBLIC_EXPONENT, []byte{3})), cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1})}, cryptoki.CKR_TEMPLATE_INCONSISTENT},
		{"EC", ecGen, params(p256.Params), nil, cryptoki.CKR_OK},
		{"EC, curve in both", ecGen, params(p256.Params), params(p256.Params), cryptoki.CKR_OK},
		{"EC, two curves", ecGen, params(p256.Params), params(curve.All()[2].Params), cryptoki.CKR_TEMPLATE_INCONSISTENT},
		{"EC without curve", ecGen, nil, params(p256.Params), cryptoki.CKR_TEMPLATE_INCOMPLETE},
		// The provider knows its curves.
		{"EC on another curve", ecGen, params([]byte{6, 5, 0x2b, 0x81, 4, 0, 0xa}), nil, cryptoki.CKR_OK},
		{"EC on nothing", ecGen, params([]byte{5, 0}), nil, cryptoki.CKR_DOMAIN_PARAMS_INVALID},
		{"EC on Edwards' curve", ecGen, params(ed.Params), nil, cryptoki.CKR_TEMPLATE_INCONSISTENT},
		{"Edwards", edGen, params(ed.Params), nil, cryptoki.CKR_OK},
		{"Edwards as pkcs11-tool names it", edGen, params(edwards25519), nil, cryptoki.CKR_OK},
		{"AES", cryptoki.Mechanism{Type: cryptoki.CKM_AES_KEY_GEN}, nil, nil, cryptoki.CKR_MECHANISM_INVALID},
		{"always authenticate, public", rsaGen, bits, cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_ALWAYS_AUTHENTICATE, true), cryptoki.Bool(cryptoki.CKA_PRIVATE, false)}, cryptoki.CKR_TEMPLATE_INCONSISTENT},
	} {
		pub, priv, err := NewKeyPair(test.m, test.public, test.private)
		wantRV(t, test.name, err, test.want)
		if err != nil {
			continue
		}
		checkComplete(t, pub)
		checkComplete(t, priv)
		if !priv.Bool(cryptoki.CKA_LOCAL) || !priv.Bool(cryptoki.CKA_ALWAYS_SENSITIVE) || !pub.Bool(cryptoki.CKA_VERIFY) || !priv.Bool(cryptoki.CKA_SIGN) {
			t.Errorf("%s: %v", test.name, priv)
		}
		if !bytes.Equal(pub.Bytes(cryptoki.CKA_EC_PARAMS), priv.Bytes(cryptoki.CKA_EC_PARAMS)) {
			t.Errorf("%s: the halves differ", test.name)
		}
	}
}

func TestComplete(t *testing.T) {
	pub, priv, err := NewKeyPair(cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN}, cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_MODULUS_BITS, uint64(2048))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	generated := cryptoki.Attributes{
		cryptoki.Bytes(cryptoki.CKA_MODULUS, append([]byte{0}, modulus...)), cryptoki.Bytes(cryptoki.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}),
		cryptoki.Bytes(cryptoki.CKA_PRIVATE_EXPONENT, modulus), cryptoki.Bytes(cryptoki.CKA_LABEL, []byte("the provider's")),
	}
	donePub, donePriv := Complete(pub, priv, generated)
	sum := sha1.Sum(modulus)
	for _, half := range []cryptoki.Attributes{donePub, donePriv} {
		checkComplete(t, half)
		if !bytes.Equal(half.Bytes(cryptoki.CKA_MODULUS), modulus) || !bytes.Equal(half.Bytes(cryptoki.CKA_ID), sum[:]) || len(half.Bytes(cryptoki.CKA_PUBLIC_KEY_INFO)) == 0 || len(half.Bytes(cryptoki.CKA_LABEL)) != 0 {
			t.Error(half)
		}
		if half.Has(cryptoki.CKA_PRIVATE_EXPONENT) {
			t.Error("a secret slipped into the object")
		}
	}
	if len(pub.Bytes(cryptoki.CKA_ID)) != 0 || pub.Has(cryptoki.CKA_MODULUS) {
		t.Error("the input changed")
	}
	// One half has an id: the other gets it.
	pub.Set(cryptoki.Bytes(cryptoki.CKA_ID, []byte{7}))
	_, donePriv = Complete(pub, priv, generated)
	if !bytes.Equal(donePriv.Bytes(cryptoki.CKA_ID), []byte{7}) {
		t.Errorf("%x", donePriv.Bytes(cryptoki.CKA_ID))
	}
	// pkcs11-tool reads the form of CKA_EC_PARAMS that it gave.
	edwards25519 := append([]byte{0x13, 12}, "edwards25519"...)
	edPub, edPriv, err := NewKeyPair(cryptoki.Mechanism{Type: cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN}, cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, edwards25519)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edPub, edPriv = Complete(edPub, edPriv, cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, ed.Params), cryptoki.Bytes(cryptoki.CKA_EC_POINT, curve.OctetString(public))})
	sum = sha1.Sum(public)
	if !bytes.Equal(edPub.Bytes(cryptoki.CKA_EC_PARAMS), edwards25519) || !bytes.Equal(edPriv.Bytes(cryptoki.CKA_ID), sum[:]) || !edPriv.Has(cryptoki.CKA_EC_POINT) {
		t.Error(edPub, edPriv)
	}
	if a, b := Complete(nil, nil, generated); a != nil || b != nil {
		t.Error(a, b)
	}
}

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

func TestPublicFromPrivate(t *testing.T) {
	private := create(t, with(ecPrivate, cryptoki.Bytes(cryptoki.CKA_EC_POINT, curve.OctetString(point)), cryptoki.String(cryptoki.CKA_LABEL, "l"),
		cryptoki.Bool(cryptoki.CKA_TOKEN, true), cryptoki.Bool(cryptoki.CKA_SIGN, false)))
	public, ok := PublicFromPrivate(private)
	if !ok {
		t.Fatal("no public key")
	}
	checkComplete(t, public)
	if c, _ := public.Class(); c != cryptoki.CKO_PUBLIC_KEY || string(public.Bytes(cryptoki.CKA_LABEL)) != "l" || !public.Bool(cryptoki.CKA_TOKEN) ||
		public.Bool(cryptoki.CKA_PRIVATE) || public.Bool(cryptoki.CKA_VERIFY) || !public.Bool(cryptoki.CKA_DERIVE) || public.Has(cryptoki.CKA_VALUE) ||
		!bytes.Equal(public.Bytes(cryptoki.CKA_ID), private.Bytes(cryptoki.CKA_ID)) {
		t.Error(public)
	}
	public, ok = PublicFromPrivate(create(t, rsaPrivate))
	if n, _ := public.Ulong(cryptoki.CKA_MODULUS_BITS); !ok || n != 2048 || public.Has(cryptoki.CKA_PRIVATE_EXPONENT) {
		t.Error(public)
	}
	for _, as := range []cryptoki.Attributes{nil, create(t, ecPrivate), create(t, aesKey), create(t, rsaPublic)} {
		if public, ok := PublicFromPrivate(as); ok {
			t.Error(public)
		}
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

// FuzzNew: no template makes it panic, and what it accepts is complete, splits, copies, matches itself and can be made
// again from what an application may give.
func FuzzNew(f *testing.F) {
	for _, template := range everyObject {
		f.Add(wire.MarshalAttributes(template), uint8(Create), uint64(0))
	}
	f.Add(wire.MarshalAttributes(cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, uint64(16))}), uint8(Generate), uint64(cryptoki.CKM_AES_KEY_GEN))
	f.Add(wire.MarshalAttributes(key(cryptoki.CKO_SECRET_KEY, cryptoki.CKK_GENERIC_SECRET)), uint8(Derive), uint64(cryptoki.CKM_ECDH1_DERIVE))
	f.Add(wire.MarshalAttributes(with(aesKey, cryptoki.Bytes(cryptoki.CKA_WRAP_TEMPLATE, wire.MarshalAttributes(aesKey)))), uint8(Unwrap), uint64(1))
	f.Fuzz(func(t *testing.T, encoded []byte, purpose uint8, mechanism uint64) {
		template, err := wire.UnmarshalAttributes(encoded)
		if err != nil {
			return
		}
		before := template.Clone()
		as, err := New(Purpose(purpose%4), cryptoki.MechanismType(mechanism), template)
		if len(before) > 0 && !reflect.DeepEqual(template, before) {
			t.Fatal("the template changed")
		}
		if err != nil {
			return
		}
		checkComplete(t, as)
		if copied, err := Copy(as, nil); err == nil {
			checkComplete(t, copied)
		}
		if open, _ := Split(as); !Match(as, open) {
			t.Fatal("does not match itself")
		}
		if Purpose(purpose%4) != Create {
			return
		}
		c, f := shape(as)
		var again cryptoki.Attributes
		for _, a := range as {
			if r, ok := find(c, f, a.Type); ok && (r.flags&notCreate == 0 || r.flags&fact != 0) {
				again = append(again, a)
			}
		}
		if second, err := New(Create, 0, again); err != nil || !reflect.DeepEqual(second, as) {
			t.Fatalf("%v\nis not itself any more (%v):\n%v", as, err, second)
		}
	})
}

func FuzzSet(f *testing.F) {
	f.Add(wire.MarshalAttributes(cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_SENSITIVE, true)}))
	f.Add(wire.MarshalAttributes(cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, true), cryptoki.Bytes(cryptoki.CKA_LABEL, []byte("x"))}))
	f.Add(wire.MarshalAttributes(cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_TOKEN, true), cryptoki.Bool(cryptoki.CKA_PRIVATE, false)}))
	var objects []cryptoki.Attributes
	for _, template := range everyObject {
		objects = append(objects, create(f, template))
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		changes, err := wire.UnmarshalAttributes(encoded)
		if err != nil {
			return
		}
		for _, as := range objects {
			_ = Match(as, changes)
			for _, change := range []func(cryptoki.Attributes, cryptoki.Attributes) (cryptoki.Attributes, error){Set, Copy} {
				after, err := change(as, changes)
				if err != nil {
					continue
				}
				checkComplete(t, after)
				if as.Bool(cryptoki.CKA_SENSITIVE) && !after.Bool(cryptoki.CKA_SENSITIVE) || !as.Bool(cryptoki.CKA_EXTRACTABLE) && after.Bool(cryptoki.CKA_EXTRACTABLE) {
					t.Fatal("a protection was lost")
				}
			}
		}
	})
}
