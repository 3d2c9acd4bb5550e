package keystore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/softhsm-tests/postgrestest"
)

// overTCP is the URL of a database where the server asks for a password.
func overTCP(server *postgrestest.Server, dsn, user string) string {
	u, _ := url.Parse(dsn)
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d%s", user, server.Port, u.Path)
}

func TestPassword(t *testing.T) {
	server := postgrestest.Shared(t)
	dsn := overTCP(server, server.Database(t), postgrestest.User)
	given := "wrong-pw-4711"
	read := Password(func() ([]byte, error) { return []byte(given), nil })
	_, err := Open(t.Context(), dsn, read)
	wantKind(t, "a wrong password", err, fault.InvalidInput)
	if err == nil || !strings.Contains(err.Error(), "store_password") || !strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), given) {
		t.Errorf("the error is %v", err)
	}
	_, err = Open(t.Context(), dsn)
	wantKind(t, "no password", err, fault.InvalidInput)
	_, err = Open(t.Context(), dsn, Password(func() ([]byte, error) { return nil, errors.New("the file is gone") }))
	wantKind(t, "a password that cannot be read", err, fault.InvalidInput)
	given = postgrestest.Password
	s, err := Open(t.Context(), dsn, read)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	newToken(t, s, "a")
	// The password is changed while the store is open.
	server.Run(t, "postgres", "ALTER ROLE "+postgrestest.User+" PASSWORD 'another'")
	t.Cleanup(func() {
		server.Run(t, "postgres", fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", postgrestest.User, postgrestest.Password))
	})
	given = "another"
	disconnect(t, s)
	newToken(t, s, "b")
}

