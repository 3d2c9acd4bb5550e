package keystore

import (
	"context"
	"database/sql"
	"sync"
)

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

// repeated are the statements of a transaction: one that comes again is prepared, and kept until the transaction ends.
type repeated struct {
	*sql.Tx
	// statements holds nil for a statement that has run once; it is nil where the driver itself prepares statements.
	statements map[string]*sql.Stmt
}

// statement returns a prepared statement, nil for one that comes for the first time.
func (r *repeated) statement(ctx context.Context, query string) *sql.Stmt {
	if r.statements == nil {
		return nil
	}
	statement, seen := r.statements[query]
	if statement == nil && seen {
		// What cannot be prepared fails again, and is reported, when it is run.
		statement, _ = r.Tx.PrepareContext(ctx, query)
	}
	r.statements[query] = statement
	return statement
}

// QueryContext implements querier.
func (r *repeated) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if statement := r.statement(ctx, query); statement != nil {
		return statement.QueryContext(ctx, args...)
	}
	return r.Tx.QueryContext(ctx, query, args...)
}

// QueryRowContext implements querier.
func (r *repeated) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if statement := r.statement(ctx, query); statement != nil {
		return statement.QueryRowContext(ctx, args...)
	}
	return r.Tx.QueryRowContext(ctx, query, args...)
}

// ExecContext runs a statement that changes something.
func (r *repeated) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if statement := r.statement(ctx, query); statement != nil {
		return statement.ExecContext(ctx, args...)
	}
	return r.Tx.ExecContext(ctx, query, args...)
}
