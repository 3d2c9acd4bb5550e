package keystore

import (
	"database/sql"
	"slices"
	"testing"

	"github.com/pressly/goose/v3"
)

// Each table of the schema is in the dump, or is known to belong to running daemons alone.
func TestDumpKnowsAllTables(t *testing.T) {
	queries := map[string]string{
		"sqlite":   `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`,
		"postgres": `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'`,
	}
	onEach(t, func(t *testing.T, on database) {
		s := on.fresh(t)
		there, err := all(t.Context(), &s.Reader, queries[on.name], nil, func(row *sql.Rows) (name string, err error) {
			return name, row.Scan(&name)
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, table := range there {
			if table != goose.DefaultTablename && table != "replicas" && !slices.Contains(tables, table) {
				t.Errorf("the table %s is not in tables: a backup would lose it", table)
			}
		}
		newest, err := newestSchema()
		if err != nil {
			t.Fatal(err)
		}
		if version, err := s.version(t.Context()); err != nil || version != newest {
			t.Errorf("version %d, want %d: %v", version, newest, err)
		}
	})
}

func TestReplicas(t *testing.T) {
	onEach(t, func(t *testing.T, on database) {
		s := on.fresh(t)
		for range 2 {
			if err := s.PutReplica(t.Context(), Replica{Name: "a", Version: "1", Root: []byte{1}}); err != nil {
				t.Fatal(err)
			}
		}
		found, err := s.Replicas(t.Context())
		if err != nil || len(found) != 1 || found[0].Name != "a" || len(found[0].Next) != 0 || found[0].Seen.IsZero() {
			t.Errorf("%+v, %v", found, err)
		}
		if err := s.Alone(t.Context()); err == nil {
			t.Error("the store is not ours alone")
		}
		if err := s.alone(t.Context(), `UPDATE replicas SET seen = seen - ?`, (ReplicaGone+1).Microseconds()+1); err != nil {
			t.Fatal(err)
		}
		if err := s.Alone(t.Context()); err != nil {
			t.Error(err)
		}
		if err := s.DropReplica(t.Context(), "a"); err != nil {
			t.Error(err)
		}
	})
}
