package softkey

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"sync"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// pair is a key pair as attributes, as an object would hold it.
type pair struct {
	public, private cryptoki.Attributes
	native          any
}

var (
	rsa2048 = sync.OnceValue(func() pair { return nativePair(must(rsa.GenerateKey(rand.Reader, 2048))) })
	rsa1031 = sync.OnceValue(func() pair { return nativePair(must(rsa.GenerateKey(rand.Reader, 1031))) })
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func nativePair(native any) pair {
	open, secret, err := PrivateAttributes(native)
	if err != nil {
		panic(err)
	}
	class := func(c cryptoki.ObjectClass) cryptoki.Attributes {
		return append(cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_CLASS, c)}, open.Clone()...)
	}
	return pair{class(cryptoki.CKO_PUBLIC_KEY), append(class(cryptoki.CKO_PRIVATE_KEY), secret...), native}
}

func curvePair(t testing.TB, name string) pair {
	t.Helper()
	c, ok := curve.ByName(name)
	if !ok {
		t.Fatal(name)
	}
	if c.Elliptic == nil {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return nativePair(must(private, err))
	}
	return nativePair(must(ecdsa.GenerateKey(c.Elliptic, rand.Reader)))
}

func load(t testing.TB, as cryptoki.Attributes) *Key {
	t.Helper()
	k, err := FromAttributes(as)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func wantRV(t *testing.T, err error, want cryptoki.RV) {
	t.Helper()
	if got := fault.RV(err); got != want {
		t.Errorf("got %v (%v), want %v", got, err, want)
	}
}

// signatures lists every signature mechanism with data that its raw form takes.
func signatures() []struct {
	m    cryptoki.Mechanism
	key  func(testing.TB) pair
	data []byte
} {
	r := func(testing.TB) pair { return rsa2048() }
	odd := func(testing.TB) pair { return rsa1031() }
	on := func(name string) func(testing.TB) pair {
		return func(t testing.TB) pair { return curvePair(t, name) }
	}
	digest := sha256.Sum256([]byte("data"))
	pss := func(salt uint64, mgf uint64) cryptoki.PSSParams {
		return cryptoki.PSSParams{Hash: cryptoki.CKM_SHA256, MGF: mgf, SaltLength: salt}
	}
	return []struct {
		m    cryptoki.Mechanism
		key  func(testing.TB) pair
		data []byte
	}{
		{cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, r, []byte("anything")},
		{cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, r, nil},
		{cryptoki.Mechanism{Type: cryptoki.CKM_RSA_X_509}, r, []byte{1, 2, 3}},
		{cryptoki.Mechanism{Type: cryptoki.CKM_RSA_X_509}, odd, []byte{0, 0, 9}},
		{cryptoki.Mechanism{Type: cryptoki.CKM_SHA1_RSA_PKCS}, r, []byte("data")},
		{cryptoki.Mechanism{Type: cryptoki.CKM_SHA512_RSA_PKCS}, odd, []byte("data")},
		{cryptoki.Mechanism{Type: cryptoki.CKM_SHA3_256_RSA_PKCS}, r, []byte("data")},
		{cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_PSS, Params: pss(32, cryptoki.CKG_MGF1_SHA256)}, r, digest[:]},
		{cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_PSS, Params: pss(20, cryptoki.CKG_MGF1_SHA1)}, r, digest[:]},
		{cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_PSS, Params: pss(0, cryptoki.CKG_MGF1_SHA256)}, r, digest[:]},
		{cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_PSS, Params: pss(0, cryptoki.CKG_MGF1_SHA384)}, odd, digest[:]},
		{cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_RSA_PKCS_PSS, Params: pss(32, cryptoki.CKG_MGF1_SHA256)}, odd, []byte("data")},
		{cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, on("P-224"), digest[:]},
		{cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, on("P-256"), digest[:20]},
		{cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, on("P-256"), bytes.Repeat(digest[:], 2)},
		{cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, on("P-384"), digest[:]},
		{cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, on("P-521"), digest[:1]},
		{cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA_SHA384}, on("P-521"), []byte("data")},
		{cryptoki.Mechanism{Type: cryptoki.CKM_EDDSA}, on("Ed25519"), []byte("data")},
		{cryptoki.Mechanism{Type: cryptoki.CKM_EDDSA}, on("Ed25519"), nil},
		{cryptoki.Mechanism{Type: cryptoki.CKM_EDDSA, Params: cryptoki.EDDSAParams{Context: []byte("c")}}, on("Ed25519"), []byte("data")},
		{cryptoki.Mechanism{Type: cryptoki.CKM_EDDSA, Params: cryptoki.EDDSAParams{Prehash: true}}, on("Ed25519"), []byte("data")},
	}
}

