package softkey

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// TestRSAWithoutPrimes: Java imports keys of only modulus and exponents.
func TestRSAWithoutPrimes(t *testing.T) {
	for range 3 {
		p := rsa2048()
		short := p.private.Clone()
		for _, a := range []cryptoki.AttributeType{
			cryptoki.CKA_PRIME_1, cryptoki.CKA_PRIME_2, cryptoki.CKA_EXPONENT_1, cryptoki.CKA_EXPONENT_2, cryptoki.CKA_COEFFICIENT,
		} {
			short.Remove(a)
		}
		m := cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_RSA_PKCS}
		if !bytes.Equal(must(load(t, short).Sign(m, nil)), must(load(t, p.private).Sign(m, nil))) {
			t.Error("signatures differ")
		}
	}
}

func TestKeysThatAreNone(t *testing.T) {
	r, e, d := rsa2048(), curvePair(t, "P-256"), curvePair(t, "Ed25519")
	with := func(as cryptoki.Attributes, a cryptoki.Attribute) cryptoki.Attributes {
		c := as.Clone()
		c.Set(a)
		return c
	}
	without := func(as cryptoki.Attributes, t cryptoki.AttributeType) cryptoki.Attributes {
		c := as.Clone()
		c.Remove(t)
		return c
	}
	flip := func(as cryptoki.Attributes, t cryptoki.AttributeType) cryptoki.Attributes {
		value := bytes.Clone(as.Bytes(t))
		value[len(value)-1] ^= 2
		return with(as, cryptoki.Bytes(t, value))
	}
	for _, test := range []struct {
		name string
		as   cryptoki.Attributes
		want cryptoki.RV
	}{
		{"nothing", nil, cryptoki.CKR_TEMPLATE_INCOMPLETE},
		{"no modulus", without(r.public, cryptoki.CKA_MODULUS), cryptoki.CKR_TEMPLATE_INCOMPLETE},
		{"no exponent", without(r.private, cryptoki.CKA_PUBLIC_EXPONENT), cryptoki.CKR_TEMPLATE_INCOMPLETE},
		{"no private exponent", without(r.private, cryptoki.CKA_PRIVATE_EXPONENT), cryptoki.CKR_TEMPLATE_INCOMPLETE},
		{"other private exponent", flip(r.private, cryptoki.CKA_PRIVATE_EXPONENT), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"other prime", flip(r.private, cryptoki.CKA_PRIME_1), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"other CRT exponent", flip(r.private, cryptoki.CKA_EXPONENT_1), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"other coefficient", flip(r.private, cryptoki.CKA_COEFFICIENT), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"even modulus", with(r.public, cryptoki.Bytes(cryptoki.CKA_MODULUS, append(bytes.Repeat([]byte{1}, 255), 2))), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"tiny modulus", with(r.public, cryptoki.Bytes(cryptoki.CKA_MODULUS, []byte{77})), cryptoki.CKR_KEY_SIZE_RANGE},
		{"huge modulus", with(r.public, cryptoki.Bytes(cryptoki.CKA_MODULUS, bytes.Repeat([]byte{77}, 1025))), cryptoki.CKR_KEY_SIZE_RANGE},
		{"exponent 1", with(r.public, cryptoki.Bytes(cryptoki.CKA_PUBLIC_EXPONENT, []byte{1})), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"point of another key", with(e.private, cryptoki.Bytes(cryptoki.CKA_EC_POINT, curvePair(t, "P-256").public.Bytes(cryptoki.CKA_EC_POINT))), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"point off the curve", flip(e.public, cryptoki.CKA_EC_POINT), cryptoki.CKR_PUBLIC_KEY_INVALID},
		{"no point", without(e.public, cryptoki.CKA_EC_POINT), cryptoki.CKR_TEMPLATE_INCOMPLETE},
		{"no scalar", without(e.private, cryptoki.CKA_VALUE), cryptoki.CKR_TEMPLATE_INCOMPLETE},
		{"scalar 0", with(e.private, cryptoki.Bytes(cryptoki.CKA_VALUE, make([]byte, 32))), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"scalar too large", with(e.private, cryptoki.Bytes(cryptoki.CKA_VALUE, bytes.Repeat([]byte{0xff}, 32))), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"unknown curve", with(e.public, cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, []byte{6, 5, 0x2b, 0x81, 4, 0, 0xa})), cryptoki.CKR_CURVE_NOT_SUPPORTED},
		{"no curve", with(e.public, cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, []byte{5, 0})), cryptoki.CKR_DOMAIN_PARAMS_INVALID},
		{"Edwards key on P-256", with(d.public, cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, e.public.Bytes(cryptoki.CKA_EC_PARAMS))), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"short seed", with(d.private, cryptoki.Bytes(cryptoki.CKA_VALUE, make([]byte, 31))), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"a certificate", with(r.public, cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_CERTIFICATE)), cryptoki.CKR_KEY_HANDLE_INVALID},
		{"DSA", with(r.public, cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_DSA)), cryptoki.CKR_KEY_TYPE_INCONSISTENT},
		{"AES of 17 bytes", secretKey(cryptoki.CKK_AES, make([]byte, 17)), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		{"an empty secret", secretKey(cryptoki.CKK_GENERIC_SECRET, nil), cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := FromAttributes(test.as)
			wantRV(t, err, test.want)
		})
	}
}

