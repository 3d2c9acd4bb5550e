package object

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
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

		{"public key info of another key", with(ecPublic, y(cryptoki.CKA_PUBLIC_KEY_INFO, publicKeyInfo(rsaPublic))), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"public key info", with(rsaPrivate, y(cryptoki.CKA_PUBLIC_KEY_INFO, publicKeyInfo(rsaPublic))), cryptoki.CKR_OK},
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
