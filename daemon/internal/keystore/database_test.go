package keystore

import (
	"path/filepath"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/postgrestest"
)

// database is an engine under test.
type database struct {
	name string
	// make makes room for a store that goes with the test, and returns what Open takes.
	make func(t testing.TB) string
}

var (
	onSQLite   = database{"sqlite", func(t testing.TB) string { return filepath.Join(t.TempDir(), "store", "anyhsm.db") }}
	onPostgres = database{"postgres", func(t testing.TB) string { return postgrestest.Shared(t).Database(t) }}
)

// onEach runs a test on every engine.
func onEach(t *testing.T, test func(t *testing.T, on database)) {
	for _, on := range []database{onSQLite, onPostgres} {
		t.Run(on.name, func(t *testing.T) { test(t, on) })
	}
}

func benchEach(b *testing.B, bench func(b *testing.B, on database)) {
	for _, on := range []database{onSQLite, onPostgres} {
		b.Run(on.name, func(b *testing.B) { bench(b, on) })
	}
}

// fresh opens a new store.
func (on database) fresh(t testing.TB) *Store {
	t.Helper()
	return open(t, on.make(t))
}