func TestSignThenVerify(t *testing.T) {
	for _, test := range signatures() {
		t.Run(test.m.Type.String(), func(t *testing.T) {
			p := test.key(t)
			private, public := load(t, p.private), load(t, p.public)
			signature, err := private.Sign(test.m, test.data)
			if err != nil {
				t.Fatal(err)
			}
			if err := public.Verify(test.m, test.data, signature); err != nil {
				t.Errorf("own signature: %v", err)
			}
			for _, bit := range []int{0, len(signature) / 2, len(signature) - 1} {
				damaged := bytes.Clone(signature)
				damaged[bit] ^= 1
				wantRV(t, public.Verify(test.m, test.data, damaged), cryptoki.CKR_SIGNATURE_INVALID)
			}
			wantRV(t, public.Verify(test.m, test.data, signature[1:]), cryptoki.CKR_SIGNATURE_LEN_RANGE)
			wantRV(t, public.Verify(test.m, test.data, append(signature, 0, 0)), cryptoki.CKR_SIGNATURE_LEN_RANGE)
			wantRV(t, public.Verify(test.m, test.data, nil), cryptoki.CKR_SIGNATURE_LEN_RANGE)
			_, err = public.Sign(test.m, test.data)
			wantRV(t, err, cryptoki.CKR_KEY_FUNCTION_NOT_PERMITTED)
			_, err = public.Encrypt(cryptoki.Mechanism{Type: cryptoki.CKM_AES_ECB}, nil)
			wantRV(t, err, cryptoki.CKR_KEY_TYPE_INCONSISTENT)
		})
	}
}

// TestStandardLibraryAgrees verifies our signatures with crypto/rsa, crypto/ecdsa and crypto/ed25519 and theirs with us.
func TestStandardLibraryAgrees(t *testing.T) {
	data := []byte("what is signed")
	digest := sha256.Sum256(data)

	p := rsa2048()
	native := p.native.(*rsa.PrivateKey)
	k := load(t, p.private)
	pkcs := cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_RSA_PKCS}
	if err := rsa.VerifyPKCS1v15(&native.PublicKey, crypto.SHA256, digest[:], must(k.Sign(pkcs, data))); err != nil {
		t.Error(err)
	}
	if err := k.Verify(pkcs, data, must(rsa.SignPKCS1v15(nil, native, crypto.SHA256, digest[:]))); err != nil {
		t.Error(err)
	}
	for _, salt := range []int{1, 32, 222} {
		m := cryptoki.Mechanism{
			Type:   cryptoki.CKM_SHA256_RSA_PKCS_PSS,
			Params: cryptoki.PSSParams{Hash: cryptoki.CKM_SHA256, MGF: cryptoki.CKG_MGF1_SHA256, SaltLength: uint64(salt)},
		}
		if err := rsa.VerifyPSS(&native.PublicKey, crypto.SHA256, digest[:], must(k.Sign(m, data)), &rsa.PSSOptions{SaltLength: salt}); err != nil {
			t.Error(salt, err)
		}
		if err := k.Verify(m, data, must(rsa.SignPSS(rand.Reader, native, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: salt}))); err != nil {
			t.Error(salt, err)
		}
		// Our own encoding must be the library's: each reads the other's.
		s := pssScheme{hash: crypto.SHA256, mask: crypto.SHA256, salt: salt, bits: native.N.BitLen() - 1}
		own := must(k.crt.private(s.encode(digest[:], bytes.Repeat([]byte{7}, salt))))
		if err := rsa.VerifyPSS(&native.PublicKey, crypto.SHA256, digest[:], own, &rsa.PSSOptions{SaltLength: salt}); err != nil {
			t.Error("own encoding", salt, err)
		}
		theirs := must(rsa.SignPSS(rand.Reader, native, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: salt}))
		if !s.fits(must(publicRSA(&native.PublicKey, theirs)), digest[:]) {
			t.Error("own check", salt)
		}
	}
	for range 20 {
		p := curvePair(t, "P-256")
		native, k := p.native.(*ecdsa.PrivateKey), load(t, p.private)
		m := cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA_SHA256}
		signature := must(k.Sign(m, data))
		r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
		if len(signature) != 64 || !ecdsa.Verify(&native.PublicKey, digest[:], r, s) {
			t.Error("ECDSA")
		}
	}
	e := curvePair(t, "Ed25519")
	if !ed25519.Verify(e.native.(ed25519.PrivateKey).Public().(ed25519.PublicKey), data,
		must(load(t, e.private).Sign(cryptoki.Mechanism{Type: cryptoki.CKM_EDDSA}, data))) {
		t.Error("EdDSA")
	}
}

