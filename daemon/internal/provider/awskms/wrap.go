package awskms

import (
	"crypto/aes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// wrap is RSA_AES_KEY_WRAP_SHA_256: an AES key of its own, encrypted by RSA-OAEP, and the value wrapped under it.
func wrap(wrapping *rsa.PublicKey, value []byte) ([]byte, error) {
	key := make([]byte, 32)
	defer clear(key)
	rand.Read(key) // never fails: the runtime ends the process instead
	head, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, wrapping, key, nil)
	if err != nil {
		return nil, err
	}
	tail, err := wrapPadded(key, value)
	if err != nil {
		return nil, err
	}
	return append(head, tail...), nil
}

// wrapPadded is AES key wrap with padding, RFC 5649.
func wrapPadded(key, value []byte) ([]byte, error) {
	if len(value) == 0 || len(value) > 1<<16 {
		return nil, errors.New("the value is empty or too long")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	blocks := (len(value) + 7) / 8
	out := make([]byte, 8*(blocks+1))
	copy(out, []byte{0xa6, 0x59, 0x59, 0xa6})
	binary.BigEndian.PutUint32(out[4:], uint32(len(value)))
	copy(out[8:], value)
	if blocks == 1 {
		block.Encrypt(out, out)
		return out, nil
	}
	var work [16]byte
	defer clear(work[:])
	copy(work[:8], out)
	for round := range 6 {
		for i := 1; i <= blocks; i++ {
			copy(work[8:], out[8*i:])
			block.Encrypt(work[:], work[:])
			counter := binary.BigEndian.Uint64(work[:8]) ^ uint64(round*blocks+i)
			binary.BigEndian.PutUint64(work[:8], counter)
			copy(out[8*i:8*i+8], work[8:])
		}
	}
	copy(out, work[:8])
	return out, nil
}
