package keystore

import (
	"bytes"
	"context"
	"errors"
	"time"
)

// mark is by what a transaction is recognised whose commit was not answered: the last audit event that it wrote.
type mark struct {
	sequence uint64
	hash     []byte
}

// transact runs f in a transaction that has the store to itself, and commits if f returns nil. Where a connection is
// lost f runs again, in another transaction. Should the answer to a commit be lost, the store is asked whether the
// audit event of the transaction is there; f must be harmless when repeated if it writes none.
func (s *Store) transact(ctx context.Context, f func(tx *Tx) error) error {
	var doubtful *mark
	var failed error
	err := persist(ctx, s.engine, func() error {
		failed = nil
		return s.attempt(ctx, &doubtful, func(tx *Tx) error {
			failed = f(tx)
			return failed
		})
	})
	if err != nil && failed != nil && ctx.Err() == nil {
		return failed // as f made it
	}
	return err
}

func (s *Store) attempt(ctx context.Context, doubtful **mark, f func(tx *Tx) error) error {
	conn, err := s.write.Conn(ctx) // waits for the writers before
	if err != nil {
		return err
	}
	defer conn.Close()
	// A context that ends while the transaction commits would leave the caller in the dark: the beginning, which may wait
	// for another process, and the statements obey ctx, the commit does not.
	whole, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	detach := context.AfterFunc(ctx, cancel)
	begun, err := conn.BeginTx(whole, s.engine.changing())
	if err == nil {
		defer begun.Rollback()
	}
	if !detach() {
		err = errors.Join(ctx.Err(), err)
	}
	if err == nil {
		err = s.engine.serialize(ctx, begun)
	}
	if err != nil {
		return err
	}
	statements := s.engine.statements(begun)
	tx := &Tx{
		Reader: Reader{q: statements, engine: s.engine},
		ctx:    ctx, statements: statements, auth: s.auth, now: s.now().UTC().Truncate(time.Microsecond),
	}
	if *doubtful != nil {
		s.cache.expire() // whatever became of it
	}
	// The transaction before, if it still ran, has ended now: its writer's lock is ours.
	if done, err := tx.has(*doubtful); done || err != nil {
		return err
	}
	*doubtful = nil
	if err := f(tx); err != nil {
		return err
	}
	if err := tx.tell(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.engine.shared() {
		// The network may never answer.
		defer time.AfterFunc(patience, cancel).Stop()
	}
	if err = begun.Commit(); err != nil {
		*doubtful = tx.mark
	}
	if tx.stale {
		// Before anybody hears that it is changed, also where only the answer to the commit was lost.
		s.cache.expire()
	}
	return err
}

// has tells whether the transaction of a mark was committed.
func (tx *Tx) has(m *mark) (bool, error) {
	if m == nil {
		return false, nil
	}
	var hash []byte
	_, err := tx.one(tx.ctx, `SELECT hash FROM audit WHERE sequence = ?`, []any{signed(m.sequence)}, &hash)
	return err == nil && bytes.Equal(hash, m.hash), err
}

// tell tells all daemons that policy has changed, or tokens and objects.
func (tx *Tx) tell() error {
	if !tx.engine.shared() || !tx.touched && !tx.stale {
		return nil
	}
	for _, c := range []struct {
		name    string
		changed bool
	}{{counterPolicy, tx.touched}, {counterWriter, tx.stale}} {
		if !c.changed {
			continue
		}
		if err := tx.exec(`UPDATE counters SET next = next + 1 WHERE name = ?`, c.name); err != nil {
			return err
		}
	}
	return tx.engine.fault(tx.engine.announce(tx.ctx, tx.statements.Tx))
}
