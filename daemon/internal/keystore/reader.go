package keystore

import (
	"context"
	"database/sql"
	"errors"
	"sync"
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
}

// one reads one row; found is false if there is none.
func (r *Reader) one(ctx context.Context, query string, args []any, dest ...any) (found bool, err error) {
	err = r.q.QueryRowContext(ctx, r.engine.bind(query), args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, r.engine.fault(err)
}

// all reads rows one after the other through scan.
func (r *Reader) all(ctx context.Context, query string, args []any, scan func(row *sql.Rows) error) error {
	rows, err := r.q.QueryContext(ctx, r.engine.bind(query), args...)
	if err != nil {
		return r.engine.fault(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return r.engine.fault(err)
		}
	}
	return r.engine.fault(rows.Err())
}

// Meta returns a value of meta, nil if it is not there.
func (r *Reader) Meta(ctx context.Context, key string) ([]byte, error) {
	var value []byte
	_, err := r.one(ctx, `SELECT value FROM meta WHERE name = ?`, []any{key}, &value)
	return value, err
}

// prepared keeps the statements that a pool has run: there are few, and parsing one costs more than running it.
type prepared struct {
	db         *sql.DB
	mu         sync.RWMutex
	statements map[string]*sql.Stmt
}

func newPrepared(db *sql.DB) *prepared {
	return &prepared{db: db, statements: map[string]*sql.Stmt{}}
}

func (p *prepared) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	p.mu.RLock()
	statement, ok := p.statements[query]
	p.mu.RUnlock()
	if ok {
		return statement, nil
	}
	// The database is asked without the lock; of two that prepare the same statement the second is dropped.
	fresh, err := p.db.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if statement, ok := p.statements[query]; ok {
		fresh.Close()
		return statement, nil
	}
	p.statements[query] = fresh
	return fresh, nil
}

// QueryContext implements querier.
func (p *prepared) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	statement, err := p.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return statement.QueryContext(ctx, args...)
}

// QueryRowContext implements querier.
func (p *prepared) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	statement, err := p.statement(ctx, query)
	if err != nil {
		return p.db.QueryRowContext(ctx, query, args...) // a Row with the error
	}
	return statement.QueryRowContext(ctx, args...)
}

func notFound(what, name string) error {
	return fault.New(fault.NotFound, "there is no %s %q; look at the list of those that there are", what, name)
}

func micro(t time.Time) int64   { return t.UnixMicro() }
func moment(us int64) time.Time { return time.UnixMicro(us).UTC() }
