package keystore

import (
	"context"
	"database/sql"
	"log/slog"
	"time"
)

// lookAgain is how often a daemon looks whether something has changed, should a notification not reach it.
const lookAgain = time.Second

// The counters of what daemons must hear of: changes of what policy rests on, and of tokens and objects. The latter is
// the row that writers queue up for.
const (
	counterPolicy = "policy"
	counterWriter = "writer"
)

// Watch calls changed when it begins and each time that tokens, applications or grants were changed, by this or another
// daemon, until the context ends. Changed is called again soon if it fails. As long as Watch runs and reaches the
// database, CurrentToken and CurrentObject answer from memory. Where no other daemon can use the store Watch returns at
// once.
func (s *Store) Watch(ctx context.Context, changed func(ctx context.Context) error) {
	if !s.engine.shared() {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	hinted := make(chan struct{}, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer s.cache.lost()
		s.engine.hints(ctx, func() {
			s.cache.heard()
			select {
			case hinted <- struct{}{}:
			default:
			}
		}, s.cache.lost)
	}()
	defer func() { cancel(); <-ended }()
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	seen, failing := counts{-1, -1}, false
	for {
		err := s.look(ctx, &seen, changed)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			slog.Warn("what other daemons change in the store is not seen for now; what was seen last stays in force", "error", err)
		case err == nil && failing:
			slog.Info("what other daemons change in the store is seen again")
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-hinted:
		case <-ticker.C:
		}
	}
}

// counts are the counters as they were seen last.
type counts struct{ policy, writer int64 }

// look ends the cache's generation and calls changed if the counters are not those that were seen last.
func (s *Store) look(ctx context.Context, seen *counts, changed func(ctx context.Context) error) error {
	began := time.Now()
	now, err := s.counts(ctx)
	if err != nil {
		return err
	}
	if now.writer != seen.writer {
		s.cache.expire()
		seen.writer = now.writer
	}
	s.cache.looked(began)
	if now.policy == seen.policy {
		return nil
	}
	if err := changed(ctx); err != nil {
		return err
	}
	seen.policy = now.policy
	return nil
}

func (s *Store) counts(ctx context.Context) (now counts, err error) {
	type counter struct {
		name string
		next int64
	}
	counters, err := all(ctx, &s.Reader, `SELECT name, next FROM counters WHERE name IN (?, ?)`, []any{counterPolicy, counterWriter},
		func(row *sql.Rows) (c counter, err error) {
			err = row.Scan(&c.name, &c.next)
			return c, err
		})
	for _, c := range counters {
		if c.name == counterPolicy {
			now.policy = c.next
		} else {
			now.writer = c.next
		}
	}
	return now, err
}

// PolicyChanges counts the changes of what policy rests on, whichever daemon made them. It is always 0 where no other
// daemon can use the store.
func (s *Store) PolicyChanges(ctx context.Context) (count int64, err error) {
	if !s.engine.shared() {
		return 0, nil
	}
	_, err = s.one(ctx, `SELECT next FROM counters WHERE name = ?`, []any{counterPolicy}, &count)
	return count, err
}