// disconnect ends all connections to a store's database but one's own.
func disconnect(t testing.TB, s *Store) {
	t.Helper()
	name := s.engine.(*postgresEngine).config.Database
	postgrestest.Shared(t).Run(t, "postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+name+"'")
}

func TestRefusedServers(t *testing.T) {
	server := postgrestest.Shared(t)
	dsn := server.Database(t)
	server.Run(t, "postgres", `DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'stranger') THEN CREATE ROLE stranger LOGIN; END IF; END $$`)
	for _, c := range []struct {
		name, dsn string
		kind      fault.Kind
		words     string
	}{
		{"nobody listens", "postgres://anyhsm@127.0.0.1:1/anyhsm", fault.DeviceError, "127.0.0.1:1"},
		{"no socket", "postgres://anyhsm@/anyhsm?host=/nowhere", fault.DeviceError, "/nowhere"},
		{"no such host", "postgres://anyhsm@nowhere.invalid/anyhsm", fault.DeviceError, "nowhere.invalid"},
		{"no such database", strings.Replace(dsn, "/test", "/none", 1), fault.InvalidInput, "CREATE DATABASE none"},
		{"no such user", strings.Replace(dsn, "anyhsm@", "nobody@", 1), fault.InvalidInput, `"nobody"`},
		{"another's database", strings.Replace(dsn, "anyhsm@", "stranger@", 1), fault.InvalidInput, `"stranger"`},
		{"no TLS", overTCP(server, dsn, "anyhsm") + "?sslmode=require", fault.InvalidInput, "sslmode"},
		{"a password in the URL", strings.Replace(dsn, "anyhsm@", "anyhsm:4711secret@", 1), fault.InvalidInput, "store_password"},
		{"no URL", "postgres:x", fault.InvalidInput, "postgres://"},
	} {
		limit := 10 * time.Second
		if c.kind == fault.DeviceError {
			limit = 300 * time.Millisecond // it would be tried again for longer
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		_, err := Open(ctx, c.dsn)
		cancel()
		if c.kind == fault.DeviceError && fault.Is(err, fault.DeadlineExceeded) {
			err = fault.New(fault.DeviceError, "%w", err) // a slow resolver
		}
		wantKind(t, c.name, err, c.kind)
		if err != nil && (!strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), "4711secret")) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestBind(t *testing.T) {
	e := &postgresEngine{}
	for query, want := range map[string]string{
		"": "", "SELECT 1": "SELECT 1", "a = ? AND b = ?": "a = $1 AND b = $2", strings.Repeat("?", 11): "$1$2$3$4$5$6$7$8$9$10$11",
	} {
		if got := e.bind(query); got != want || e.bind(query) != want {
			t.Errorf("%q became %q", query, got)
		}
	}
}

// To another machine a connection is encrypted and the server proves who it is, unless the URL says otherwise.
func TestTransportSecurity(t *testing.T) {
	for dsn, want := range map[string]bool{
		"postgres://u@db.example/d":                 true,
		"postgres://u@db.example/d?sslmode=disable": false,
		"postgres://u@/d?host=/run/postgresql":      false,
		"postgres://u@192.0.2.1,192.0.2.2/d":        true,
		"postgres://u@/d?host=db.example&port=5433": true,
	} {
		c, err := parsePostgres(dsn)
		if err != nil {
			t.Errorf("%s: %v", dsn, err)
			continue
		}
		if secure := c.TLSConfig != nil && !c.TLSConfig.InsecureSkipVerify; secure != want {
			t.Errorf("%s: secure is %v", dsn, secure)
		}
		for _, f := range c.Fallbacks {
			if want && f.TLSConfig == nil {
				t.Errorf("%s falls back to plain text", dsn)
			}
		}
	}
}

// Connections are cut while daemons write and read: nobody hears of it, everything is there once.
func TestLostConnections(t *testing.T) {
	dsn := onPostgres.make(t)
	stores := []*Store{open(t, dsn), open(t, dsn)}
	token := newToken(t, stores[0], "a")
	underLoad(t, stores, token, func() {
		for range 10 {
			time.Sleep(50 * time.Millisecond)
			disconnect(t, stores[0])
		}
	})
}

// The server crashes, and is restarted, under load.
func TestServerRestarts(t *testing.T) {
	server := postgrestest.Shared(t)
	dsn := onPostgres.make(t)
	stores := []*Store{open(t, dsn), open(t, dsn)}
	token := newToken(t, stores[0], "a")
	underLoad(t, stores, token, func() {
		for _, end := range []func(){server.Crash, server.Shut} {
			time.Sleep(200 * time.Millisecond)
			end()
			if err := server.Start(); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(100 * time.Millisecond)
	})
}

// underLoad writes and reads through several stores while something happens, and checks that no call failed and that
// everything that was done is there once.
func underLoad(t *testing.T, stores []*Store, token Token, happens func()) {
	t.Helper()
	var objects, events, tickets atomic.Int64
	stop := make(chan struct{})
	var all sync.WaitGroup
	work := func(do func(s *Store, n int) error) {
		for w, s := range stores {
			all.Go(func() {
				for n := w; ; n += len(stores) {
					select {
					case <-stop:
						return
					default:
					}
					if err := do(s, n); err != nil {
						t.Errorf("store %d: %v", w, err)
						return
					}
				}
			})
		}
	}
	work(func(s *Store, n int) error {
		_, err := makeObject(t.Context(), s, token.UID, n)
		objects.Add(1)
		return err
	})
	work(func(s *Store, n int) error {
		events.Add(2)
		return s.AppendEvents(t.Context(), []audit.Event{{Operation: "sign", Detail: fmt.Sprint(n)}, {Operation: "sign", Detail: fmt.Sprint(n)}})
	})
	// No audit event, no request id: used twice it would be refused.
	work(func(s *Store, n int) error {
		tickets.Add(1)
		_, _, err := s.Change(t.Context(), Change{}, func(tx *Tx) ([]byte, error) { return nil, tx.UseTicket(fmt.Sprint(n), time.Now().Add(time.Hour)) })
		return err
	})
	work(func(s *Store, _ int) error {
		_, err := s.TryPIN(t.Context(), token.UID, true, 100, right)
		return err
	})
	work(func(s *Store, _ int) error {
		if _, err := s.Objects(t.Context(), ObjectQuery{Token: token.UID, Limit: 10}); err != nil {
			return err
		}
		_, err := s.Applications(t.Context())
		return err
	})
	happens()
	close(stop)
	all.Wait()
	if t.Failed() {
		return
	}
	if n, err := stores[0].CountObjects(t.Context(), token.UID); err != nil || int64(n) != objects.Load() {
		t.Errorf("%d objects, %v, want %d", n, err, objects.Load())
	}
	if report := wantVerified(t, stores[0]); int64(report.Events) != 1+objects.Load()+events.Load() {
		t.Errorf("%d events, want %d", report.Events, 1+objects.Load()+events.Load())
	}
	t.Logf("%d objects, %d events, %d tickets", objects.Load(), events.Load(), tickets.Load())
	if objects.Load() < 3 { // the machine may be busy with other tests
		t.Error("there was hardly any load")
	}
}

// A daemon hangs in a transaction: the server ends it, others go on, and the daemon does its work again when it is back.
func TestStalledWriter(t *testing.T) {
	dsn := onPostgres.make(t)
	hanging := open(t, dsn+"&idle_in_transaction_session_timeout=200")
	other := open(t, dsn)
	token := newToken(t, other, "a")
	inside, release := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	runs := 0
	go func() {
		_, _, err := hanging.Change(t.Context(), Change{}, func(tx *Tx) ([]byte, error) {
			if runs++; runs == 1 {
				close(inside)
				<-release
			}
			return nil, tx.CreateObject(&Object{Token: token.UID})
		})
		done <- err
	}()
	<-inside
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if _, err := makeObject(ctx, other, token.UID, 1); err != nil {
		t.Errorf("a writer behind one that hangs: %v", err)
	}
	close(release)
	if err := <-done; err != nil || runs < 2 {
		t.Errorf("the one that hung: %v, %d runs", err, runs)
	}
	if n, err := other.CountObjects(t.Context(), token.UID); err != nil || n != 2 {
		t.Errorf("%d objects, %v", n, err)
	}
}

// Many workers of several daemons log in at once with the right PIN: none is locked out. Wrong ones get no more tries
// than through one daemon.
func TestTriesThroughManyDaemons(t *testing.T) {
	dsn := onPostgres.make(t)
	stores := []*Store{open(t, dsn), open(t, dsn), open(t, dsn)}
	token := newToken(t, stores[0], "a")
	var all sync.WaitGroup
	for n := range 60 {
		all.Go(func() {
			_, err := stores[n%3].TryPIN(t.Context(), token.UID, true, 2, func(string) bool { time.Sleep(time.Millisecond); return true })
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var looked, locked atomic.Int64
	for n := range 60 {
		all.Go(func() {
			_, err := stores[n%3].TryPIN(t.Context(), token.UID, true, 3, func(string) bool { looked.Add(1); return false })
			if fault.Is(err, fault.PINLocked) {
				locked.Add(1)
			}
		})
	}
	all.Wait()
	if looked.Load() != 3 || locked.Load() != 57 {
		t.Errorf("%d were looked at, %d found it locked", looked.Load(), locked.Load())
	}
}

// What one daemon changes the others hear of, at once where the server notifies, else by looking.
func TestWatch(t *testing.T) {
	for _, c := range []struct {
		name   string
		notify bool
		// fastest is the least time until a change must have been heard of; on a busy machine others take longer.
		fastest time.Duration
	}{{"notified", true, lookAgain / 4}, {"by looking", false, 2 * lookAgain}} {
		t.Run(c.name, func(t *testing.T) {
			dsn := onPostgres.make(t)
			a, b := open(t, dsn), open(t, dsn)
			a.engine.(*postgresEngine).listening.Store(c.notify)
			heard := make(chan int, 16)
			calls := 0
			ctx, stop := context.WithCancel(t.Context())
			var watching sync.WaitGroup
			watching.Go(func() {
				b.Watch(ctx, func(ctx context.Context) error {
					if calls++; calls == 2 {
						return errors.New("it is called again")
					}
					tokens, err := b.Tokens(ctx)
					heard <- len(tokens)
					return err
				})
			})
			wait := func(what string, want int) time.Duration {
				t.Helper()
				begin := time.Now()
				for {
					select {
					case n := <-heard:
						if n == want {
							t.Logf("%s: heard after %v", what, time.Since(begin))
							return time.Since(begin)
						}
					case <-time.After(10 * time.Second):
						t.Fatalf("%s: nothing was heard", what)
					}
				}
			}
			wait("the beginning", 0)
			time.Sleep(200 * time.Millisecond) // until it listens
			token := newToken(t, a, "a")
			wait("a token, the first time in vain", 1)
			fastest := time.Hour
			for range 2 {
				change(t, a, func(tx *Tx) error { return tx.PutApplication(Application{Name: "web"}) })
				fastest = min(fastest, wait("an application", 1))
			}
			newObject(t, a, token.UID, "key")
			change(t, a, func(tx *Tx) error { return tx.DeleteApplication("web") })
			if fastest = min(fastest, wait("the end of an application", 1)); fastest > c.fastest {
				t.Errorf("the fastest took %v", fastest)
			}
			disconnect(t, b)
			change(t, a, func(tx *Tx) error { _, err := tx.DeleteToken(token.UID); return err })
			wait("the end of a token, after a lost connection", 0)
			stop()
			watching.Wait()
			if calls > 9 {
				t.Errorf("%d calls for 6 changes", calls)
			}
		})
	}
}

// Databases that speak PostgreSQL's protocol lack some of its functions, as here: the store does without.
func TestLesserDatabase(t *testing.T) {
	dsn := onPostgres.make(t)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	for _, function := range []string{"pg_try_advisory_lock(bigint)", "pg_advisory_xact_lock(bigint)", "pg_notify(text, text)"} {
		postgrestest.Shared(t).Run(t, strings.TrimPrefix(u.Path, "/"), "CREATE FUNCTION public."+function+
			" RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not yet implemented' USING ERRCODE = 'feature_not_supported'; END $$")
	}
	dsn += "&search_path=public,pg_catalog"
	postgrestest.Shared(t).Run(t, strings.TrimPrefix(u.Path, "/"), "GRANT CREATE ON SCHEMA public TO anyhsm")
	a, b := open(t, dsn), open(t, dsn)
	token := newToken(t, a, "a")
	if _, err := b.TryPIN(t.Context(), token.UID, true, 3, right); err != nil {
		t.Error(err)
	}
	for _, s := range []*Store{a, b} {
		change(t, s, func(tx *Tx) error { return tx.PutApplication(Application{Name: "web"}) })
	}
	if e := a.engine.(*postgresEngine); e.listening.Load() || !e.lockless.Load() {
		t.Error("the functions were there")
	}
	wantVerified(t, b)
}

// A tablespace on a small file system stands for the server's disk. Only root can mount one.
func TestFullServer(t *testing.T) {
	server := postgrestest.Shared(t)
	dir := filepath.Join(server.Dir, "small")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=14m"); err != nil {
		t.Logf("no file system can be mounted here (%v)", err)
		return
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	var owner unix.Stat_t
	if err := unix.Stat(filepath.Join(server.Dir, "data"), &owner); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, int(owner.Uid), int(owner.Gid)); err != nil {
		t.Fatal(err)
	}
	server.Run(t, "postgres", "CREATE TABLESPACE small LOCATION '"+dir+"'")
	t.Cleanup(func() { server.Run(t, "postgres", "DROP TABLESPACE small") })
	dsn := server.Database(t)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	server.Run(t, "postgres", "ALTER DATABASE "+strings.TrimPrefix(u.Path, "/")+" SET TABLESPACE small")
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dsn)
	token := newToken(t, s, "a")
	// A connection that is there reads on a full disk; whether the server takes a new one there depends on its own cache.
	wantVerified(t, s)
	objects := fill(t, s, token.UID, 0)
	if objects == 0 {
		t.Fatal("the disk was full from the beginning")
	}
	if n, err := s.CountObjects(t.Context(), token.UID); err != nil || n != uint64(objects) {
		t.Errorf("%d objects, %v, want %d", n, err, objects)
	}
	wantVerified(t, s)

	// Without that cache, and without room for a new one, the server takes no connection, and we say why.
	caches, err := filepath.Glob(filepath.Join(dir, "PG_*", "*", "pg_internal.init"))
	if err != nil || len(caches) == 0 {
		t.Fatalf("no cache in %s: %v", dir, err)
	}
	for _, cache := range caches {
		if err := os.Remove(cache); err != nil {
			t.Fatal(err)
		}
	}
	rest := filepath.Join(dir, "rest")
	if err := os.WriteFile(rest, make([]byte, 14<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the rest of the disk: %v", err)
	}
	if again, err := Open(t.Context(), dsn); err == nil {
		again.Close()
		t.Error("a new connection on a full disk")
	} else {
		wantKind(t, "a new connection", err, fault.DeviceMemory)
	}
	for _, file := range []string{ballast, rest} {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	if replayed, err := makeObject(t.Context(), s, token.UID, objects); err != nil || replayed {
		t.Errorf("when there is room again: %v, %v", replayed, err)
	}
	wantVerified(t, s)
}

// A store keeps what it is given, also where the database would rather have UTF-8.
func TestOddTexts(t *testing.T) { onEach(t, testOddTexts) }

func testOddTexts(t *testing.T, on database) {
	s := on.fresh(t)
	events := []audit.Event{{Operation: "sign", Detail: "a\x00b\xffü"}, {Operation: "sign", Detail: "ü"}}
	if err := s.AppendEvents(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	wantVerified(t, s)
	got, err := s.Events(t.Context(), 0, 0)
	if err != nil || got[0].Detail != "a\uFFFDb\uFFFDü" || got[1].Detail != "ü" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := s.Token(t.Context(), "a\x00\xff"); err == nil || errors.Is(err, sql.ErrNoRows) {
		t.Errorf("an odd uid: %v", err)
	}
}
