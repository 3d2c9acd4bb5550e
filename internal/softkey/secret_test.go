package softkey

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

func unhex(s string) []byte { return must(hex.DecodeString(s)) }

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func iv(t cryptoki.MechanismType, v []byte) cryptoki.Mechanism {
	return cryptoki.Mechanism{Type: t, Params: cryptoki.IVParams{IV: v}}
}

func gcm(nonce, aad []byte, tag uint64) cryptoki.Mechanism {
	return cryptoki.Mechanism{Type: cryptoki.CKM_AES_GCM, Params: cryptoki.GCMParams{IV: nonce, AAD: aad, TagBits: tag}}
}

func ctr(counter string, bits uint64) cryptoki.Mechanism {
	p := cryptoki.CTRParams{CounterBits: bits}
	copy(p.CounterBlock[:], unhex(counter))
	return cryptoki.Mechanism{Type: cryptoki.CKM_AES_CTR, Params: p}
}

// TestAESVectors: SP 800-38A's AES-128 examples (F.1.1, F.2.1, F.5.1) and the second case of the GCM specification.
func TestAESVectors(t *testing.T) {
	k := load(t, secretKey(cryptoki.CKK_AES, unhex("2b7e151628aed2a6abf7158809cf4f3c")))
	plaintext := unhex("6bc1bee22e409f96e93d7e117393172a")
	start := unhex("000102030405060708090a0b0c0d0e0f")
	for _, test := range []struct {
		m    cryptoki.Mechanism
		want string
	}{
		{cryptoki.Mechanism{Type: cryptoki.CKM_AES_ECB}, "3ad77bb40d7a3660a89ecaf32466ef97"},
		{iv(cryptoki.CKM_AES_CBC, start), "7649abac8119b246cee98e9b12e9197d"},
		{ctr("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", 128), "874d6191b620e3261bef6864990db6ce"},
	} {
		got := must(k.Encrypt(test.m, plaintext))
		if hex.EncodeToString(got) != test.want {
			t.Errorf("%v: %x, want %s", test.m.Type, got, test.want)
		}
		if back := must(k.Decrypt(test.m, got)); !bytes.Equal(back, plaintext) {
			t.Errorf("%v: %x", test.m.Type, back)
		}
	}
	zero := load(t, secretKey(cryptoki.CKK_AES, make([]byte, 16)))
	if got := must(zero.Encrypt(gcm(make([]byte, 12), nil, 128), make([]byte, 16))); hex.EncodeToString(got) != "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf" {
		t.Errorf("GCM: %x", got)
	}
}

func TestAESLengths(t *testing.T) {
	for _, size := range []int{16, 24, 32} {
		k := load(t, secretKey(cryptoki.CKK_AES, random(size)))
		start := random(16)
		for n := range 50 {
			data := random(n)
			for _, m := range []cryptoki.Mechanism{
				{Type: cryptoki.CKM_AES_ECB},
				iv(cryptoki.CKM_AES_CBC, start), iv(cryptoki.CKM_AES_CBC_PAD, start),
				ctr("00000000000000000000000000000001", 32), gcm(start[:12], data, 128), gcm(start[:1], nil, 96), gcm(random(256), data, 32),
			} {
				ciphertext, err := k.Encrypt(m, data)
				if (m.Type == cryptoki.CKM_AES_ECB || m.Type == cryptoki.CKM_AES_CBC) && n%16 != 0 {
					wantRV(t, err, cryptoki.CKR_DATA_LEN_RANGE)
					_, err = k.Decrypt(m, data)
					wantRV(t, err, cryptoki.CKR_ENCRYPTED_DATA_LEN_RANGE)
					continue
				}
				if err != nil {
					t.Fatal(m, n, err)
				}
				if back, err := k.Decrypt(m, ciphertext); err != nil || !bytes.Equal(back, data) {
					t.Fatalf("%v %d: %x %v", m, n, back, err)
				}
			}
		}
	}
}

// TestGCM compares with the standard library where that has the parameters, and finds every damage.
func TestGCM(t *testing.T) {
	value, nonce, aad, data := random(32), random(12), random(20), random(37)
	k := load(t, secretKey(cryptoki.CKK_AES, value))
	for _, bits := range []uint64{32, 64, 96, 104, 112, 120, 128} {
		m := gcm(nonce, aad, bits)
		sealed := must(k.Encrypt(m, data))
		if len(sealed) != len(data)+int(bits/8) {
			t.Fatal(bits, len(sealed))
		}
		if bits >= 96 {
			native := must(cipher.NewGCMWithTagSize(must(aes.NewCipher(value)), int(bits/8)))
			if !bytes.Equal(sealed, native.Seal(nil, nonce, data, aad)) {
				t.Error(bits, "differs from the standard library")
			}
		}
		for i := range sealed {
			damaged := bytes.Clone(sealed)
			damaged[i] ^= 0x80
			_, err := k.Decrypt(m, damaged)
			wantRV(t, err, cryptoki.CKR_ENCRYPTED_DATA_INVALID)
		}
		_, err := k.Decrypt(gcm(nonce, aad[1:], bits), sealed)
		wantRV(t, err, cryptoki.CKR_ENCRYPTED_DATA_INVALID)
		_, err = k.Decrypt(m, sealed[:bits/8-1])
		wantRV(t, err, cryptoki.CKR_ENCRYPTED_DATA_LEN_RANGE)
	}
	for _, m := range []cryptoki.Mechanism{gcm(nil, nil, 128), gcm(random(257), nil, 128), gcm(nonce, nil, 40), gcm(nonce, nil, 0), gcm(nonce, nil, 1<<40), {Type: cryptoki.CKM_AES_GCM}} {
		_, err := k.Encrypt(m, nil)
		wantRV(t, err, cryptoki.CKR_MECHANISM_PARAM_INVALID)
	}
}

