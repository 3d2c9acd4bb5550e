package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// A sealed value is: version (1 byte), nonce (24 bytes), ciphertext, tag (16 bytes).
//
// Version 1 is AES-256-GCM whose 24-byte random nonce is spent as in XAES-256-GCM (C2SP): its first half derives a
// key for this message by a block-cipher KDF (NIST SP 800-108r1, CMAC, counter mode), its second half is GCM's nonce.
// With plain 12-byte random nonces one key is good for 2³² messages only, which a busy token's session keys would
// pass; with 24 bytes there is no limit that can be reached.
const (
	version1  = 1
	nonceSize = 24
	tagSize   = 16
	// Overhead is how much longer a sealed value is than what it holds.
	Overhead = 1 + nonceSize + tagSize
)

// box seals under one key.
type box struct {
	block cipher.Block
	// subkey is CMAC's K1.
	subkey [aes.BlockSize]byte
}

func newBox(key []byte) *box {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("seal: a key of the wrong length") // all callers give KeySize bytes
	}
	b := &box{block: block}
	block.Encrypt(b.subkey[:], b.subkey[:])
	var carry byte
	for i := len(b.subkey) - 1; i >= 0; i-- {
		next := b.subkey[i] >> 7
		b.subkey[i] = b.subkey[i]<<1 | carry
		carry = next
	}
	b.subkey[len(b.subkey)-1] ^= byte(subtle.ConstantTimeSelect(int(carry), 0x87, 0))
	return b
}

// message returns the AEAD of one message, from the first half of its nonce.
func (b *box) message(nonce []byte) cipher.AEAD {
	var key [KeySize]byte
	defer clear(key[:])
	for half := range 2 {
		part := key[half*aes.BlockSize:][:aes.BlockSize]
		part[1], part[2] = byte(half+1), 'X'
		copy(part[4:], nonce[:12])
		subtle.XORBytes(part, part, b.subkey[:])
		b.block.Encrypt(part, part)
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("seal: " + err.Error()) // a 32-byte key is always right
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("seal: " + err.Error()) // AES always has the block size that GCM wants
	}
	return aead
}

func (b *box) seal(plaintext, aad []byte) []byte {
	sealed := make([]byte, 1+nonceSize, Overhead+len(plaintext))
	sealed[0] = version1
	nonce := sealed[1:]
	rand.Read(nonce) // never fails: the runtime ends the process instead
	return b.message(nonce).Seal(sealed, nonce[12:], plaintext, aad)
}

func (b *box) open(sealed, aad []byte) ([]byte, error) {
	if len(sealed) < Overhead {
		return nil, fault.New(fault.StoreDamaged, "a sealed value is cut short; restore the store from a backup")
	}
	if sealed[0] != version1 {
		return nil, fault.New(fault.StoreDamaged,
			"a sealed value has the unknown version %d; use the anyhsmd that wrote it, or restore the store from a backup", sealed[0])
	}
	nonce := sealed[1 : 1+nonceSize]
	plaintext, err := b.message(nonce).Open(nil, nonce[12:], sealed[1+nonceSize:], aad)
	if err != nil {
		return nil, fault.New(fault.StoreDamaged,
			"a sealed value was changed, or belongs to another object or root key; restore the store from a backup")
	}
	return plaintext, nil
}
