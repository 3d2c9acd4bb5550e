// Package keystore keeps tokens, objects, applications, request ids and the audit in a SQL database. What is secret in
// them comes here sealed.
//
// The statements are in the SQL that SQLite and PostgreSQL share; what differs is in the one file of each engine.
package keystore

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// engine is what differs between databases.
type engine interface {
	// dialect is the database's name in goose.
	dialect() goose.Dialect
	// bind turns a statement's question marks into the database's placeholders.
	bind(query string) string
	// fault turns an error of the driver into one that says what to do.
	fault(err error) error
	// name is how the store is named in messages.
	name() string
}

// Store is the database.
type Store struct {
	Reader
	// write has one connection: changes are made one after the other.
	write *sql.DB
	read  *sql.DB
	auth  audit.Authenticator
	tries turns
	now   func() time.Time

	stop    context.CancelFunc
	stopped sync.WaitGroup
}

// Open opens the store, or makes it where there is none: "sqlite:/path" or a bare path.
func Open(ctx context.Context, dsn string) (*Store, error) {
	scheme, rest, found := strings.Cut(dsn, ":")
	switch {
	case !found || strings.Contains(scheme, "/"):
		return openSQLite(ctx, dsn)
	case scheme == "sqlite":
		return openSQLite(ctx, rest)
	}
	return nil, fault.New(fault.InvalidInput, "the store %q is of a kind that this daemon does not know; give sqlite:/path or a path", scheme+":")
}

// newStore migrates the database and begins to prune it.
func newStore(ctx context.Context, write, read *sql.DB, e engine) (*Store, error) {
	s := &Store{
		Reader: Reader{q: newPrepared(read), engine: e},
		write:  write, read: read, tries: turns{}, now: time.Now,
	}
	if err := s.migrate(ctx); err != nil {
		return nil, err
	}
	pruning, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.stopped.Go(func() { s.pruneHourly(pruning) })
	return s, nil
}

// Close ends the store.
func (s *Store) Close() error {
	s.stop()
	s.stopped.Wait()
	err := s.read.Close()
	// The writer goes last: it writes the log back into the file.
	if e := s.write.Close(); err == nil {
		err = e
	}
	return err
}

// Authenticate gives the store the root key's MAC for the head of the audit. Call it once, before the first change.
func (s *Store) Authenticate(a audit.Authenticator) { s.auth = a }

// Name returns how messages name the store: its file.
func (s *Store) Name() string { return s.engine.name() }

// Check reads from the store, for health checks.
func (s *Store) Check(ctx context.Context) error {
	_, err := s.FreeSlot(ctx)
	return err
}

// View runs f on one state of the store, whatever is changed meanwhile.
func (s *Store) View(ctx context.Context, f func(r *Reader) error) error {
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelDefault})
	if err != nil {
		return s.engine.fault(err)
	}
	defer tx.Rollback()
	return f(&Reader{q: tx, engine: s.engine})
}

// InitMeta stores a value unless one is there, and returns the one that is there now.
func (s *Store) InitMeta(ctx context.Context, key string, value []byte) (now []byte, err error) {
	err = s.transact(ctx, func(tx *Tx) error {
		if err := tx.exec(`INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING`, key, value); err != nil {
			return err
		}
		now, err = tx.Meta(ctx, key)
		return err
	})
	return now, err
}

// transact runs f in a transaction on the writing connection, and commits if f returns nil.
func (s *Store) transact(ctx context.Context, f func(tx *Tx) error) error {
	conn, err := s.write.Conn(ctx) // waits for the writers before
	if err != nil {
		return s.engine.fault(err)
	}
	defer conn.Close()
	// A context that ends while the transaction commits would leave the caller in the dark: the beginning, which may wait
	// for another process, and the statements obey ctx, the commit does not.
	whole, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	detach := context.AfterFunc(ctx, cancel)
	begun, err := conn.BeginTx(whole, nil)
	if err == nil {
		defer begun.Rollback()
	}
	if !detach() {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		return s.engine.fault(err)
	}
	statements := &repeated{Tx: begun, statements: map[string]*sql.Stmt{}}
	tx := &Tx{
		Reader: Reader{q: statements, engine: s.engine},
		ctx:    ctx, statements: statements, auth: s.auth, now: s.now().UTC().Truncate(time.Microsecond),
	}
	if err := f(tx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return s.engine.fault(err)
	}
	return s.engine.fault(begun.Commit())
}
