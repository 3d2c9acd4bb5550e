package keystore

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// postgresEngine is all that is peculiar to PostgreSQL. What databases of its family lack is done without: where there
// is no LISTEN daemons poll, where there are no advisory locks tries of a PIN on two replicas count as wrong while both
// are checked.
//
// Writers queue up at one row. The alternative, SERIALIZABLE transactions that are repeated when they meet, was measured
// with 4 daemons of 2 workers that make objects, on 2 cores (November 2026): 340 to 530 changes a second instead of 530
// to 710, one in a hundred took 0.2 to 0.7 s instead of 20 to 80 ms, and the slowest 2.9 s instead of 0.2 s, since all
// extend the one chain of the audit.
type postgresEngine struct {
	config *pgx.ConnConfig
	label  string
	// password is read for each connection; nil if it comes from the server's trust, a certificate or PGPASSFILE.
	password func() ([]byte, error)
	// turns are connections that wait while a PIN is tried; not those that writers need meanwhile.
	turns *sql.DB
	// listening tells that the server has LISTEN and NOTIFY, lockless that it lacks advisory locks.
	listening, lockless atomic.Bool
	bound               sync.Map
}

const (
	// One connection changes things: when a daemon hangs, each that holds or awaits the writers' lock keeps all others
	// waiting in turn, and more of them make nothing faster.
	writers, readers, turnsAtOnce = 1, 16, 8
	// stalled is how long a daemon may sit in a transaction without doing anything: when it is stopped or cut off, the
	// server ends the transaction, so that others go on. stalledTurn is the same for the check of a PIN.
	stalled, stalledTurn = 2 * time.Second, 30 * time.Second
	// stalledDump is the same for a backup whose taker is slow.
	stalledDump = 10 * time.Minute
)

// openPostgres opens the database, which must be there, and makes the schema if need be.
func openPostgres(ctx context.Context, dsn string, o options) (*Store, error) {
	config, err := parsePostgres(dsn)
	if err != nil {
		return nil, err
	}
	e := &postgresEngine{config: config, password: o.password}
	e.label = "postgres://" + address(config) + "/" + config.Database
	e.listening.Store(true)
	write := e.pool(writers, stalled)
	read := e.pool(readers, stalled)
	e.turns = e.pool(turnsAtOnce, stalledTurn)
	s, err := newStore(ctx, write, read, e, o.schema)
	if err != nil {
		return nil, errors.Join(err, read.Close(), write.Close(), e.close())
	}
	return s, nil
}

// pool returns connections on which a transaction may be idle for so long.
func (e *postgresEngine) pool(connections int, idle time.Duration) *sql.DB {
	config := e.config.Copy()
	const timeout = "idle_in_transaction_session_timeout"
	if config.RuntimeParams[timeout] == "" {
		config.RuntimeParams[timeout] = strconv.FormatInt(idle.Milliseconds(), 10)
	}
	// A call that is given up cancels its statement and keeps the connection.
	config.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: time.Second}
	}
	db := stdlib.OpenDB(*config, stdlib.OptionBeforeConnect(func(_ context.Context, c *pgx.ConnConfig) error { return e.authenticate(c) }))
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	db.SetConnMaxIdleTime(5 * time.Minute)
	db.SetConnMaxLifetime(time.Hour)
	return db
}

// patient returns a connection of its own for a transaction that reads for long.
func (e *postgresEngine) patient(*sql.DB) (*sql.DB, func() error) {
	db := e.pool(1, stalledDump)
	return db, db.Close
}

// authenticate sets the password, as it is now.
func (e *postgresEngine) authenticate(c *pgx.ConnConfig) error {
	if e.password == nil {
		return nil
	}
	password, err := e.password()
	if err != nil {
		return fault.New(fault.InvalidInput, "store_password: %w", err)
	}
	defer clear(password)
	c.Password = string(password)
	return nil
}

func (e *postgresEngine) name() string               { return e.label }
func (e *postgresEngine) querier(db *sql.DB) querier { return db } // pgx prepares statements by itself
func (e *postgresEngine) statements(tx *sql.Tx) *repeated {
	return &repeated{Tx: tx}
}
func (e *postgresEngine) shared() bool { return true }
func (e *postgresEngine) close() error { return e.turns.Close() }

// Writers are alone when they begin to read, so each statement may see what was committed last.
func (e *postgresEngine) changing() *sql.TxOptions {
	return &sql.TxOptions{Isolation: sql.LevelReadCommitted}
}

func (e *postgresEngine) viewing() *sql.TxOptions {
	return &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
}

// migrator keeps daemons that start together apart by an advisory lock.
func (e *postgresEngine) migrator() (goose.Dialect, []goose.ProviderOption, error) {
	if e.lockless.Load() {
		return goose.DialectPostgres, nil, nil
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60))
	if err != nil {
		return "", nil, err
	}
	return goose.DialectPostgres, []goose.ProviderOption{goose.WithSessionLocker(locker)}, nil
}

func (e *postgresEngine) lacks(err error) bool {
	return unsupported(err) && !e.lockless.Swap(true)
}

// unsupported tells that a database of PostgreSQL's family lacks a function or a statement.
func unsupported(err error) bool {
	var failure *pgconn.PgError
	return errors.As(err, &failure) && (failure.Code == undefinedFunction || failure.Code == featureNotSupported && !strings.Contains(failure.Message, "cached plan"))
}

// bind numbers the placeholders. No statement has a question mark elsewhere.
func (e *postgresEngine) bind(query string) string {
	if bound, ok := e.bound.Load(query); ok {
		return bound.(string)
	}
	var b strings.Builder
	n := 0
	for part := range strings.SplitSeq(query, "?") {
		if n > 0 {
			b.WriteString("$" + strconv.Itoa(n))
		}
		b.WriteString(part)
		n++
	}
	e.bound.Store(query, b.String())
	return b.String()
}

// serialize takes the writers' lock, which the end of the transaction gives back.
func (e *postgresEngine) serialize(ctx context.Context, tx *sql.Tx) error {
	var next int64
	err := tx.QueryRowContext(ctx, `SELECT next FROM counters WHERE name = 'writer' FOR UPDATE`).Scan(&next)
	if errors.Is(err, sql.ErrNoRows) {
		return fault.New(fault.StoreDamaged, "the store %s has lost its lock for writers; restore it from a backup", e.label)
	}
	return err
}