func TestECForms(t *testing.T) {
	for _, c := range Curves {
		p := curvePair(t, c.Name)
		point, ok := c.Point(p.public.Bytes(cryptoki.CKA_EC_POINT))
		if !ok {
			t.Fatal(c.Name)
		}
		// The point itself without the DER header, and the scalar with leading zeros or without its own.
		public := p.public.Clone()
		public.Set(cryptoki.Bytes(cryptoki.CKA_EC_POINT, point))
		private := p.private.Clone()
		private.Remove(cryptoki.CKA_EC_POINT)
		if c.Elliptic != nil {
			private.Set(cryptoki.Bytes(cryptoki.CKA_VALUE, append([]byte{0, 0}, private.Bytes(cryptoki.CKA_VALUE)...)))
		} else {
			params := append([]byte{0x13, 12}, "edwards25519"...)
			public.Set(cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, params))
			private.Set(cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, params))
		}
		m := cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA_SHA256}
		if c.Elliptic == nil {
			m.Type = cryptoki.CKM_EDDSA
		}
		k := load(t, private)
		if err := load(t, public).Verify(m, []byte("x"), must(k.Sign(m, []byte("x")))); err != nil {
			t.Error(c.Name, err)
		}
		if got := k.PublicAttributes(); !bytes.Equal(got.Bytes(cryptoki.CKA_EC_POINT), p.public.Bytes(cryptoki.CKA_EC_POINT)) {
			t.Error(c.Name, "point")
		}
	}
}

