package signature_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"math/big"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/signature"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

func TestStrip(t *testing.T) {
	for _, digest := range []cryptoki.MechanismType{
		cryptoki.CKM_SHA_1, cryptoki.CKM_SHA224, cryptoki.CKM_SHA256, cryptoki.CKM_SHA384, cryptoki.CKM_SHA512, cryptoki.CKM_SHA3_256,
	} {
		h, _ := mechanism.HashOf(digest)
		value := random(h.Size())
		info, err := mechanism.DigestInfo(h, value)
		if err != nil {
			t.Fatal(err)
		}
		got, stripped, err := signature.Strip(info)
		if err != nil || got != digest || !bytes.Equal(stripped, value) {
			t.Errorf("%s: %s, %x, %v", digest, got, stripped, err)
		}
		for name, wrong := range map[string][]byte{
			"shorter": info[:len(info)-1], "longer": append(bytes.Clone(info), 0), "beheaded": info[1:], "the digest alone": value,
		} {
			if _, _, err := signature.Strip(wrong); !fault.Is(err, fault.DataInvalid) {
				t.Errorf("%s, %s: %v", digest, name, err)
			}
		}
	}
}

// FuzzStrip: what is stripped can be put together again, to the last bit.
func FuzzStrip(f *testing.F) {
	f.Add([]byte{})
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		info, _ := mechanism.DigestInfo(h, make([]byte, h.Size()))
		f.Add(info)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		digest, value, err := signature.Strip(data)
		if err != nil {
			return
		}
		h, _ := mechanism.HashOf(digest)
		again, err := mechanism.DigestInfo(h, value)
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%x became %s of %x", data, digest, value)
		}
	})
}

// TestFit: a signature of the fitted digest is one of the digest, for all lengths.
func TestFit(t *testing.T) {
	for _, tc := range []struct {
		curve  elliptic.Curve
		length int
	}{{elliptic.P256(), 32}, {elliptic.P384(), 48}, {elliptic.P521(), 64}} {
		key, err := ecdsa.GenerateKey(tc.curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		bits := tc.curve.Params().BitSize
		for length := range 100 {
			digest := random(length)
			fitted, err := signature.Fit(digest, tc.length, bits)
			if bits > 8*tc.length && length > tc.length {
				if !fault.Is(err, fault.DataLenRange) {
					t.Errorf("%d bytes on %d bits: %v", length, bits, err)
				}
				continue
			}
			if err != nil || len(fitted) != tc.length {
				t.Fatalf("%d bytes on %d bits: %d bytes, %v", length, bits, len(fitted), err)
			}
			der, err := ecdsa.SignASN1(rand.Reader, key, fitted)
			if err != nil {
				t.Fatal(err)
			}
			if !ecdsa.VerifyASN1(&key.PublicKey, digest, der) {
				t.Errorf("%d bytes on %d bits: another signature", length, bits)
			}
		}
	}
}

func TestDER(t *testing.T) {
	for _, curve := range []elliptic.Curve{elliptic.P224(), elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		length := (curve.Params().BitSize + 7) / 8
		for range 300 { // Enough for r and s with leading zeros.
			digest := random(32)
			der, err := ecdsa.SignASN1(rand.Reader, key, digest)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := signature.FromDER(der, length)
			if err != nil || len(raw) != 2*length {
				t.Fatalf("%x: %v", der, err)
			}
			if !ecdsa.Verify(&key.PublicKey, digest, new(big.Int).SetBytes(raw[:length]), new(big.Int).SetBytes(raw[length:])) {
				t.Fatalf("%x is another signature than %x", raw, der)
			}
			if again, err := signature.ToDER(raw); err != nil || !bytes.Equal(again, der) {
				t.Fatalf("%x came back as %x: %v", der, again, err)
			}
		}
	}
}

func TestRefuseDER(t *testing.T) {
	for name, der := range map[string][]byte{
		"nothing":           {},
		"no sequence":       {0x02, 0x01, 0x01},
		"r alone":           {0x30, 0x03, 0x02, 0x01, 0x01},
		"three numbers":     {0x30, 0x09, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01},
		"trailing data":     {0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01, 0x00},
		"zero":              {0x30, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x01},
		"a negative number": {0x30, 0x06, 0x02, 0x01, 0x81, 0x02, 0x01, 0x01},
		"a leading zero":    {0x30, 0x07, 0x02, 0x02, 0x00, 0x01, 0x02, 0x01, 0x01},
		"too large":         {0x30, 0x08, 0x02, 0x03, 0x01, 0x00, 0x00, 0x02, 0x01, 0x01},
		"a long length":     {0x30, 0x81, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01},
	} {
		if raw, err := signature.FromDER(der, 2); !fault.Is(err, fault.FunctionFailed) {
			t.Errorf("%s: %x, %v", name, raw, err)
		}
	}
	for _, raw := range [][]byte{nil, {}, {1}, make([]byte, 63)} {
		if _, err := signature.ToDER(raw); !fault.Is(err, fault.SignatureLenRange) {
			t.Errorf("%d bytes: %v", len(raw), err)
		}
	}
}

// FuzzFromDER: there is one DER form of a signature, so what is taken comes back the same.
func FuzzFromDER(f *testing.F) {
	f.Add([]byte{0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01}, 32)
	f.Add([]byte{0x30, 0x08, 0x02, 0x02, 0x00, 0x80, 0x02, 0x02, 0x00, 0xff}, 66)
	f.Fuzz(func(t *testing.T, der []byte, length int) {
		length = max(0, min(length, 66))
		raw, err := signature.FromDER(der, length)
		if err != nil {
			return
		}
		if again, err := signature.ToDER(raw); err != nil || !bytes.Equal(again, der) {
			t.Errorf("%x came back as %x: %v", der, again, err)
		}
	})
}

// FuzzToDER: all halves survive the way there and back.
func FuzzToDER(f *testing.F) {
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Add(append(make([]byte, 31), append([]byte{1}, bytes.Repeat([]byte{0x7f}, 32)...)...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		der, err := signature.ToDER(raw)
		if err != nil {
			return
		}
		half := len(raw) / 2
		null := make([]byte, half)
		back, err := signature.FromDER(der, half)
		if bytes.Equal(raw[:half], null) || bytes.Equal(raw[half:], null) {
			if err == nil {
				t.Errorf("%x: r or s is zero", raw)
			}
			return
		}
		if err != nil || !bytes.Equal(back, raw) {
			t.Errorf("%x came back as %x: %v", raw, back, err)
		}
	})
}

func random(length int) []byte {
	b := make([]byte, length)
	rand.Read(b)
	return b
}
