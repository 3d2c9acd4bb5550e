package keystore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// Load is what goes into a new store.
type Load struct {
	// Schema is the version of the schema that the records are of.
	Schema  int64
	Records iter.Seq2[Record, error]
	// Replace lets a store go that is there.
	Replace bool
	// Verify looks at all that was loaded before it counts; counts are the rows by table.
	Verify func(ctx context.Context, r *Reader, counts map[string]int64) error
}

// LoadStore makes a store of records: all of it, or after an error or a crash nothing. A file that was there is kept
// beside the new one, under the name that it returns.
func LoadStore(ctx context.Context, dsn string, load Load, settings ...Option) (kept string, err error) {
	newest, err := newestSchema()
	if err != nil {
		return "", err
	}
	if load.Schema < 1 || load.Schema > newest {
		return "", fault.New(fault.VersionMismatch, "the schema version is %d, this anyhsmd knows %d; use the anyhsmd that wrote it, or a newer one", load.Schema, newest)
	}
	if path, ok := sqlitePath(dsn); ok {
		return loadSQLite(ctx, path, load)
	}
	return "", loadPostgres(ctx, dsn, load, settings)
}

// newestSchema is the version of the schema that this program makes.
func newestSchema() (newest int64, err error) {
	files, err := fs.ReadDir(migrations, "migrations")
	for _, file := range files {
		var version int64
		if _, err := fmt.Sscanf(file.Name(), "%d_", &version); err != nil {
			return 0, fmt.Errorf("%s: %w", file.Name(), err)
		}
		newest = max(newest, version)
	}
	return newest, err
}

// loadSQLite makes the store under another name, which takes the path when it is complete and durable.
func loadSQLite(ctx context.Context, path string, load Load) (kept string, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return "", err
	}
	_, err = os.Stat(path)
	exists := err == nil
	if exists && !load.Replace {
		return "", fault.New(fault.AlreadyExists, "there is a store in %s already; give another path, or --force to replace it (the old file is kept)", path)
	}
	if exists {
		if err := settleSQLite(ctx, path); err != nil {
			return "", err
		}
	}
	err = makeSQLite(ctx, path, load.Schema, func(s *Store) error {
		if err := s.load(ctx, load); err != nil {
			return err
		}
		return s.migrate(ctx)
	}, func(draft string) error {
		if !exists {
			return os.Link(draft, path)
		}
		kept = path + ".replaced-" + time.Now().UTC().Format("20060102T150405")
		if err := os.Link(path, kept); err != nil {
			return err
		}
		return os.Rename(draft, path)
	})
	return kept, err
}

// settleSQLite writes the log of a store that is to be replaced back into its file: beside another file it would do
// damage.
func settleSQLite(ctx context.Context, path string) error {
	s, err := openSQLite(ctx, path)
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		return fault.New(fault.StoreDamaged, "the store that is to be replaced cannot be opened: %w; move it away with its log (mv %s* elsewhere) and restore without --force", err, path)
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if _, err := os.Stat(path + suffix); err == nil {
			return fault.New(fault.Conflict, "somebody has the store %s open: there is %s; end that program first", path, path+suffix)
		}
	}
	return nil
}

func loadPostgres(ctx context.Context, dsn string, load Load, settings []Option) error {
	s, err := Open(ctx, dsn, append(slices.Clone(settings), upTo(load.Schema))...)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Alone(ctx); err != nil && load.Schema >= replicasSchema {
		return err
	}
	if version, err := s.version(ctx); err != nil {
		return err
	} else if version != load.Schema {
		return fault.New(fault.VersionMismatch, "the database %s has schema version %d, what is to come has %d; make a new, empty database for it", s.Name(), version, load.Schema)
	}
	if err := s.load(ctx, load); err != nil {
		return err
	}
	return s.migrate(ctx)
}

// replicasSchema is the version from which the store knows its daemons.
const replicasSchema = 13