// TestShortECDSASignature: SunPKCS11 cuts the leading zeros that r and s have in common. A signature with such an r comes
// once in 256 nonces, and a digest can be computed that gives the nonce any s.
func TestShortECDSASignature(t *testing.T) {
	p := curvePair(t, "P-256")
	public, n := load(t, p.public), elliptic.P256().Params().N
	d := new(big.Int).SetBytes(p.private.Bytes(cryptoki.CKA_VALUE))
	for {
		nonce := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		x := must(nonce.PublicKey.Bytes())[1:33]
		if x[0] != 0 {
			continue
		}
		r, s, k := new(big.Int).SetBytes(x), big.NewInt(5), new(big.Int).SetBytes(must(nonce.Bytes()))
		digest := new(big.Int).Sub(k.Mul(k, s), d.Mul(d, r))
		e := digest.Mod(digest, n).FillBytes(make([]byte, 32))
		short := append(r.FillBytes(make([]byte, 31)), s.FillBytes(make([]byte, 31))...)
		m := cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}
		if err := public.Verify(m, e, short); err != nil {
			t.Error("cut signature:", err)
		}
		wantRV(t, public.Verify(m, e, append([]byte{0}, short...)), cryptoki.CKR_SIGNATURE_LEN_RANGE)
		short[61] ^= 1
		wantRV(t, public.Verify(m, e, short), cryptoki.CKR_SIGNATURE_INVALID)
		return
	}
}

