package keystore

import (
	"context"
	"database/sql"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// sound makes a store with some objects and returns its file's content.
func sound(t *testing.T) []byte {
	t.Helper()
	path := t.TempDir() + "/s.db"
	s := open(t, path)
	token := newToken(t, s, "a")
	for n := range 50 {
		if _, err := makeObject(t.Context(), s, token.UID, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestDamagedFile(t *testing.T) {
	good := sound(t)
	path := t.TempDir() + "/s.db"
	for _, c := range []struct {
		name   string
		damage func(b []byte) []byte
	}{
		{"empty", func([]byte) []byte { return nil }},
		{"no database", func([]byte) []byte { return []byte(strings.Repeat("no database\n", 1000)) }},
		{"magic", func(b []byte) []byte { b[3] ^= 0xff; return b }},
		{"page size", func(b []byte) []byte { b[16], b[17] = 0, 3; return b }},
		{"cut in the header", func(b []byte) []byte { return b[:60] }},
		{"cut to one page", func(b []byte) []byte { return b[:4096] }},
		{"cut in the middle", func(b []byte) []byte { return b[:len(b)/2] }},
		{"last page missing", func(b []byte) []byte { return b[:len(b)-4096] }},
		{"schema page zeroed", func(b []byte) []byte { clear(b[100:4096]); return b }},
		{"all pages but the first zeroed", func(b []byte) []byte { clear(b[4096:]); return b }},
		{"pages exchanged", func(b []byte) []byte {
			for i := range 4096 {
				b[4096*5+i], b[4096*20+i] = b[4096*20+i], b[4096*5+i]
			}
			return b
		}},
	} {
		if err := os.WriteFile(path, c.damage(append([]byte(nil), good...)), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), path)
		if err == nil {
			s.Close()
		}
		wantKind(t, c.name, err, fault.StoreDamaged)
		if err != nil && (!strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "backup")) {
			t.Errorf("%s: the error names neither file nor next step: %v", c.name, err)
		}
	}
}

// Whatever byte is damaged, nothing crashes, and an error says that the store is damaged.
func TestFlippedBytes(t *testing.T) {
	good := sound(t)
	path := t.TempDir() + "/s.db"
	random := rand.New(rand.NewPCG(1, 2))
	found := 0
	for range 150 {
		bad := append([]byte(nil), good...)
		for range 1 + random.IntN(40) {
			// Half of them in the places that say where things are.
			at := random.IntN(len(bad))
			if random.IntN(2) == 0 {
				at = at/4096*4096 + random.IntN(24)
			}
			bad[at] ^= byte(1 + random.IntN(255))
		}
		for _, suffix := range []string{"-wal", "-shm"} {
			os.Remove(path + suffix)
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := useAll(t.Context(), path); err != nil {
			found++
			if kind := fault.From(err).Kind; kind == fault.Internal {
				t.Errorf("a damaged store gives an unexplained error: %v", err)
			}
		}
	}
	if found < 75 {
		t.Errorf("only %d of 150 damaged stores were noticed", found)
	}
}

// useAll reads everything and makes a change.
func useAll(ctx context.Context, path string) error {
	s, err := Open(ctx, path)
	if err != nil {
		return err
	}
	defer s.Close()
	s.Authenticate(keyed("root"))
	tokens, err := s.Tokens(ctx)
	if err != nil {
		return err
	}
	for _, token := range tokens {
		if _, err := s.Objects(ctx, ObjectQuery{Token: token.UID}); err != nil {
			return err
		}
		if _, err := makeObject(ctx, s, token.UID, 1000); err != nil {
			return err
		}
	}
	if _, err := s.Applications(ctx); err != nil {
		return err
	}
	report, err := audit.Verify(ctx, s, keyed("root"))
	if err == nil && report.Break != nil {
		return fault.New(fault.StoreDamaged, "%s", report.Break.Reason)
	}
	return err
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	s := open(t, filepath.Join(dir, "s.db"))
	newToken(t, s, "a")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", entry.Name(), info.Mode(), err)
		}
		if strings.Contains(entry.Name(), "new") {
			t.Errorf("the draft %s is left", entry.Name())
		}
	}
	if len(entries) != 3 {
		t.Errorf("%d files, want the store, its log and the log's index", len(entries))
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info.Mode(), err)
	}
}

