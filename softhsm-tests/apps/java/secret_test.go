package java

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
	"testing"
)

const quickBrownFox = "The quick brown fox jumps over the lazy dog, 64 bytes in total.\n"

// counting is the value of the keys and IVs of SecretKeys.java: bytes 0, 1, 2…
func counting(length int) []byte {
	value := make([]byte, length)
	for i := range value {
		value[i] = byte(i)
	}
	return value
}

// secretKeys compares what the token made with keys of known values with what Go makes with them.
func secretKeys(t *testing.T, k token) {
	got := map[string]string{}
	for _, line := range lines(k.java(t, "SecretKeys.java")) {
		name, value, _ := strings.Cut(line, "=")
		got[name] = value
	}
	want := map[string][]byte{}
	for _, bits := range []int{128, 256} {
		for name, value := range expectedCiphers(t, counting(bits/8)) {
			want[fmt.Sprintf("%s-%d", name, bits)] = value
		}
		if got[fmt.Sprintf("tampered-%d", bits)] == "" {
			t.Error("no exception for a changed ciphertext")
		}
	}
	for name, hash := range map[string]func() hash.Hash{
		"SHA1": sha1.New, "SHA224": sha256.New224, "SHA256": sha256.New, "SHA384": sha512.New384, "SHA512": sha512.New,
	} {
		mac := hmac.New(hash, counting(64))
		mac.Write([]byte(quickBrownFox))
		want["hmac-"+name] = mac.Sum(nil)
	}
	for name, value := range want {
		if got[name] != hex.EncodeToString(value) {
			t.Errorf("%s is %q, Go makes %x", name, got[name], value)
		}
	}
	if entries := k.java(t, "ListKeys.java"); !strings.Contains(entries, "secret aes128 AES\n") || !strings.Contains(entries, "secret mac ") {
		t.Errorf("entries:\n%s", entries)
	}
	for _, alias := range []string{"aes128", "aes256", "mac"} {
		k.keytool(t, "-delete", "-alias", alias)
	}
}

func expectedCiphers(t *testing.T, key []byte) map[string][]byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	text := []byte(quickBrownFox)
	want := map[string][]byte{}
	for name, tag := range map[string]int{"gcm": 16, "gcm-odd": 12} {
		gcm, err := cipher.NewGCMWithTagSize(block, tag)
		if err != nil {
			t.Fatal(err)
		}
		input := text
		if name == "gcm-odd" {
			input = text[:17]
		}
		want[name] = gcm.Seal(nil, counting(12), input, []byte("associated"))
	}
	cbc := func(input []byte) []byte {
		output := make([]byte, len(input))
		cipher.NewCBCEncrypter(block, counting(16)).CryptBlocks(output, input)
		return output
	}
	want["cbc"] = cbc(text)
	want["cbc-pad"] = cbc(append(bytes.Clone(text[:33]), bytes.Repeat([]byte{15}, 15)...))
	want["ctr"] = make([]byte, 33)
	cipher.NewCTR(block, counting(16)).XORKeyStream(want["ctr"], text[:33])
	for i := 0; i < len(text); i += 16 {
		one := make([]byte, 16)
		block.Encrypt(one, text[i:i+16])
		want["ecb"] = append(want["ecb"], one...)
	}
	return want
}