func TestRSALimits(t *testing.T) {
	p := rsa2048()
	private, public := load(t, p.private), load(t, p.public)
	pkcs, raw := cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, cryptoki.Mechanism{Type: cryptoki.CKM_RSA_X_509}
	large := bytes.Repeat([]byte{0xff}, 256)
	_, err := private.Sign(pkcs, large[:246])
	wantRV(t, err, cryptoki.CKR_DATA_LEN_RANGE)
	if _, err = private.Sign(pkcs, large[:245]); err != nil {
		t.Error(err)
	}
	_, err = private.Sign(raw, large)
	wantRV(t, err, cryptoki.CKR_DATA_INVALID)
	_, err = private.Sign(raw, append(large, 0))
	wantRV(t, err, cryptoki.CKR_DATA_LEN_RANGE)
	_, err = private.Decrypt(raw, large)
	wantRV(t, err, cryptoki.CKR_ENCRYPTED_DATA_INVALID)
	for _, m := range []cryptoki.Mechanism{pkcs, raw, oaepWith(cryptoki.CKM_SHA256, cryptoki.CKG_MGF1_SHA1, nil)} {
		_, err = private.Decrypt(m, large[:255])
		wantRV(t, err, cryptoki.CKR_ENCRYPTED_DATA_LEN_RANGE)
		_, err = public.Encrypt(m, append(large, 1))
		wantRV(t, err, cryptoki.CKR_DATA_LEN_RANGE)
		_, err = public.Decrypt(m, large)
		wantRV(t, err, cryptoki.CKR_KEY_FUNCTION_NOT_PERMITTED)
	}
	_, err = public.Encrypt(raw, large)
	wantRV(t, err, cryptoki.CKR_DATA_INVALID)
	_, err = private.Sign(cryptoki.Mechanism{
		Type:   cryptoki.CKM_RSA_PKCS_PSS,
		Params: cryptoki.PSSParams{Hash: cryptoki.CKM_SHA512, MGF: cryptoki.CKG_MGF1_SHA512, SaltLength: 191},
	}, large[:64])
	wantRV(t, err, cryptoki.CKR_MECHANISM_PARAM_INVALID)
	_, err = private.Sign(cryptoki.Mechanism{
		Type:   cryptoki.CKM_RSA_PKCS_PSS,
		Params: cryptoki.PSSParams{Hash: cryptoki.CKM_SHA512, MGF: cryptoki.CKG_MGF1_SHA512, SaltLength: 190},
	}, large[:32])
	wantRV(t, err, cryptoki.CKR_DATA_LEN_RANGE)
}

func oaepWith(hash cryptoki.MechanismType, mgf uint64, label []byte) cryptoki.Mechanism {
	return cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_OAEP, Params: cryptoki.OAEPParams{Hash: hash, MGF: mgf, Label: label}}
}

func TestRSAEncryption(t *testing.T) {
	p := rsa2048()
	private, public := load(t, p.private), load(t, p.public)
	for _, m := range []cryptoki.Mechanism{
		{Type: cryptoki.CKM_RSA_PKCS},
		oaepWith(cryptoki.CKM_SHA_1, cryptoki.CKG_MGF1_SHA1, nil),
		oaepWith(cryptoki.CKM_SHA256, cryptoki.CKG_MGF1_SHA256, []byte("lab")),
		oaepWith(cryptoki.CKM_SHA512, cryptoki.CKG_MGF1_SHA1, nil), oaepWith(cryptoki.CKM_SHA3_256, cryptoki.CKG_MGF1_SHA3_256, nil),
	} {
		for _, plaintext := range [][]byte{nil, {0}, []byte("secret")} {
			ciphertext, err := public.Encrypt(m, plaintext)
			if err != nil {
				t.Fatal(m, err)
			}
			got, err := private.Decrypt(m, ciphertext)
			if err != nil || !bytes.Equal(got, plaintext) {
				t.Errorf("%v: %x %v", m, got, err)
			}
			ciphertext[100] ^= 1
			if _, err = private.Decrypt(m, ciphertext); err != nil {
				wantRV(t, err, cryptoki.CKR_ENCRYPTED_DATA_INVALID)
			} else if m.Type != cryptoki.CKM_RSA_PKCS {
				t.Error("damaged ciphertext was accepted")
			}
		}
	}
	// The raw operation gives the whole block, leading zeros and all.
	raw := cryptoki.Mechanism{Type: cryptoki.CKM_RSA_X_509}
	got := must(private.Decrypt(raw, must(public.Encrypt(raw, []byte{5}))))
	if len(got) != 256 || got[255] != 5 || !bytes.Equal(got[:255], make([]byte, 255)) {
		t.Errorf("%x", got)
	}
}

func TestFaultInOneHalfIsCaught(t *testing.T) {
	k := load(t, rsa2048().private)
	k.crt.dp = bytes.Clone(k.crt.dp)
	k.crt.dp[5] ^= 1
	if signature, err := k.Sign(cryptoki.Mechanism{Type: cryptoki.CKM_RSA_X_509}, []byte{3}); err == nil {
		t.Errorf("a wrong signature was given out: %x", signature)
	}
}

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