func TestRefusedFiles(t *testing.T) {
	dir := t.TempDir()
	open0 := func(name string, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		open(t, path).Close()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	foreign := filepath.Join(dir, "foreign.db")
	db, err := sql.Open("sqlite", foreign)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("CREATE TABLE x (y INTEGER)"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	os.Chmod(foreign, 0o600)
	for _, c := range []struct{ name, dsn, words string }{
		{"readable by all", open0("a", 0o644), "chmod 600"},
		{"writable by the group", open0("b", 0o620), "chmod 600"},
		{"a directory", dir, "not a regular file"},
		{"below a file", open0("c", 0o600) + "/x", "directory"},
		{"somebody else's database", foreign, "not a store of AnyHSM"},
		{"an unknown kind", "mongodb://host/db", "mongodb"},
	} {
		_, err := Open(t.Context(), c.dsn)
		wantKind(t, c.name, err, fault.InvalidInput)
		if err != nil && !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestOddPaths(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"with space.db", "q?x=1.db", "100%41.db", "a#b.db", "ü:x.db"} {
		path := filepath.Join(dir, name)
		open(t, "sqlite:"+path).Close()
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

func TestReopenIsIdempotent(t *testing.T) {
	path := t.TempDir() + "/s.db"
	var want string
	for round := range 3 {
		s := open(t, path)
		var schema string
		if err := s.read.QueryRow("SELECT group_concat(sql, ';') || (SELECT count(*) FROM goose_db_version) FROM sqlite_master").Scan(&schema); err != nil {
			t.Fatal(err)
		}
		if round > 0 && schema != want {
			t.Errorf("the schema changed to %s", schema)
		}
		want = schema
		if tokens, err := s.Tokens(t.Context()); err != nil || len(tokens) != round {
			t.Errorf("round %d: %d tokens, %v", round, len(tokens), err)
		}
		newToken(t, s, "a")
		s.Close()
	}
	for _, table := range []string{
		"tokens", "objects", "removed", "key_references", "applications", "identities", "grants", "enrollment_codes", "requests", "used_tickets", "audit", "meta",
	} {
		if !strings.Contains(want, "CREATE TABLE "+table) {
			t.Errorf("there is no table %s", table)
		}
	}
}

// A store of the version before gets what is new, and keeps what it has.
func TestOlderSchema(t *testing.T) { onEach(t, testOlderSchema) }

func testOlderSchema(t *testing.T, on database) {
	path := on.make(t)
	s := open(t, path)
	token := newToken(t, s, "a")
	dialect, options, err := s.engine.migrator()
	if err != nil {
		t.Fatal(err)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	provider, err := goose.NewProvider(dialect, s.write, files, append(options, goose.WithDisableGlobalRegistry(true))...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.DownTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if on.name == onPostgres.name {
		_, _, err := s.Change(t.Context(), Change{}, func(*Tx) ([]byte, error) { return nil, nil })
		wantKind(t, "a store without its lock", err, fault.StoreDamaged)
	}
	s.Close()
	again := open(t, path)
	newObject(t, again, token.UID, "key")
	if n, err := again.CountObjects(t.Context(), token.UID); err != nil || n != 1 {
		t.Errorf("%d objects, %v", n, err)
	}
}

func TestNewerSchema(t *testing.T) { onEach(t, testNewerSchema) }

func testNewerSchema(t *testing.T, on database) {
	path := on.make(t)
	s := open(t, path)
	if _, err := s.write.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (4711, TRUE)"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	_, err := Open(t.Context(), path)
	wantKind(t, "a newer schema", err, fault.VersionMismatch)
	if err != nil && !strings.Contains(err.Error(), "4711") {
		t.Errorf("the error does not name the version: %v", err)
	}
}

// Daemons that start together on a path where nothing is make one store.
func TestStartTogether(t *testing.T) { onEach(t, testStartTogether) }

func testStartTogether(t *testing.T, on database) {
	path := on.make(t)
	results := make(chan error)
	for range 6 {
		go func() {
			s, err := Open(t.Context(), path)
			if err == nil {
				_, err = s.InitMeta(t.Context(), "x", []byte("y"))
				s.Close()
			}
			results <- err
		}()
	}
	for range 6 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// Only sqlite.go may hold what only SQLite understands.
func TestStatementsArePortable(t *testing.T) {
	peculiar := regexp.MustCompile(`(?i)\bPRAGMA\b|AUTOINCREMENT|INSERT OR |\browid\b|sqlite_|strftime|\bGLOB\b|\bIFNULL\b|\bBLOB\b|last_insert|x'[0-9a-f]+'`)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob("migrations/*.sql")
	if err != nil || len(scripts) == 0 {
		t.Fatal(err)
	}
	for _, name := range append(files, scripts...) {
		if name == "sqlite.go" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if found := peculiar.Find(content); found != nil {
			t.Errorf("%s has %q", name, found)
		}
	}
}
