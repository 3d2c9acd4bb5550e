// Package seal protects secret bytes before they reach the store: a root key seals token keys, a token key seals the
// values of that token.
package seal

import (
	"context"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// KeySize is the length of the root key and of token keys.
const KeySize = 32

// Meta is where the check value of the root key and the salt of a passphrase are kept; keystore.Store is one.
type Meta interface {
	// Meta returns a value, nil if it is not there.
	Meta(ctx context.Context, key string) ([]byte, error)
	// InitMeta stores a value unless one is there, and returns the one that is there now.
	InitMeta(ctx context.Context, key string, value []byte) ([]byte, error)
}

// Root is the root key in memory.
type Root struct{}

// FromFile returns the root key in a file. For a store that has none yet the file is made if it is missing.
func FromFile(_ context.Context, _ string, _ Meta) (*Root, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// FromPassphrase derives the root key from a passphrase and the store's salt.
func FromPassphrase(_ context.Context, _ []byte, _ Meta) (*Root, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// NewRoot returns a root key from KeySize bytes, without a store to check it against.
func NewRoot(_ []byte) (*Root, error) { return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED }

// Seal encrypts under the subkey of a purpose. The associated data must be the same at Open.
func (r *Root) Seal(purpose string, plaintext, aad []byte) ([]byte, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Open decrypts what Seal made; fault.StoreDamaged if it was changed or belongs elsewhere.
func (r *Root) Open(purpose string, sealed, aad []byte) ([]byte, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// MAC authenticates data under the subkey of a purpose.
func (r *Root) MAC(purpose string, data []byte) []byte { return nil }

// Wipe forgets the key.
func (r *Root) Wipe() {}
