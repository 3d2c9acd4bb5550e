package keystore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// engine is what differs between databases.
type engine interface {
	// migrator is the database's name in goose, and how daemons that migrate at the same time are kept apart.
	migrator() (goose.Dialect, []goose.ProviderOption, error)
	// lacks tells that a migration failed for want of what keeps daemons apart; the next migrator does without.
	lacks(err error) bool
	// bind turns a statement's question marks into the database's placeholders.
	bind(query string) string
	// fault turns an error of the driver into one that says what to do.
	fault(err error) error
	// name is how the store is named in messages.
	name() string
	// querier runs statements on a pool, statements runs those of a transaction.
	querier(db *sql.DB) querier
	statements(tx *sql.Tx) *repeated
	// changing and viewing are the options of a transaction that changes something, and of one that sees one state.
	changing() *sql.TxOptions
	viewing() *sql.TxOptions

	// shared tells that other daemons use the same database, over connections that can be lost.
	shared() bool
	// transient tells whether what failed may succeed when it is done again.
	transient(err error) bool
	// serialize is called first in a transaction that changes something: it waits until all others have ended.
	serialize(ctx context.Context, tx *sql.Tx) error
	// announce tells all daemons, when the transaction is committed, that something has changed. hints calls heard when it
	// has begun to listen and at each announcement, and lost when it may miss one from now on, until the context ends.
	announce(ctx context.Context, tx *sql.Tx) error
	hints(ctx context.Context, heard, lost func())
	// turn waits until no other daemon holds the name, and returns how to give it back.
	turn(ctx context.Context, name string) (done func(), err error)
	// patient returns the connections for a transaction that reads for long, made of those for reading, and how to end it.
	patient(read *sql.DB) (db *sql.DB, end func() error)
	close() error
}

const (
	// patience is how long something is done again and again for a caller without a deadline: a database server that
	// restarts, or hands over to its replica, is back by then.
	patience                 = 15 * time.Second
	firstPause, longestPause = 2 * time.Millisecond, 250 * time.Millisecond
)

// persist does something until it succeeds or fails for a reason that will not pass, within the caller's deadline.
func persist(ctx context.Context, e engine, do func() error) error {
	err := do()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		// The time to connect and the caller's look the same in the driver's error.
		return e.fault(late(ctx, err))
	case !e.transient(err):
		return e.fault(err)
	}
	giveUp := time.Now().Add(patience)
	// Daemons that were cut off together must not come back together: each pause is between a half and a whole.
	for pause := firstPause; time.Now().Before(giveUp); pause = min(2*pause, longestPause) {
		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-ctx.Done():
			timer.Stop()
			return gaveUp(ctx, e, err)
		case <-timer.C:
		}
		switch now := do(); {
		case now == nil:
			return nil
		case e.transient(now):
			err = now
		case ctx.Err() != nil:
			return gaveUp(ctx, e, err)
		default:
			return e.fault(now)
		}
	}
	return e.fault(err)
}

// late puts the end of the caller's time before what it led to, unless that is an answer.
func late(ctx context.Context, err error) error {
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	return fmt.Errorf("%w (%v)", ctx.Err(), err)
}

// gaveUp is the error of a caller whose time is up: why the store could not be reached says more than that.
func gaveUp(ctx context.Context, e engine, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return e.fault(ctx.Err())
	}
	return e.fault(err)
}
