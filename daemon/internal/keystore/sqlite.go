package keystore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// sqliteEngine is all that is peculiar to SQLite.
type sqliteEngine struct{ path string }

func (e sqliteEngine) migrator() (goose.Dialect, []goose.ProviderOption, error) {
	return goose.DialectSQLite3, nil, nil
}
func (e sqliteEngine) bind(query string) string   { return query }
func (e sqliteEngine) name() string               { return e.path }
func (e sqliteEngine) querier(db *sql.DB) querier { return newPrepared(db) }
func (e sqliteEngine) statements(tx *sql.Tx) *repeated {
	return &repeated{Tx: tx, statements: map[string]*sql.Stmt{}}
}
func (e sqliteEngine) close() error { return nil }

// One file is one machine's: a writer has it alone, nothing is lost on the way, and nobody else has a cache.
func (e sqliteEngine) shared() bool                                 { return false }
func (e sqliteEngine) lacks(error) bool                             { return false }
func (e sqliteEngine) transient(error) bool                         { return false }
func (e sqliteEngine) changing() *sql.TxOptions                     { return nil }
func (e sqliteEngine) viewing() *sql.TxOptions                      { return &sql.TxOptions{ReadOnly: true} }
func (e sqliteEngine) serialize(context.Context, *sql.Tx) error     { return nil }
func (e sqliteEngine) announce(context.Context, *sql.Tx) error      { return nil }
func (e sqliteEngine) hints(context.Context, func(), func())        {}
func (e sqliteEngine) turn(context.Context, string) (func(), error) { return func() {}, nil }

func (e sqliteEngine) patient(read *sql.DB) (*sql.DB, func() error) {
	return read, func() error { return nil }
}

// openSQLite opens the file, or makes it.
func openSQLite(ctx context.Context, path string) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fault.New(fault.InvalidInput, "the store's path cannot be resolved: %w; give an absolute one", err)
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createSQLite(ctx, path); err != nil {
			return nil, err
		}
		info, err = os.Stat(path)
	}
	if err != nil {
		return nil, fault.New(fault.InvalidInput, "the store cannot be opened: %w; let the daemon's user own it and its directory", err)
	}
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return nil, fault.New(fault.InvalidInput, "the store %s is not a regular file; give the path of a file", path)
	case mode.Perm()&0o077 != 0:
		return nil, fault.New(fault.InvalidInput, "the store %s has mode %04o, so others can reach it; run: chmod 600 %s", path, mode.Perm(), path)
	case info.Size() == 0:
		// We never leave an empty file: createSQLite sees to it.
		return nil, fault.New(fault.StoreDamaged, "the store %s is empty; restore it from a backup, or remove it to begin anew", path)
	}
	return connectSQLite(ctx, path, true, 0)
}

// createSQLite makes a store under a name of its own and links it to its path when it is complete and durable. So a
// crash leaves no half-made store, an empty file is always damage, and of two daemons that start together one wins.
func createSQLite(ctx context.Context, path string) error {
	return makeSQLite(ctx, path, 0, func(*Store) error { return nil }, func(draft string) error {
		if err := os.Link(draft, path); !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	})
}

// makeSQLite makes a store of a version of the schema beside a path, fills it, and lets name give it the path.
func makeSQLite(ctx context.Context, path string, schema int64, fill func(*Store) error, name func(draft string) error) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fault.New(fault.InvalidInput, "the store's directory cannot be made: %w; make it for the daemon's user", err)
	}
	draft := fmt.Sprintf("%s.%s.new", path, rand.Text()[:8])
	f, err := os.OpenFile(draft, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fault.New(fault.InvalidInput, "the store cannot be made: %w; let the daemon's user own its directory", err)
	}
	defer func() {
		for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
			os.Remove(draft + suffix)
		}
	}()
	f.Close()
	s, err := connectSQLite(ctx, draft, false, schema)
	if err != nil {
		return err
	}
	if err := fill(s); err != nil {
		return errors.Join(err, s.Close())
	}
	// Closing the last connection writes the log back into the file and removes it.
	if err := s.Close(); err != nil {
		return sqliteEngine{path}.fault(err)
	}
	if err := name(draft); err != nil {
		return fault.New(fault.InvalidInput, "the store cannot be made: %w; use a directory on a file system with links", err)
	}
	d, err := os.Open(dir)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	return sqliteEngine{path}.fault(err)
}

