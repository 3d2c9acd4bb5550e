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

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Store is the database.
type Store struct {
	Reader
	// write makes changes one after the other: with one connection, or by the engine's lock.
	write *sql.DB
	read  *sql.DB
	auth  audit.Authenticator
	tries turns
	// working bounds the requests that hold a turn.
	working chan struct{}
	cache   cache
	now     func() time.Time
	// remember is how many removed objects are remembered of a token.
	remember int64

	stop    context.CancelFunc
	stopped sync.WaitGroup
}

// checkTime is how long a health check may take.
const checkTime = 3 * time.Second

// Option is a setting of Open.
type Option func(*options)

type options struct {
	password func() ([]byte, error)
	// schema is the version of the schema to migrate to; the newest if 0.
	schema int64
}

// upTo leaves the schema of a new store at a version.
func upTo(schema int64) Option { return func(o *options) { o.schema = schema } }

// Password gives the password for a database server. It is read for each new connection, so that it can be changed
// while the daemon runs; Open wipes what read returns.
func Password(read func() ([]byte, error)) Option { return func(o *options) { o.password = read } }

// Open opens the store, or makes it where there is none: "sqlite:/path" or a bare path, or "postgres://user@host/database".
func Open(ctx context.Context, dsn string, settings ...Option) (*Store, error) {
	var o options
	for _, set := range settings {
		set(&o)
	}
	if path, ok := sqlitePath(dsn); ok {
		return openSQLite(ctx, path)
	}
	scheme, _, _ := strings.Cut(dsn, ":")
	if scheme == "postgres" || scheme == "postgresql" {
		return openPostgres(ctx, dsn, o)
	}
	return nil, fault.New(fault.InvalidInput, "the store %q is of a kind that this daemon does not know; give sqlite:/path, a path, or postgres://user@host/database", scheme+":")
}

// sqlitePath returns the path of a store that is a file.
func sqlitePath(dsn string) (string, bool) {
	scheme, rest, found := strings.Cut(dsn, ":")
	switch {
	case !found || strings.Contains(scheme, "/"):
		return dsn, true
	case scheme == "sqlite":
		return rest, true
	}
	return "", false
}

// newStore migrates the database, to a version of the schema or the newest, and begins to prune it.
func newStore(ctx context.Context, write, read *sql.DB, e engine, schema int64) (*Store, error) {
	s := &Store{
		Reader: Reader{q: e.querier(read), engine: e, pooled: true},
		write:  write, read: read, tries: turns{}, working: make(chan struct{}, requestsAtOnce), now: time.Now, remember: rememberRemoved,
	}
	s.cache.init(!e.shared())
	if err := s.migrateTo(ctx, schema); err != nil {
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
	return errors.Join(err, s.write.Close(), s.engine.close())
}

// Authenticate gives the store the root key's MAC for the head of the audit. Call it once, before the first change.
func (s *Store) Authenticate(a audit.Authenticator) { s.auth = a }

// Name returns how messages name the store: its file, or its server and database.
func (s *Store) Name() string { return s.engine.name() }

// Check reads from the store, for health checks: whoever asks wants to know now.
func (s *Store) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	_, err := s.FreeSlot(ctx)
	return err
}

// View runs f on one state of the store, whatever is changed meanwhile. Should the connection be lost, f runs again.
func (s *Store) View(ctx context.Context, f func(r *Reader) error) error {
	return persist(ctx, s.engine, func() error {
		tx, err := s.read.BeginTx(ctx, s.engine.viewing())
		if err != nil {
			return err
		}
		defer tx.Rollback()
		return f(&Reader{q: tx, engine: s.engine})
	})
}

// SetMeta stores a value that nobody needs to hear of.
func (s *Store) SetMeta(ctx context.Context, key string, value []byte) error {
	return s.transact(ctx, func(tx *Tx) error { return tx.PutMeta(key, value) })
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
