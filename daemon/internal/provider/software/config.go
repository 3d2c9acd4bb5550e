package software

import "context"

// Sealer keeps secret bytes safe under a token's key; seal.Keyring is one.
type Sealer interface {
	// Seal encrypts and authenticates plaintext, and authenticates aad.
	Seal(ctx context.Context, token string, plaintext, aad []byte) ([]byte, error)
	// Open gives back what Seal was given for the same token and aad, and an error for anything else.
	Open(ctx context.Context, token string, sealed, aad []byte) ([]byte, error)
}

// DefaultCacheSize is how many parsed keys are kept when Config does not say.
const DefaultCacheSize = 1024

// Config says how a software provider works.
type Config struct {
	// Sealer seals the key values. It must be set.
	Sealer Sealer
	// CacheSize is how many parsed keys are kept in memory, DefaultCacheSize if 0.
	CacheSize int
}
