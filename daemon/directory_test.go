package main

import (
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/anyhsm/anyhsm/daemon/internal/application"
	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/softhsm-tests/postgrestest"
)

// A caller that another daemon has enrolled is known before this daemon has heard of it; a stranger stays one.
func TestDirectoryCatchesUp(t *testing.T) {
	server := postgrestest.Shared(t)
	dsn := server.Database(t)
	database, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	store, err := keystore.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	decisions := policy.New([]string{"uid:0"}, application.Loader(store))
	if err := decisions.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := &directory{policy: decisions, store: store, logger: slog.New(slog.DiscardHandler)}
	want := func(identity, application string, admin bool) {
		t.Helper()
		if a, is := d.Resolve(identity); a != application || is != admin {
			t.Errorf("%s is %q, %t", identity, a, is)
		}
	}
	want("cert:aa", "", false)
	want("uid:0", "", true)
	// What another daemon does.
	server.Run(t, database.Database, `INSERT INTO applications (name, create_tokens, created) VALUES ('web', false, 0);
		INSERT INTO identities (identity, application) VALUES ('cert:aa', 'web');
		UPDATE counters SET next = next + 1 WHERE name = 'policy'`)
	want("cert:aa", "web", false)
	want("cert:bb", "", false)
	before := d.caughtUp.Load()
	if d.catchUp() || d.caughtUp.Load() != before {
		t.Error("the policy is loaded again though nothing has changed")
	}
	server.Shut()
	want("cert:aa", "web", false)
	want("cert:cc", "", false)
	if err := server.Start(); err != nil {
		t.Error(err)
	}
}
