package keystore

import (
	"context"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// An abandoned uid is one whose key in a provider is being destroyed because its object could not be stored. Another
// daemon may have found the same key for the same request meanwhile: from then on it cannot store the object either. The
// note lies among the requests, whose life it shares: a request is not repeated after that.
const abandoned = "abandoned "

// ErrAbandoned tells that no object can have this uid any more; take another one.
var ErrAbandoned = fault.New(fault.Conflict, "the key was given up by another attempt of the same request; call again")

// Abandon notes that no object may have a uid, unless there is one: then its key must stay.
func (s *Store) Abandon(ctx context.Context, uid string) (done bool, err error) {
	err = s.transact(ctx, func(tx *Tx) error {
		var id uint64
		found, err := tx.one(ctx, `SELECT id FROM objects WHERE uid = ?`, []any{uid}, &id)
		if done = !found; err != nil || found {
			return err
		}
		return tx.exec(`INSERT INTO requests (id, application, created) VALUES (?, '', ?) ON CONFLICT (id) DO NOTHING`, abandoned+uid, micro(tx.now))
	})
	return done && err == nil, err
}

// requestsAtOnce is how many requests hold a turn among daemons: each takes one of the connections that PINs need too.
const requestsAtOnce = turnsAtOnce / 2

// RequestTurn waits until no other daemon works on a request, for work that must not be done twice and is done before
// Change. A daemon that dies loses its turn; where the database has no such locks, or the work takes longer than the
// database lets a turn be, daemons may work side by side, and Abandon keeps them from harm.
func (s *Store) RequestTurn(ctx context.Context, owner, id string) (done func(), err error) {
	if !s.engine.shared() {
		return func() {}, nil
	}
	select {
	case s.working <- struct{}{}:
	case <-ctx.Done():
		return nil, s.engine.fault(ctx.Err())
	}
	end, err := s.engine.turn(ctx, "request "+owner+"\x00"+id)
	if err != nil {
		<-s.working
		return nil, err
	}
	return func() { end(); <-s.working }, nil
}

// Abandoned tells whether a uid was abandoned.
func (r *Reader) Abandoned(ctx context.Context, uid string) (bool, error) {
	var id string
	return r.one(ctx, `SELECT id FROM requests WHERE id = ?`, []any{abandoned + uid}, &id)
}
