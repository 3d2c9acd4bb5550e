package seal

import (
	"context"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Keyring holds the token keys in memory and seals with them.
type Keyring struct{}

// NewKeyring returns a keyring that fetches the sealed key of a token with load (its Token.SealedKey in the store).
func NewKeyring(_ *Root, _ func(ctx context.Context, token string) ([]byte, error)) *Keyring {
	return &Keyring{}
}

// NewKey makes the key of a new token and returns it sealed, for Token.SealedKey.
func (k *Keyring) NewKey(token string) ([]byte, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Seal encrypts under a token's key. The associated data must be the same at Open.
func (k *Keyring) Seal(ctx context.Context, token string, plaintext, aad []byte) ([]byte, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Open decrypts what Seal made; fault.StoreDamaged if it was changed or belongs elsewhere.
func (k *Keyring) Open(ctx context.Context, token string, sealed, aad []byte) ([]byte, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Forget wipes a token's key from memory; call it when the token was deleted.
func (k *Keyring) Forget(token string) {}

// Wipe forgets all keys.
func (k *Keyring) Wipe() {}
