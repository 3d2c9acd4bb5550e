package keystore

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"iter"
	"strings"

	"github.com/pressly/goose/v3"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// tables are those that make a store, each after those that it refers to. What is not here belongs to daemons that run:
// replicas.
var tables = []string{
	"counters", "meta", "tokens", "objects", "key_references", "removed", "applications", "identities", "grants",
	"enrollment_codes", "requests", "used_tickets", "audit",
}

// kind is what a column holds, whatever an engine calls it.
type kind string

const (
	integer kind = "integer"
	boolean kind = "boolean"
	text    kind = "text"
	octets  kind = "bytes"
	double  kind = "double"
)

// Column is a column of a table in a dump.
type Column struct {
	Name string `json:"name"`
	Kind kind   `json:"kind"`
}

// Record is a piece of a dump: the beginning of a table, with its columns, or a row.
type Record struct {
	Table   string
	Columns []Column
	// Values are those of a row: nil, int64, bool, string, []byte or float64. Nil at the beginning of a table.
	Values []any
}

// Dump is one state of the store, to be read once. Close it.
type Dump struct {
	// Schema is the version of the schema, Tables counts the rows that were read.
	Schema int64
	Tables map[string]int64
	Reader
	tx    *sql.Tx
	close func() error
}

// Dump begins to read one state of the store, whatever is changed meanwhile.
func (s *Store) Dump(ctx context.Context) (*Dump, error) {
	db, end := s.engine.patient(s.read)
	tx, err := db.BeginTx(ctx, s.engine.viewing())
	if err != nil {
		_ = end()
		return nil, s.engine.fault(err)
	}
	d := &Dump{Tables: map[string]int64{}, Reader: Reader{q: tx, engine: s.engine}, tx: tx, close: end}
	if d.Schema, err = d.version(ctx); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// version returns the number of the last migration.
func (r *Reader) version(ctx context.Context) (version int64, err error) {
	_, err = r.one(ctx, `SELECT MAX(version_id) FROM `+goose.DefaultTablename+` WHERE is_applied = ?`, []any{true}, &version)
	return version, err
}

// Close ends the dump.
func (d *Dump) Close() {
	_ = d.tx.Rollback()
	_ = d.close()
}

// Records reads table after table. It ends with the first error.
func (d *Dump) Records(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for _, table := range tables {
			more := true
			err := d.table(ctx, table, func(r Record) bool {
				more = yield(r, nil)
				return more
			})
			if err != nil {
				yield(Record{}, d.engine.fault(err))
				return
			}
			if !more {
				return
			}
		}
	}
}

func (d *Dump) table(ctx context.Context, table string, yield func(Record) bool) error {
	rows, err := d.q.QueryContext(ctx, `SELECT * FROM `+table+` ORDER BY 1, 2`)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := columnsOf(rows)
	if err != nil {
		return err
	}
	d.Tables[table] = 0
	if !yield(Record{Table: table, Columns: columns}) {
		return nil
	}
	for rows.Next() {
		values, targets := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		for i, c := range columns {
			if values[i], err = c.fit(values[i]); err != nil {
				return fault.New(fault.StoreDamaged, "the table %s of the store %s: %w; restore the store from a backup", table, d.engine.name(), err)
			}
		}
		d.Tables[table]++
		if !yield(Record{Table: table, Values: values}) {
			return nil
		}
	}
	return rows.Err()
}

// columnsOf tells what the rows of a query hold.
func columnsOf(rows *sql.Rows) ([]Column, error) {
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, err
	}
	columns := make([]Column, len(types))
	for i, t := range types {
		columns[i].Name = t.Name()
		switch name := strings.ToUpper(t.DatabaseTypeName()); name {
		case "INTEGER", "BIGINT", "INT4", "INT8":
			columns[i].Kind = integer
		case "BOOLEAN", "BOOL":
			columns[i].Kind = boolean
		case "TEXT":
			columns[i].Kind = text
		case "BYTEA":
			columns[i].Kind = octets
		case "DOUBLE PRECISION", "FLOAT8":
			columns[i].Kind = double
		default:
			return nil, fmt.Errorf("the column %s is of the unknown type %q", t.Name(), name)
		}
	}
	return columns, nil
}

// fit makes a value one of the column's kind: drivers hand over 1 for true, and text for bytes.
func (c Column) fit(value any) (any, error) {
	switch v := value.(type) {
	case nil:
		return nil, nil
	case int64:
		switch c.Kind {
		case integer:
			return v, nil
		case boolean:
			return v != 0, nil
		case double:
			return float64(v), nil
		}
	case bool:
		if c.Kind == boolean {
			return v, nil
		}
	case float64:
		if c.Kind == double {
			return v, nil
		}
	case string:
		switch c.Kind {
		case text:
			return v, nil
		case octets:
			return []byte(v), nil
		}
	case []byte:
		switch c.Kind {
		case text:
			return string(v), nil
		case octets:
			return v, nil
		}
	}
	return nil, fmt.Errorf("the column %s is of kind %s and holds a %T", c.Name, c.Kind, value)
}

// Decode reads a value of the column from JSON.
func (c Column) Decode(encoded []byte) (value any, err error) {
	switch c.Kind {
	case integer:
		var v int64
		err = json.Unmarshal(encoded, &v)
		value = v
	case boolean:
		var v bool
		err = json.Unmarshal(encoded, &v)
		value = v
	case text:
		var v string
		err = json.Unmarshal(encoded, &v)
		value = v
	case octets:
		v := []byte{}
		err = json.Unmarshal(encoded, &v)
		value = v
	case double:
		var v float64
		err = json.Unmarshal(encoded, &v)
		value = v
	default:
		err = fmt.Errorf("the column %s is of the unknown kind %q", c.Name, c.Kind)
	}
	return value, err
}
