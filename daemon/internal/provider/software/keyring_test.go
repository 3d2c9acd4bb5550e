package software_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"sync/atomic"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// keyring seals like seal.Keyring: one AES-256-GCM key for each token.
type keyring struct {
	tokens map[string]cipher.AEAD
	opened atomic.Int64
}

func newKeyring(tokens ...string) *keyring {
	k := &keyring{tokens: map[string]cipher.AEAD{}}
	for _, token := range tokens {
		key := make([]byte, 32)
		_, _ = rand.Read(key)
		block, _ := aes.NewCipher(key)
		k.tokens[token], _ = cipher.NewGCMWithRandomNonce(block)
	}
	return k
}

func (k *keyring) Seal(_ context.Context, token string, plaintext, aad []byte) ([]byte, error) {
	aead, ok := k.tokens[token]
	if !ok {
		return nil, fault.New(fault.TokenNotPresent, "no such token")
	}
	return aead.Seal(nil, nil, plaintext, aad), nil
}

func (k *keyring) Open(_ context.Context, token string, sealed, aad []byte) ([]byte, error) {
	k.opened.Add(1)
	aead, ok := k.tokens[token]
	if !ok {
		return nil, fault.New(fault.TokenNotPresent, "no such token")
	}
	plaintext, err := aead.Open(nil, nil, sealed, aad)
	if err != nil {
		return nil, fault.New(fault.StoreDamaged, "does not open: %w", err)
	}
	return plaintext, nil
}