func TestGenerate(t *testing.T) {
	rsaGen := cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN}
	bits := func(n uint64) cryptoki.Attributes {
		return cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_MODULUS_BITS, n)}
	}
	open, secret, err := GenerateKeyPair(rsaGen, bits(2048), nil)
	if err != nil {
		t.Fatal(err)
	}
	as := append(cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PRIVATE_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_RSA),
	}, append(open, secret...)...)
	if k := load(t, as); k.rsaPublic.N.BitLen() != 2048 || k.rsaPublic.E != 65537 {
		t.Error("not what was asked for")
	}
	for _, n := range []uint64{0, 1024, 2047, 8193, 1 << 40} {
		_, _, err = GenerateKeyPair(rsaGen, bits(n), nil)
		wantRV(t, err, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID)
	}
	_, _, err = GenerateKeyPair(rsaGen, append(bits(2048), cryptoki.Bytes(cryptoki.CKA_PUBLIC_EXPONENT, []byte{3})), nil)
	wantRV(t, err, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID)
	_, _, err = GenerateKeyPair(rsaGen, nil, nil)
	wantRV(t, err, cryptoki.CKR_TEMPLATE_INCOMPLETE)
	_, _, err = GenerateKeyPair(cryptoki.Mechanism{Type: cryptoki.CKM_AES_KEY_GEN}, nil, nil)
	wantRV(t, err, cryptoki.CKR_MECHANISM_INVALID)
	for _, c := range Curves {
		m := cryptoki.Mechanism{Type: cryptoki.CKM_EC_KEY_PAIR_GEN}
		other := cryptoki.Mechanism{Type: cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN}
		if c.Elliptic == nil {
			m, other = other, m
		}
		params := cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, c.Params)}
		open, secret, err := GenerateKeyPair(m, params, nil)
		if err != nil || len(secret.Bytes(cryptoki.CKA_VALUE)) != c.Bytes() || len(open.Bytes(cryptoki.CKA_EC_POINT)) <= c.PointLength() {
			t.Errorf("%s: %v %v", c.Name, open, err)
		}
		_, _, err = GenerateKeyPair(other, params, nil)
		wantRV(t, err, cryptoki.CKR_CURVE_NOT_SUPPORTED)
	}
	for _, n := range []uint64{16, 24, 32} {
		secret, err := GenerateSecret(cryptoki.Mechanism{Type: cryptoki.CKM_AES_KEY_GEN}, cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, n)})
		if err != nil || uint64(len(secret.Bytes(cryptoki.CKA_VALUE))) != n || bytes.Equal(secret.Bytes(cryptoki.CKA_VALUE), make([]byte, n)) {
			t.Error(n, err)
		}
	}
	for _, n := range []uint64{0, 15, 64} {
		_, err := GenerateSecret(cryptoki.Mechanism{Type: cryptoki.CKM_AES_KEY_GEN}, cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, n)})
		wantRV(t, err, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID)
	}
}

func TestPrivateAttributesOfPKCS8(t *testing.T) {
	for _, native := range []any{rsa2048().native, curvePair(t, "P-384").native, curvePair(t, "Ed25519").native} {
		parsed := must(x509.ParsePKCS8PrivateKey(must(x509.MarshalPKCS8PrivateKey(native))))
		p := nativePair(parsed)
		k := load(t, p.private)
		public := native.(interface{ Public() crypto.PublicKey }).Public()
		if !bytes.Equal(must(x509.MarshalPKIXPublicKey(k.Public())), must(x509.MarshalPKIXPublicKey(public))) {
			t.Errorf("%T: another public key", native)
		}
	}
	if _, _, err := PrivateAttributes(must(ecdh.X25519().GenerateKey(rand.Reader))); fault.RV(err) != cryptoki.CKR_KEY_TYPE_INCONSISTENT {
		t.Error(err)
	}
	if _, _, err := PrivateAttributes(nil); err == nil {
		t.Error("nil is no key")
	}
}

func TestWipe(t *testing.T) {
	for _, p := range []pair{rsa2048(), curvePair(t, "P-256"), curvePair(t, "Ed25519")} {
		k := load(t, p.private)
		var numbers []*big.Int
		if k.rsaPrivate != nil {
			numbers = append(numbers, k.rsaPrivate.D, k.rsaPrivate.Primes[0])
		}
		seed := k.edPrivate
		k.Wipe()
		for _, n := range numbers {
			for _, word := range n.Bits() {
				if word != 0 {
					t.Error("a number is left")
				}
			}
		}
		for _, b := range seed {
			if b != 0 {
				t.Error("the seed is left")
			}
		}
		for _, m := range []cryptoki.MechanismType{cryptoki.CKM_RSA_PKCS, cryptoki.CKM_ECDSA, cryptoki.CKM_EDDSA} {
			if _, err := k.Sign(cryptoki.Mechanism{Type: m}, []byte{1}); err == nil {
				t.Error("a wiped key signs")
			}
		}
	}
	k := load(t, secretKey(cryptoki.CKK_AES, make([]byte, 16)))
	k.Wipe()
	_, err := k.Encrypt(cryptoki.Mechanism{Type: cryptoki.CKM_AES_ECB}, make([]byte, 16))
	wantRV(t, err, cryptoki.CKR_KEY_HANDLE_INVALID)
}

func secretKey(t cryptoki.KeyType, value []byte) cryptoki.Attributes {
	return cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, t),
		cryptoki.Bytes(cryptoki.CKA_VALUE, value),
	}
}
