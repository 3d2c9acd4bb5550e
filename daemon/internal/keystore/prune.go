package keystore

import (
	"context"
	"database/sql"
	"log/slog"
	"time"
)

const (
	// requestLife is how long a request's response can be asked for again.
	requestLife = 24 * time.Hour
	// ticketGrace is how much longer than its ticket a used ticket is remembered: clocks differ.
	ticketGrace = time.Hour
	// rememberRemoved is how many removed objects are remembered of a token. A cache that is further behind reads anew.
	rememberRemoved = 10_000
	// pruneAtOnce is how many rows go in one transaction, so that writers wait for milliseconds only.
	pruneAtOnce = 2_000
)

func (s *Store) pruneHourly(ctx context.Context) {
	ticker := time.NewTicker(time.Hour)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := s.Prune(ctx); err != nil && ctx.Err() == nil {
				slog.Warn("the store was not pruned; it is tried again in an hour", "error", err)
			}
		}
	}
}

// Prune forgets requests, tickets, enrollment codes and removed objects that are too old to matter. An open store does
// it each hour by itself.
func (s *Store) Prune(ctx context.Context) error {
	now := s.now()
	for _, old := range []struct {
		statement string
		before    time.Time
	}{
		{`DELETE FROM requests WHERE id IN (SELECT id FROM requests WHERE created < ? LIMIT ?)`, now.Add(-requestLife)},
		{`DELETE FROM used_tickets WHERE id IN (SELECT id FROM used_tickets WHERE expires < ? LIMIT ?)`, now.Add(-ticketGrace)},
		{`DELETE FROM enrollment_codes WHERE hash IN (SELECT hash FROM enrollment_codes WHERE expires < ? LIMIT ?)`, now},
	} {
		if err := s.repeat(ctx, old.statement, micro(old.before), pruneAtOnce); err != nil {
			return err
		}
	}
	return s.pruneRemoved(ctx)
}

// repeat runs a statement until it changes nothing more.
func (s *Store) repeat(ctx context.Context, statement string, args ...any) error {
	for {
		var n int64
		err := s.transact(ctx, func(tx *Tx) (err error) {
			n, err = tx.run(statement, args...)
			return err
		})
		if err != nil || n == 0 {
			return err
		}
	}
}

func (s *Store) pruneRemoved(ctx context.Context) error {
	type long struct{ token, count int64 }
	tokens, err := all(ctx, &s.Reader, `SELECT token_id, COUNT(*) FROM removed GROUP BY token_id HAVING COUNT(*) > ?`, []any{s.remember},
		func(row *sql.Rows) (l long, err error) {
			err = row.Scan(&l.token, &l.count)
			return l, err
		})
	if err != nil {
		return err
	}
	for _, l := range tokens {
		// Say first that they are forgotten: whoever reads between the two transactions must not miss one.
		var last int64
		err := s.transact(ctx, func(tx *Tx) error {
			if _, err := tx.one(ctx, `SELECT revision FROM removed WHERE token_id = ? ORDER BY revision LIMIT 1 OFFSET ?`,
				[]any{l.token, l.count - s.remember - 1}, &last); err != nil {
				return err
			}
			return tx.exec(`UPDATE tokens SET forgotten = ? WHERE id = ? AND forgotten < ?`, last, l.token, last)
		})
		if err != nil {
			return err
		}
		if err := s.repeat(ctx, `DELETE FROM removed WHERE object_id IN (SELECT object_id FROM removed WHERE token_id = ? AND revision <= ? LIMIT ?)`,
			l.token, last, pruneAtOnce); err != nil {
			return err
		}
	}
	return nil
}
