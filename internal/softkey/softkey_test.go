package softkey

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
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

// TestConcurrentUse: one loaded key serves all calls. Run with -race it says more.
func TestConcurrentUse(t *testing.T) {
	for _, test := range signatures() {
		p := test.key(t)
		private, public := load(t, p.private), load(t, p.public)
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				signature, err := private.Sign(test.m, test.data)
				if err == nil {
					err = public.Verify(test.m, test.data, signature)
				}
				if err != nil {
					t.Errorf("%v: %v", test.m.Type, err)
				}
			})
		}
		group.Wait()
	}
}
