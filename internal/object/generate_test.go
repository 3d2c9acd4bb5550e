package object

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha1"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
)

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
