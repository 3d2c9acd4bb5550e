package keywrap_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/keywrap"
)

// TestVectors are those of RFC 5649, section 6.
func TestVectors(t *testing.T) {
	key, _ := hex.DecodeString("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8")
	for plain, want := range map[string]string{
		"c37b7e6492584340bed12207808941155068f738": "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
		"466f7250617369": "afbeb0f07dfbf5419200f2ccb50bb24f",
	} {
		value, _ := hex.DecodeString(plain)
		got, err := keywrap.Wrap(key, value)
		if err != nil || hex.EncodeToString(got) != want {
			t.Errorf("%s became %x, %v", plain, got, err)
		}
		back, err := keywrap.Unwrap(key, got)
		if err != nil || !bytes.Equal(back, value) {
			t.Errorf("%s came back as %x, %v", plain, back, err)
		}
	}
}

func TestLengthsAndDamage(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	for length := 1; length < 70; length++ {
		value := make([]byte, length)
		_, _ = rand.Read(value)
		wrapped, err := keywrap.Wrap(key, value)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := keywrap.Unwrap(key, wrapped); err != nil || !bytes.Equal(back, value) {
			t.Fatalf("%d bytes: %v", length, err)
		}
		wrapped[length%len(wrapped)] ^= 1
		if _, err := keywrap.Unwrap(key, wrapped); err == nil {
			t.Errorf("%d bytes: a flipped bit went unnoticed", length)
		}
	}
	for _, value := range [][]byte{nil, make([]byte, 1<<16+1)} {
		if _, err := keywrap.Wrap(key, value); err == nil {
			t.Errorf("%d bytes were wrapped", len(value))
		}
	}
	if _, err := keywrap.Wrap(key[:5], []byte{1}); err == nil {
		t.Error("a key of 5 bytes wrapped")
	}
}

func TestRSAAES(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	value := []byte("the value of a key")
	wrapped, err := keywrap.RSAAES(&private.PublicKey, sha256.New(), value)
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsa.DecryptOAEP(sha256.New(), nil, private, wrapped[:256], nil)
	if err != nil || len(key) != 32 {
		t.Fatalf("%d bytes, %v", len(key), err)
	}
	if back, err := keywrap.Unwrap(key, wrapped[256:]); err != nil || !bytes.Equal(back, value) {
		t.Errorf("%q, %v", back, err)
	}
}

func TestUnwrapRSAAES(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	value := keywrap.Value("the value of a key")
	wrapped, err := value.Wrap(t.Context(), &private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := keywrap.UnwrapRSAAES(private, sha256.New(), wrapped); err != nil || !bytes.Equal(back, value) {
		t.Errorf("%q, %v", back, err)
	}
	for _, i := range []int{0, 255, 256, len(wrapped) - 1} {
		damaged := bytes.Clone(wrapped)
		damaged[i] ^= 1
		if _, err := keywrap.UnwrapRSAAES(private, sha256.New(), damaged); err == nil {
			t.Errorf("a flipped bit in byte %d went unnoticed", i)
		}
	}
	for _, length := range []int{0, 255, 256, 271} {
		if _, err := keywrap.UnwrapRSAAES(private, sha256.New(), wrapped[:length]); err == nil {
			t.Errorf("the first %d bytes unwrapped", length)
		}
	}
}

func FuzzUnwrap(f *testing.F) {
	key := bytes.Repeat([]byte{7}, 16)
	good, _ := keywrap.Wrap(key, []byte("seed corpus"))
	f.Add(good)
	f.Add([]byte{})
	f.Add(make([]byte, 24))
	f.Fuzz(func(t *testing.T, wrapped []byte) {
		value, err := keywrap.Unwrap(key, wrapped)
		if err != nil {
			return
		}
		if again, err := keywrap.Wrap(key, value); err != nil || !bytes.Equal(again, wrapped) {
			t.Errorf("%x is another form of %x: %v", wrapped, again, err)
		}
	})
}
