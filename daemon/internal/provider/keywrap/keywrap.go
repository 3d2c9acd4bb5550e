// Package keywrap wraps key material for services that take it under an RSA key of theirs: AES key wrap with padding
// (RFC 5649), and the form with a fresh AES key in front that PKCS#11 calls CKM_RSA_AES_KEY_WRAP.
package keywrap

import (
	"context"
	"crypto/aes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"hash"
)

// maxValue bounds what is wrapped: no key is longer.
const maxValue = 1 << 16

// RSAAES encrypts a fresh AES-256 key by RSA-OAEP with a hash and an empty label, and wraps the value under it.
func RSAAES(wrapping *rsa.PublicKey, h hash.Hash, value []byte) ([]byte, error) {
	key := make([]byte, 32)
	defer clear(key)
	_, _ = rand.Read(key) // The runtime ends the process rather than fail.
	head, err := rsa.EncryptOAEP(h, rand.Reader, wrapping, key, nil)
	if err != nil {
		return nil, err
	}
	tail, err := Wrap(key, value)
	if err != nil {
		return nil, err
	}
	return append(head, tail...), nil
}

// UnwrapRSAAES gives back what RSAAES was given.
func UnwrapRSAAES(wrapping *rsa.PrivateKey, h hash.Hash, wrapped []byte) ([]byte, error) {
	size := wrapping.Size()
	if len(wrapped) <= size {
		return nil, errUnwrap
	}
	key, err := rsa.DecryptOAEP(h, nil, wrapping, wrapped[:size], nil)
	if err != nil || len(key) != 32 {
		return nil, errUnwrap
	}
	defer clear(key)
	return Unwrap(key, wrapped[size:])
}

// Value is key material in memory: PKCS#8, or the bytes of a secret key. It is a provider.Wrapper.
type Value []byte

// Wrap wraps the material.
func (v Value) Wrap(_ context.Context, under *rsa.PublicKey) ([]byte, error) {
	return RSAAES(under, sha256.New(), v)
}

// magic begins the initial value; the length of the value follows.
const magic = 0xa65959a6

// Wrap wraps a value of 1 to 65536 bytes under an AES key.
func Wrap(key, value []byte) ([]byte, error) {
	if len(value) == 0 || len(value) > maxValue {
		return nil, errors.New("a key of this length cannot be wrapped")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	n := (len(value) + 7) / 8
	out := make([]byte, 8*(n+1))
	binary.BigEndian.PutUint32(out, magic)
	binary.BigEndian.PutUint32(out[4:], uint32(len(value)))
	copy(out[8:], value)
	if n == 1 {
		block.Encrypt(out, out)
		return out, nil
	}
	var b [16]byte
	defer clear(b[:])
	copy(b[:8], out)
	for t := 1; t <= 6*n; t++ {
		r := out[8*((t-1)%n+1):][:8]
		copy(b[8:], r)
		block.Encrypt(b[:], b[:])
		binary.BigEndian.PutUint64(b[:], binary.BigEndian.Uint64(b[:])^uint64(t))
		copy(r, b[8:])
	}
	copy(out, b[:8])
	return out, nil
}

// errUnwrap says nothing about what is wrong.
var errUnwrap = errors.New("the wrapped key does not unwrap with this key")

// Unwrap gives back what Wrap was given.
func Unwrap(key, wrapped []byte) ([]byte, error) {
	if len(wrapped) < 16 || len(wrapped)%8 != 0 || len(wrapped) > maxValue+8 {
		return nil, errUnwrap
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	n := len(wrapped)/8 - 1
	out := append([]byte(nil), wrapped...)
	if n == 1 {
		block.Decrypt(out, out)
	} else {
		var b [16]byte
		defer clear(b[:])
		copy(b[:8], out)
		for t := 6 * n; t >= 1; t-- {
			r := out[8*((t-1)%n+1):][:8]
			binary.BigEndian.PutUint64(b[:], binary.BigEndian.Uint64(b[:])^uint64(t))
			copy(b[8:], r)
			block.Decrypt(b[:], b[:])
			copy(r, b[8:])
		}
		copy(out, b[:8])
	}
	value, length := out[8:], int(binary.BigEndian.Uint32(out[4:]))
	good := binary.BigEndian.Uint32(out) == magic && length <= len(value) && length > len(value)-8
	if !good || subtle.ConstantTimeCompare(value[length:], make([]byte, len(value)-length)) != 1 {
		clear(out)
		return nil, errUnwrap
	}
	return value[:length], nil
}
