package softkey

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"math/big"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
)

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
