package audit

import (
	"context"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Head is the end of the chain, kept apart from the events and authenticated, so that a cut tail shows.
type Head struct {
	Sequence uint64
	Hash     []byte
	// MAC authenticates Sequence and Hash; empty where the store has no root key yet.
	MAC []byte
}

// Authenticator makes and checks the MAC of a head; seal.Root is one.
type Authenticator interface {
	MAC(purpose string, data []byte) []byte
}

// Source is where Verify reads events, ascending, those after a sequence number; keystore.Store is one.
type Source interface {
	Events(ctx context.Context, after uint64, limit int) ([]Event, error)
	AuditHead(ctx context.Context) (Head, error)
}

// Report is the result of Verify.
type Report struct {
	// Events is the number of events that are sound, counted from the first.
	Events uint64
	// Hash is the hash of the last sound event; note it outside to detect a store that was set back as a whole.
	Hash []byte
	// Break is nil if the chain is sound.
	Break *Break
}

// Break is the first place where the chain does not hold.
type Break struct {
	// Sequence is the number of the event concerned.
	Sequence uint64
	// Reason says what is wrong, for people.
	Reason string
}

// Verify recomputes the whole chain. An error means that it could not be read; a break is in the report.
func Verify(_ context.Context, _ Source, _ Authenticator) (Report, error) {
	return Report{}, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}