func TestCTRCounter(t *testing.T) {
	k := load(t, secretKey(cryptoki.CKK_AES, random(16)))
	// The standard's example: two counter bits that start as 1 leave three blocks.
	m := ctr("ffffffffffffffffffffffffffffff01", 2)
	if _, err := k.Encrypt(m, make([]byte, 48)); err != nil {
		t.Error(err)
	}
	_, err := k.Encrypt(m, make([]byte, 49))
	wantRV(t, err, cryptoki.CKR_DATA_LEN_RANGE)
	_, err = k.Decrypt(m, make([]byte, 64))
	wantRV(t, err, cryptoki.CKR_DATA_LEN_RANGE)
	last := ctr("ffffffffffffffffffffffffffffffff", 128)
	if _, err := k.Encrypt(last, make([]byte, 16)); err != nil {
		t.Error(err)
	}
	_, err = k.Encrypt(last, make([]byte, 17))
	wantRV(t, err, cryptoki.CKR_DATA_LEN_RANGE)
	for _, bits := range []uint64{0, 129} {
		_, err = k.Encrypt(ctr("00", bits), nil)
		wantRV(t, err, cryptoki.CKR_MECHANISM_PARAM_INVALID)
	}
}

func TestCBCPadding(t *testing.T) {
	k := load(t, secretKey(cryptoki.CKK_AES, random(16)))
	start := make([]byte, 16)
	padded := func(tail ...byte) []byte {
		return must(k.Encrypt(iv(cryptoki.CKM_AES_CBC, start), append(make([]byte, 16-len(tail)), tail...)))
	}
	m := iv(cryptoki.CKM_AES_CBC_PAD, start)
	for _, test := range []struct {
		ciphertext []byte
		length     int
	}{
		{padded(1), 15},
		{padded(2, 2), 14},
		{padded(bytes.Repeat([]byte{16}, 16)...), 0},
		{padded(0), -1},
		{padded(17), -1},
		{padded(3, 2, 3), -1},
		{padded(1, 2), -1},
		{padded(0xff), -1},
	} {
		got, err := k.Decrypt(m, test.ciphertext)
		if test.length < 0 {
			wantRV(t, err, cryptoki.CKR_ENCRYPTED_DATA_INVALID)
		} else if err != nil || len(got) != test.length {
			t.Errorf("%d bytes, %v; want %d", len(got), err, test.length)
		}
	}
	_, err := k.Decrypt(m, nil)
	wantRV(t, err, cryptoki.CKR_ENCRYPTED_DATA_LEN_RANGE)
}

// TestHMACVectors: RFC 4231, test case 2, and RFC 2202's for SHA-1.
func TestHMACVectors(t *testing.T) {
	data := []byte("what do ya want for nothing?")
	for mechanism, want := range map[cryptoki.MechanismType]string{
		cryptoki.CKM_SHA_1_HMAC:  "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
		cryptoki.CKM_SHA224_HMAC: "a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44",
		cryptoki.CKM_SHA256_HMAC: "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
		cryptoki.CKM_SHA512_HMAC: "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
	} {
		k := load(t, secretKey(cryptoki.CKK_GENERIC_SECRET, []byte("Jefe")))
		m := cryptoki.Mechanism{Type: mechanism}
		got := must(k.Sign(m, data))
		if hex.EncodeToString(got) != want {
			t.Errorf("%v: %x", mechanism, got)
		}
		if err := k.Verify(m, data, got); err != nil {
			t.Error(err)
		}
		wantRV(t, k.Verify(m, data, got[1:]), cryptoki.CKR_SIGNATURE_LEN_RANGE)
		got[0] ^= 1
		wantRV(t, k.Verify(m, data, got), cryptoki.CKR_SIGNATURE_INVALID)
	}
	k := load(t, secretKey(cryptoki.CKK_SHA256_HMAC, []byte("Jefe")))
	cut := func(n uint64) cryptoki.Mechanism {
		return cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_HMAC_GENERAL, Params: cryptoki.MACGeneralParams{Length: n}}
	}
	if got := must(k.Sign(cut(4), data)); hex.EncodeToString(got) != "5bdcc146" || k.Verify(cut(4), data, got) != nil {
		t.Errorf("%x", got)
	}
	for _, n := range []uint64{0, 33, 1 << 60} {
		_, err := k.Sign(cut(n), data)
		wantRV(t, err, cryptoki.CKR_MECHANISM_PARAM_INVALID)
	}
	_, err := k.Sign(cryptoki.Mechanism{Type: cryptoki.CKM_SHA512_HMAC}, data)
	wantRV(t, err, cryptoki.CKR_KEY_TYPE_INCONSISTENT)
}

// TestErrorsHoldNoKey: what goes wrong with a key must not carry it into a log.
func TestErrorsHoldNoKey(t *testing.T) {
	value := bytes.Repeat([]byte{0xa7}, 17)
	_, err := FromAttributes(secretKey(cryptoki.CKK_AES, value))
	text := fmt.Sprintf("%v %+v", err, err)
	if bytes.Contains([]byte(text), []byte("a7a7")) || bytes.Contains([]byte(text), value[:4]) || bytes.Contains([]byte(text), []byte("167 167")) {
		t.Error(text)
	}
}
