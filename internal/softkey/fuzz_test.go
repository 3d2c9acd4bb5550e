package softkey

import (
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/wire"
)

// FuzzFromAttributes: whatever the attributes, the answer is a usable key or an error.
func FuzzFromAttributes(f *testing.F) {
	for _, p := range []pair{rsa1031(), curvePair(f, "P-224"), curvePair(f, "P-521"), curvePair(f, "Ed25519")} {
		f.Add(wire.MarshalAttributes(p.public), []byte("data"))
		f.Add(wire.MarshalAttributes(p.private), []byte("data"))
	}
	f.Add(wire.MarshalAttributes(secretKey(cryptoki.CKK_AES, make([]byte, 16))), make([]byte, 32))
	f.Add(wire.MarshalAttributes(secretKey(cryptoki.CKK_GENERIC_SECRET, []byte{1})), []byte{})
	f.Fuzz(func(t *testing.T, encoded, data []byte) {
		attributes, err := wire.UnmarshalAttributes(encoded)
		if err != nil {
			return
		}
		k, err := FromAttributes(attributes)
		if (k == nil) == (err == nil) {
			t.Fatal("neither key nor error")
		}
		if err != nil {
			return
		}
		for _, info := range mechanism.All() {
			m := cryptoki.Mechanism{Type: info.Type, Params: cryptoki.IVParams{IV: make([]byte, 16)}}
			if info.KeyTypes != nil && info.KeyTypes[0] != cryptoki.CKK_AES || info.Type == cryptoki.CKM_AES_ECB {
				m.Params = nil
			}
			if signature, err := k.Sign(m, data); err == nil {
				if err := k.Verify(m, data, signature); err != nil {
					t.Fatalf("%v: own signature: %v", m.Type, err)
				}
			}
			_ = k.Verify(m, data, data)
			if out, err := k.Encrypt(m, data); err == nil && k.block != nil {
				if _, err := k.Decrypt(m, out); err != nil {
					t.Fatalf("%v: own ciphertext: %v", m.Type, err)
				}
			}
			_, _ = k.Decrypt(m, data)
		}
		k.Wipe()
	})
}

// FuzzGCM: any parameter and any ciphertext gives plaintext or an error, and what was sealed opens.
func FuzzGCM(f *testing.F) {
	f.Add([]byte("0123456789ab"), []byte("aad"), []byte("data"), uint64(128))
	f.Add([]byte{0}, []byte{}, []byte{}, uint64(32))
	f.Add(make([]byte, 256), []byte{1}, make([]byte, 40), uint64(104))
	k := load(f, secretKey(cryptoki.CKK_AES, make([]byte, 32)))
	f.Fuzz(func(t *testing.T, nonce, aad, data []byte, tag uint64) {
		m := gcm(nonce, aad, tag)
		_, _ = k.Decrypt(m, data)
		sealed, err := k.Encrypt(m, data)
		if err != nil {
			return
		}
		opened, err := k.Decrypt(m, sealed)
		if err != nil || string(opened) != string(data) {
			t.Fatalf("%x %v", opened, err)
		}
	})
}

// FuzzDerive: the other side's point comes from outside.
func FuzzDerive(f *testing.F) {
	p := curvePair(f, "P-256")
	k := load(f, p.private)
	f.Add(p.public.Bytes(cryptoki.CKA_EC_POINT), uint64(cryptoki.CKD_NULL), 0)
	f.Add([]byte{4, 1, 4}, uint64(cryptoki.CKD_SHA1_KDF), 20)
	f.Add([]byte{}, uint64(cryptoki.CKD_SHA512_KDF_SP800), -1)
	f.Fuzz(func(t *testing.T, point []byte, kdf uint64, length int) {
		m := cryptoki.Mechanism{Type: cryptoki.CKM_ECDH1_DERIVE, Params: cryptoki.ECDH1Params{KDF: kdf, PublicData: point}}
		derived, err := k.Derive(m, length)
		if err == nil && (len(derived) == 0 || length != 0 && len(derived) != length) {
			t.Fatalf("%d bytes for %d", len(derived), length)
		}
	})
}
