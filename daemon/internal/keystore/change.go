package keystore

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// maxID is the first number that no slot and no object can have: greater handles belong to session objects.
const maxID = 1 << 31

// Tx is a transaction in Change. It is not for concurrent use and ends with the function that got it.
type Tx struct {
	Reader
	// Event is the event that Change will write; complete it with what is known only now, such as the object's uid.
	Event *audit.Event

	ctx        context.Context
	statements *repeated
	auth       audit.Authenticator
	now        time.Time
	// touched tells that what policy rests on was changed, stale that tokens or objects were: what is cached of them
	// must be looked at again.
	touched, stale bool
	mark           *mark
}

// Change runs do in one transaction with the record of the request and the audit event. It returns do's response,
// which is kept for 24 hours: a RequestID seen before returns it again, with replayed true, and does not call do.
// Of calls with one RequestID at the same time one does the work, the others wait for its response. Nothing has
// changed if there is an error. Do must not call the Store's changing methods, nor wait for anything slow; it is called
// again where a connection to the database was lost, so what it leaves outside of the transaction it must set anew.
func (s *Store) Change(ctx context.Context, c Change, do func(tx *Tx) (response []byte, err error)) (response []byte, replayed bool, err error) {
	if s.engine.shared() && c.RequestID == "" && c.Event.Operation == "" {
		// Should the answer to the commit be lost, this tells whether it took place.
		c.RequestID = "commit " + rand.Text()
		defer func() { replayed = false }()
	}
	err = s.transact(ctx, func(tx *Tx) error {
		event := c.Event
		tx.Event = &event
		if c.RequestID != "" {
			response, replayed, err = tx.claim(c)
			if err != nil || replayed {
				return err
			}
		}
		if response, err = do(tx); err != nil {
			return err
		}
		if c.RequestID != "" {
			if err := tx.exec(`UPDATE requests SET response = ? WHERE id = ?`, response, c.RequestID); err != nil {
				return err
			}
		}
		if event.Operation == "" {
			return nil
		}
		return tx.appendEvents([]audit.Event{event})
	})
	if err != nil {
		return nil, false, err
	}
	return response, replayed, nil
}

// Request returns the response that a request got before, without a writer's lock: for work that must not be done
// twice and is done before Change, such as making a key in a provider. An id of another application is refused.
func (r *Reader) Request(ctx context.Context, id, application string) (response []byte, found bool, err error) {
	var owner string
	found, err = r.one(ctx, `SELECT application, response FROM requests WHERE id = ?`, []any{id}, &owner, &response)
	if err != nil || !found {
		return nil, false, err
	}
	if owner != application {
		return nil, false, fault.New(fault.NotGranted, "the request id belongs to another application; use random ids")
	}
	return response, true, nil
}

// claim records a request, or returns the response that it got before. The insertion comes first: where writers do
// not queue up, the second of two equal requests waits here for the first.
func (tx *Tx) claim(c Change) (response []byte, replayed bool, err error) {
	n, err := tx.run(`INSERT INTO requests (id, application, created) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING`, c.RequestID, c.Application, micro(tx.now))
	if err != nil || n == 1 {
		return nil, false, err
	}
	return tx.Request(tx.ctx, c.RequestID, c.Application)
}

// PutMeta stores a value of meta; nil deletes it.
func (tx *Tx) PutMeta(key string, value []byte) error {
	if value == nil {
		return tx.exec(`DELETE FROM meta WHERE name = ?`, key)
	}
	return tx.exec(`INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, key, value)
}

// number gives the next number of a sequence.
func (tx *Tx) number(sequence string) (uint64, error) {
	var next uint64
	found, err := tx.one(tx.ctx, `UPDATE counters SET next = next + 1 WHERE name = ? RETURNING next`, []any{sequence}, &next)
	switch {
	case err != nil:
		return 0, err
	case !found:
		return 0, fault.New(fault.StoreDamaged, "the store %s has lost its counter of %ss; restore it from a backup", tx.engine.name(), sequence)
	case next > maxID:
		return 0, fault.New(fault.DeviceMemory, "all %d numbers of %ss are used up; begin a new store", maxID-1, sequence)
	}
	return next - 1, nil
}

// run runs a statement and returns how many rows it changed.
func (tx *Tx) run(query string, args ...any) (int64, error) {
	// By the table's name, so that no change that is added later can forget it.
	if strings.Contains(query, "tokens") || strings.Contains(query, "objects") || strings.Contains(query, "key_references") {
		tx.stale = true
	}
	return tx.runUncached(query, args...)
}

// runUncached runs a statement that changes nothing of what is cached.
func (tx *Tx) runUncached(query string, args ...any) (int64, error) {
	result, err := tx.statements.ExecContext(tx.ctx, tx.engine.bind(query), args...)
	if err != nil {
		return 0, tx.engine.fault(err)
	}
	n, err := result.RowsAffected()
	return n, tx.engine.fault(err)
}

func (tx *Tx) exec(query string, args ...any) error {
	_, err := tx.run(query, args...)
	return err
}
