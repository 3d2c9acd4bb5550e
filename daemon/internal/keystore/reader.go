package keystore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// querier runs statements: prepared ones of the pool, or those of a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Reader reads: a Store what is committed, a Tx also what it has changed itself.
type Reader struct {
	q      querier
	engine engine
	// pooled tells that each statement stands alone, so that one can be run again; in a transaction only the whole can.
	pooled bool
}

// one reads one row; found is false if there is none.
func (r *Reader) one(ctx context.Context, query string, args []any, dest ...any) (found bool, err error) {
	err = r.persist(ctx, func() error {
		err := r.q.QueryRowContext(ctx, r.engine.bind(query), args...).Scan(dest...)
		found = err == nil
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return found && err == nil, err
}

// all reads rows one after the other through scan, from the first again where a connection is lost.
func all[T any](ctx context.Context, r *Reader, query string, args []any, scan func(row *sql.Rows) (T, error)) (found []T, err error) {
	err = r.persist(ctx, func() error {
		found = nil
		rows, err := r.q.QueryContext(ctx, r.engine.bind(query), args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			one, err := scan(rows)
			if err != nil {
				return err
			}
			found = append(found, one)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// persist runs a statement, again where that helps.
func (r *Reader) persist(ctx context.Context, run func() error) error {
	if r.pooled {
		return persist(ctx, r.engine, run)
	}
	return r.engine.fault(run())
}

// Meta returns a value of meta, nil if it is not there.
func (r *Reader) Meta(ctx context.Context, key string) ([]byte, error) {
	var value []byte
	_, err := r.one(ctx, `SELECT value FROM meta WHERE name = ?`, []any{key}, &value)
	return value, err
}

func notFound(what, name string) error {
	return fault.New(fault.NotFound, "there is no %s %q; look at the list of those that there are", what, name)
}

func micro(t time.Time) int64   { return t.UnixMicro() }
func moment(us int64) time.Time { return time.UnixMicro(us).UTC() }