func TestDerive(t *testing.T) {
	for _, name := range []string{"P-224", "P-256", "P-384", "P-521"} {
		a, b := curvePair(t, name), curvePair(t, name)
		c, _ := curve.ByName(name)
		pointA, _ := c.Point(a.public.Bytes(cryptoki.CKA_EC_POINT))
		toward := func(point []byte) cryptoki.Mechanism {
			return cryptoki.Mechanism{Type: cryptoki.CKM_ECDH1_DERIVE, Params: cryptoki.ECDH1Params{KDF: cryptoki.CKD_NULL, PublicData: point}}
		}
		keyA, keyB := load(t, a.private), load(t, b.private)
		// One side reads the DER form, the other the point itself.
		one, err1 := keyA.Derive(toward(b.public.Bytes(cryptoki.CKA_EC_POINT)), 0)
		two, err2 := keyB.Derive(toward(pointA), 0)
		if err1 != nil || err2 != nil || !bytes.Equal(one, two) || len(one) != c.Bytes() {
			t.Fatalf("%s: %x %x %v %v", name, one, two, err1, err2)
		}
		if short := must(keyA.Derive(toward(b.public.Bytes(cryptoki.CKA_EC_POINT)), 16)); !bytes.Equal(short, one[len(one)-16:]) {
			t.Errorf("%s: truncation keeps the last bytes, got %x of %x", name, short, one)
		}
		_, err := keyA.Derive(toward(pointA), c.Bytes()+1)
		wantRV(t, err, cryptoki.CKR_KEY_SIZE_RANGE)
		off := bytes.Clone(pointA)
		off[len(off)-1] ^= 1
		_, err = keyB.Derive(toward(off), 0)
		wantRV(t, err, cryptoki.CKR_MECHANISM_PARAM_INVALID)
		_, err = load(t, a.public).Derive(toward(pointA), 0)
		wantRV(t, err, cryptoki.CKR_KEY_FUNCTION_NOT_PERMITTED)
		if name == "P-224" {
			continue
		}
		native := must(a.native.(*ecdsa.PrivateKey).ECDH())
		peer := must(b.native.(*ecdsa.PrivateKey).PublicKey.ECDH())
		if want := must(native.ECDH(peer)); !bytes.Equal(one, want) {
			t.Errorf("%s: crypto/ecdh has %x, we %x", name, want, one)
		}
	}
}

func TestDeriveWithKDF(t *testing.T) {
	a, b := curvePair(t, "P-256"), curvePair(t, "P-256")
	k := load(t, a.private)
	params := cryptoki.ECDH1Params{KDF: cryptoki.CKD_NULL, PublicData: b.public.Bytes(cryptoki.CKA_EC_POINT)}
	z := must(k.Derive(cryptoki.Mechanism{Type: cryptoki.CKM_ECDH1_DERIVE, Params: params}, 0))
	params.SharedData = []byte("shared info")
	hash := func(parts ...[]byte) []byte {
		sum := sha256.Sum256(bytes.Join(parts, nil))
		return sum[:]
	}
	for kdf, want := range map[uint64][]byte{
		cryptoki.CKD_SHA256_KDF:       append(hash(z, []byte{0, 0, 0, 1}, params.SharedData), hash(z, []byte{0, 0, 0, 2}, params.SharedData)...),
		cryptoki.CKD_SHA256_KDF_SP800: append(hash([]byte{0, 0, 0, 1}, z, params.SharedData), hash([]byte{0, 0, 0, 2}, z, params.SharedData)...),
	} {
		params.KDF = kdf
		m := cryptoki.Mechanism{Type: cryptoki.CKM_ECDH1_DERIVE, Params: params}
		if got := must(k.Derive(m, 48)); !bytes.Equal(got, want[:48]) {
			t.Errorf("KDF %d: %x, want %x", kdf, got, want[:48])
		}
		if got := must(k.Derive(m, 0)); !bytes.Equal(got, want[:32]) {
			t.Errorf("KDF %d without a length: %x", kdf, got)
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
