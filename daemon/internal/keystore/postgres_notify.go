package keystore

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
)

// channel is what daemons listen to. A notification says nothing but that it is time to look.
const channel = "anyhsm_policy"

// relisten is the pause before a lost connection is made again; the poll goes on meanwhile.
const relisten = 500 * time.Millisecond

func (e *postgresEngine) announce(ctx context.Context, tx *sql.Tx) error {
	if !e.listening.Load() {
		return nil
	}
	_, err := tx.ExecContext(ctx, `SELECT pg_notify($1, '')`, channel)
	if unsupported(err) {
		e.listening.Store(false)
		return errSilent
	}
	return err
}

// errSilent ends a transaction that could not announce its change; the next try does not announce it.
var errSilent = errors.New("the database has no NOTIFY")

func (e *postgresEngine) hints(ctx context.Context, heard, lost func()) {
	for ctx.Err() == nil {
		err := e.listen(ctx, heard)
		lost()
		if unsupported(err) {
			e.listening.Store(false)
			slog.Info("the database has no LISTEN, so that grants which another daemon revokes take effect within a second, not at once, and tokens and objects are read at each use", "store", e.label)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(relisten):
		}
	}
}

// listen waits for notifications on a connection of its own until that is lost.
func (e *postgresEngine) listen(ctx context.Context, heard func()) error {
	config := e.config.Copy()
	if err := e.authenticate(config); err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, `LISTEN `+channel); err != nil {
		return err
	}
	// What was changed before it listened was missed.
	for heard(); ; heard() {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
	}
}
