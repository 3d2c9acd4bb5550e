package config

import (
	"strings"
	"testing"
)

func TestStores(t *testing.T) {
	for _, c := range []struct {
		name, text string
		// problem is in the error; empty for none.
		problem string
	}{
		{"a path", `store = "/var/lib/a.db"`, ""},
		{"a server", `store = "postgres://anyhsm@db.example/anyhsm"`, ""},
		{"the long name", `store = "postgresql://anyhsm@db.example/anyhsm"`, ""},
		{"a socket", `store = "postgres://anyhsm@/anyhsm?host=/run/postgresql"`, ""},
		{"several servers", `store = "postgres://anyhsm@a.example:5432,b.example:5433/anyhsm"`, ""},
		{"a password by reference", "store = \"postgres://anyhsm@db.example/anyhsm\"\nstore_password = \"file:/etc/anyhsm/db.password\"", ""},
		{"a password", `store = "postgres://anyhsm:4711secret@db.example/anyhsm"`, "store_password"},
		{"an escaped password", `store = "postgres://anyhsm:%344711secret@db.example/anyhsm"`, "store_password"},
		{"a password with an at", `store = "postgres://anyhsm:4711secret@x@db.example/anyhsm"`, "store_password"},
		{"a password as a parameter", `store = "postgres://anyhsm@db.example/anyhsm?sslmode=disable&password=4711secret"`, "store_password"},
		{"a password as a value", "store = \"postgres://anyhsm@db.example/anyhsm\"\nstore_password = \"4711secret\"", "store_password: a secret is given by reference"},
		{"a password for a file", "store = \"/var/lib/a.db\"\nstore_password = \"env:DB\"", "a file has no password"},
		{"no database", `store = "postgres://anyhsm@db.example"`, "names no database"},
		{"an unreadable URL", `store = "postgres://anyhsm@db.example:port/anyhsm"`, "store: "},
		{"another kind", `store = "mysql://anyhsm@db.example/anyhsm"`, `"mysql" is not supported`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("PGDATABASE", "")
			got, err := Parse([]byte(c.text), "anyhsmd.toml")
			switch {
			case c.problem == "" && err != nil:
				t.Error(err)
			case c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)):
				t.Errorf("got %v, want %q", err, c.problem)
			case err != nil && strings.Contains(err.Error(), "4711secret"):
				t.Errorf("the error tells the password: %v", err)
			}
			if err == nil && strings.HasPrefix(got.Store, "postgres") && (got.StorePath() != "" || !strings.HasSuffix(got.RootKey.File, "/anyhsm/root.key")) {
				t.Errorf("path %q, root key %q", got.StorePath(), got.RootKey.File)
			}
			if err == nil && strings.Contains(c.text, "store_password") && !strings.Contains(got.String(), "file:/etc/anyhsm/db.password") {
				t.Errorf("the reference is not shown:\n%s", got)
			}
		})
	}
}
