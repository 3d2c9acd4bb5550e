package keystore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// turn takes an advisory lock in a transaction that does nothing else. A daemon that dies or hangs loses it.
func (e *postgresEngine) turn(ctx context.Context, name string) (done func(), err error) {
	done = func() {}
	if e.lockless.Load() {
		return done, nil
	}
	sum := sha256.Sum256([]byte("anyhsm pin " + name))
	err = persist(ctx, e, func() error {
		tx, err := e.turns.BeginTx(ctx, e.changing())
		if err != nil {
			return err
		}
		if _, err = tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(binary.BigEndian.Uint64(sum[:]))); err == nil {
			done = func() { _ = tx.Rollback() }
			return nil
		}
		_ = tx.Rollback()
		if unsupported(err) {
			e.lockless.Store(true)
			return nil
		}
		if ctx.Err() != nil {
			err = errors.Join(ctx.Err(), err)
		}
		return err
	})
	return done, err
}