// load fills the store in one transaction.
func (s *Store) load(ctx context.Context, load Load) error {
	begun := false
	return s.transact(ctx, func(tx *Tx) error {
		if begun {
			return fault.New(fault.DeviceError, "the connection to the store %s was lost, so nothing was changed; begin again", s.Name())
		}
		begun = true
		for _, table := range slices.Backward(tables) {
			var row int64
			if err := tx.must(tx.one(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM `+table+` LIMIT 1) AS found`, nil, &row)); err != nil {
				return err
			}
			if row > 0 && table != "counters" && !load.Replace {
				return fault.New(fault.AlreadyExists, "the store %s is not empty; give another database, or --force to replace what is in it", s.Name())
			}
			if err := tx.exec(`DELETE FROM ` + table); err != nil {
				return err
			}
		}
		counts, err := tx.insert(load.Records)
		if err != nil {
			return err
		}
		if missing := slices.DeleteFunc(slices.Clone(tables[:3]), func(t string) bool { _, ok := counts[t]; return ok }); len(missing) > 0 {
			return fault.New(fault.InvalidInput, "the table %s is missing, so nothing was changed; use a complete backup", strings.Join(missing, ", "))
		}
		for _, table := range slices.Sorted(maps.Keys(counts)) {
			var count int64
			if err := tx.must(tx.one(ctx, `SELECT COUNT(*) FROM `+table, nil, &count)); err != nil {
				return err
			}
			if count != counts[table] {
				return fault.New(fault.Internal, "%d of %d rows of %s arrived, so nothing was changed; report this", count, counts[table], table)
			}
		}
		// By its last event the transaction is known, should the answer to the commit be lost.
		newest, err := tx.NewestEvents(ctx, 1)
		if err != nil {
			return err
		}
		for _, e := range newest {
			tx.mark = &mark{e.Sequence, e.Hash}
		}
		return load.Verify(ctx, &tx.Reader, counts)
	})
}

// must makes a row that is not there an error.
func (tx *Tx) must(found bool, err error) error {
	if err == nil && !found {
		err = errors.New("no row")
	}
	return err
}

// atOnce is how many rows one statement inserts.
const atOnce = 64

// insert writes the records and counts the rows of each table.
func (tx *Tx) insert(records iter.Seq2[Record, error]) (map[string]int64, error) {
	counts := map[string]int64{}
	var begun Record
	var columns []Column
	var args []any
	pending := 0
	flush := func() error {
		if pending == 0 {
			return nil
		}
		names := make([]string, len(columns))
		for i, c := range columns {
			names[i] = c.Name
		}
		row := `(?` + strings.Repeat(`, ?`, len(columns)-1) + `)`
		err := tx.exec(`INSERT INTO `+begun.Table+` (`+strings.Join(names, ", ")+`) VALUES `+row+strings.Repeat(`, `+row, pending-1), args...)
		args, pending = args[:0], 0
		return err
	}
	for r, err := range records {
		if err != nil {
			return nil, err
		}
		if r.Values == nil {
			if err := flush(); err != nil {
				return nil, err
			}
			if columns, err = tx.columns(r); err != nil {
				return nil, err
			}
			if _, twice := counts[r.Table]; twice {
				return nil, fault.New(fault.InvalidInput, "the table %s comes twice; use a sound backup", r.Table)
			}
			begun, counts[r.Table] = r, 0
			continue
		}
		if r.Table != begun.Table || len(r.Values) != len(columns) {
			return nil, fault.New(fault.InvalidInput, "a row of %s stands in the wrong place or has %d values; use a sound backup", r.Table, len(r.Values))
		}
		for i, c := range columns {
			value, err := c.fit(r.Values[i])
			if err != nil {
				return nil, fault.New(fault.InvalidInput, "the table %s: %w; use a sound backup", r.Table, err)
			}
			args = append(args, value)
		}
		counts[r.Table]++
		if pending++; pending == atOnce {
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	return counts, flush()
}

// columns returns the columns of a table here, in the order in which the records have them. The names go into
// statements, so each must be one of the table's own.
func (tx *Tx) columns(r Record) ([]Column, error) {
	if !slices.Contains(tables, r.Table) {
		return nil, fault.New(fault.InvalidInput, "there is no table %q; use a sound backup", r.Table)
	}
	rows, err := tx.statements.QueryContext(tx.ctx, `SELECT * FROM `+r.Table+` LIMIT 0`)
	if err != nil {
		return nil, tx.engine.fault(err)
	}
	defer rows.Close()
	here, err := columnsOf(rows)
	if err != nil {
		return nil, err
	}
	var columns []Column
	for _, c := range r.Columns {
		at := slices.IndexFunc(here, func(h Column) bool { return h.Name == c.Name })
		if at < 0 || slices.Contains(columns, here[at]) {
			return nil, fault.New(fault.InvalidInput, "the table %s has no column %q, or has it twice; use a sound backup", r.Table, c.Name)
		}
		columns = append(columns, here[at])
	}
	if len(columns) == 0 {
		return nil, fault.New(fault.InvalidInput, "the table %s has no columns; use a sound backup", r.Table)
	}
	return columns, rows.Err()
}
