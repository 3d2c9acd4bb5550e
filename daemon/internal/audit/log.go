package audit

import (
	"context"
	"log/slog"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Appender appends events to the chain in one transaction, durable when it returns. It gives them their Sequence,
// Hash and, where it is zero, Time.
type Appender interface {
	AppendEvents(ctx context.Context, events []Event) error
}

// Options are the settings of a Log.
type Options struct {
	// Strict makes Record wait until the event is durable.
	Strict bool
	// Delay is how long a batch may wait for company; 2 ms if 0. A strict log does not wait.
	Delay time.Duration
	// Batch is the most events of one transaction; 1024 if 0.
	Batch int
	// Queue is the most events that wait; 8192 if 0.
	Queue int
	// Logger hears of batches that could not be written; slog.Default() if nil.
	Logger *slog.Logger
}

// Log is the group committer of key uses.
type Log struct{}

// NewLog starts a log; end it with Close.
func NewLog(_ Appender, _ Options) *Log { return &Log{} }

// Record hands an event over. A strict log returns when it is durable, another one as soon as it is queued.
func (l *Log) Record(_ context.Context, _ Event) error { return cryptoki.CKR_FUNCTION_NOT_SUPPORTED }

// Close writes what is queued and ends the log.
func (l *Log) Close() error { return nil }
