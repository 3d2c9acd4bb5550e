// Package keystore keeps tokens, objects, applications, request ids and the audit in a SQL database.
package keystore

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Store is the database.
type Store struct {
	Reader
}

// Open opens or makes the store: "sqlite:/path" or a bare path.
func Open(ctx context.Context, dsn string) (*Store, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Close ends the store.
func (s *Store) Close() error { return nil }

// Authenticate gives the store the root key's MAC for the head of the audit. Call it once, before the first change.
func (s *Store) Authenticate(a audit.Authenticator) {}

// Check reads from the store, for health checks.
func (s *Store) Check(ctx context.Context) error { return nil }

// InitMeta stores a value unless one is there, and returns the one that is there now.
func (s *Store) InitMeta(ctx context.Context, key string, value []byte) ([]byte, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// AppendEvents implements audit.Appender.
func (s *Store) AppendEvents(ctx context.Context, events []audit.Event) error {
	return cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}
