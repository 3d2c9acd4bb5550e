package keystore

import (
	"context"
	"log/slog"
	"time"
)

// lookAgain is how often a daemon looks whether policy has changed, should a notification not reach it.
const lookAgain = time.Second

// Watch calls changed when it begins and each time that tokens, applications or grants were changed, by this or another
// daemon, until the context ends. Changed is called again soon if it fails. Where no other daemon can use the store
// Watch returns at once.
func (s *Store) Watch(ctx context.Context, changed func(ctx context.Context) error) {
	if !s.engine.shared() {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	hinted := make(chan struct{}, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.engine.hints(ctx, func() {
			select {
			case hinted <- struct{}{}:
			default:
			}
		})
	}()
	defer func() { cancel(); <-ended }()
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	seen, failing := int64(-1), false
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

// look calls changed if the count of changes is not the one that was seen last.
func (s *Store) look(ctx context.Context, seen *int64, changed func(ctx context.Context) error) error {
	var count int64
	if _, err := s.one(ctx, `SELECT next FROM counters WHERE name = 'policy'`, nil, &count); err != nil {
		return err
	}
	if count == *seen {
		return nil
	}
	if err := changed(ctx); err != nil {
		return err
	}
	*seen = count
	return nil
}