func connectSQLite(ctx context.Context, path string, check bool, schema int64) (*Store, error) {
	e := sqliteEngine{path}
	// Writers take the lock when they begin, so that two of them wait for each other instead of failing in the middle.
	write, err := sql.Open("sqlite", e.dsn("_txlock=immediate"))
	if err != nil {
		return nil, e.fault(err)
	}
	write.SetMaxOpenConns(1)
	if check {
		if err := e.check(ctx, write); err != nil {
			write.Close()
			return nil, err
		}
	}
	read, err := sql.Open("sqlite", e.dsn("_pragma=query_only(1)"))
	if err != nil {
		write.Close()
		return nil, e.fault(err)
	}
	connections := max(4, 2*runtime.GOMAXPROCS(0))
	read.SetMaxOpenConns(connections)
	read.SetMaxIdleConns(connections)
	s, err := newStore(ctx, write, read, e, schema)
	if err != nil {
		read.Close()
		write.Close()
		return nil, err
	}
	return s, nil
}

func (e sqliteEngine) dsn(more string) string {
	file := url.URL{Scheme: "file", Path: e.path}
	return file.String() + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)" +
		"&_pragma=cache_size(-16384)&_defensive=1&_dqs=0&_error_rc=1&" + more
}

// check reads the whole file, and that it is a store of ours.
func (e sqliteEngine) check(ctx context.Context, db *sql.DB) error {
	var result string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&result); err != nil {
		return e.fault(err)
	}
	if result != "ok" {
		return e.damaged(result)
	}
	var tables int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master WHERE name = ?", goose.DefaultTablename).Scan(&tables); err != nil {
		return e.fault(err)
	}
	if tables == 0 {
		return fault.New(fault.InvalidInput, "%s is a SQLite database, but not a store of AnyHSM; give another path", e.path)
	}
	return nil
}

func (e sqliteEngine) damaged(what string) error {
	return fault.New(fault.StoreDamaged, "the store %s is damaged (%s); stop the daemon and restore the file from a backup", e.path, what)
}

// fault tells what a failure of SQLite means and what to do.
func (e sqliteEngine) fault(err error) error {
	var failure *sqlite.Error
	if !errors.As(err, &failure) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return otherFault(err)
	}
	code := failure.Code()
	switch code {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return fault.New(fault.AlreadyExists, "it exists already: %w; choose another name", err)
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return fault.New(fault.NotFound, "what it belongs to does not exist: %w; make that first", err)
	case sqlite3.SQLITE_IOERR_SHMSIZE:
		// The index of the log cannot grow.
		code = sqlite3.SQLITE_FULL
	}
	switch code & 0xff {
	case sqlite3.SQLITE_FULL:
		return fault.New(fault.DeviceMemory, "the disk of the store %s is full, so nothing was changed: %w; free space and call again", e.path, err)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT:
		return e.damaged(err.Error())
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return fault.New(fault.Conflict, "the store %s is busy: %w; call again", e.path, err)
	case sqlite3.SQLITE_INTERRUPT:
		return fault.New(fault.FunctionCanceled, "the call was cancelled: %w", err)
	case sqlite3.SQLITE_NOMEM:
		return fault.New(fault.HostMemory, "no memory for the store: %w; give the daemon more", err)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
		return fault.New(fault.DeviceError, "the store %s cannot be written: %w; let the daemon's user own it and its directory", e.path, err)
	case sqlite3.SQLITE_IOERR:
		return fault.New(fault.DeviceError, "the disk of the store %s fails: %w; look at the system's log", e.path, err)
	}
	return fault.New(fault.Internal, "the store %s failed: %w", e.path, err)
}
