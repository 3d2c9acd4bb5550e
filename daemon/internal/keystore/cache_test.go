package keystore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/softhsm-tests/postgrestest"
)

// counting counts the statements that read tokens and objects; the watch's own do not count.
type counting struct {
	querier
	statements atomic.Int64
}

func (c *counting) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if !strings.Contains(query, "counters") {
		c.statements.Add(1)
	}
	return c.querier.QueryContext(ctx, query, args...)
}

func (c *counting) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if !strings.Contains(query, "counters") {
		c.statements.Add(1)
	}
	return c.querier.QueryRowContext(ctx, query, args...)
}

// watched opens a store whose cache is believed, and counts its statements.
func watched(t *testing.T, dsn string, settings ...Option) (*Store, *atomic.Int64) {
	t.Helper()
	s, err := Open(t.Context(), dsn, settings...)
	if err != nil {
		t.Fatal(err)
	}
	s.Authenticate(keyed("root"))
	counter := &counting{querier: s.q}
	s.q = counter
	ctx, stop := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() { s.Watch(ctx, func(context.Context) error { return nil }) })
	t.Cleanup(func() { stop(); watching.Wait(); s.Close() })
	until(t, "the cache is believed", s.cache.believed)
	return s, &counter.statements
}

// until waits for a condition, for longer than a busy machine takes.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

// current reads an object as a use of a key does, and returns its label.
func current(s *Store, token string, least, id uint64) (string, error) {
	if _, err := s.CurrentToken(context.Background(), token, least); err != nil {
		return "", err
	}
	o, err := s.CurrentObject(context.Background(), token, id)
	return string(o.Attributes.Bytes(cryptoki.CKA_LABEL)), err
}

func wantCurrent(t *testing.T, s *Store, token string, id uint64, label string) {
	t.Helper()
	if got, err := current(s, token, 0, id); got != label || err != nil {
		t.Errorf("object %d is %q, %v; want %q", id, got, err, label)
	}
}

func relabel(t testing.TB, s *Store, o *Object, label string) {
	t.Helper()
	changed := *o
	changed.Attributes = o.Attributes.Clone()
	changed.Attributes.Set(cryptoki.String(cryptoki.CKA_LABEL, label))
	change(t, s, func(tx *Tx) error { return tx.UpdateObject(&changed) })
	*o = changed
}

func TestCache(t *testing.T) { onEach(t, testCache) }

func testCache(t *testing.T, on database) {
	s, statements := watched(t, on.make(t))
	token := newToken(t, s, "a")
	first, second := newObject(t, s, token.UID, "first"), newObject(t, s, token.UID, "second")
	quiet := func() {
		wantCurrent(t, s, token.UID, first.ID, string(first.Attributes.Bytes(cryptoki.CKA_LABEL)))
		wantCurrent(t, s, token.UID, second.ID, "second")
	}
	// With other daemons the store may be looked at again without a reason, but not all the time.
	silent := func(what string) {
		t.Helper()
		quiet()
		until(t, what+" costs no statement", func() bool {
			before := statements.Load()
			quiet()
			return statements.Load() == before
		})
	}
	silent("what was read")
	relabel(t, s, &first, "changed")
	quiet()
	silent("what was changed and read")

	// A change of one object costs the others nothing: the token is read, and what has changed in it.
	if on.name == "sqlite" {
		before := statements.Load()
		relabel(t, s, &first, "changed again")
		wantCurrent(t, s, token.UID, second.ID, "second")
		if n := statements.Load() - before; n != 4 { // the token; changed and removed objects, the latter in two
			t.Errorf("after a change of another object %d statements were run", n)
		}
		quiet()
	}

	token.User.Epoch++
	change(t, s, func(tx *Tx) error { return tx.UpdateToken(token) })
	if got, err := s.CurrentToken(t.Context(), token.UID, 0); err != nil || got.User.Epoch != token.User.Epoch {
		t.Errorf("a token after a change: %+v, %v", got, err)
	}
	change(t, s, func(tx *Tx) error { return tx.DeleteObject(token.UID, first.ID) })
	_, err := current(s, token.UID, 0, first.ID)
	wantKind(t, "a deleted object", err, fault.ObjectHandleInvalid)
	wantCurrent(t, s, token.UID, second.ID, "second")
	change(t, s, func(tx *Tx) error { _, err := tx.DeleteToken(token.UID); return err })
	_, err = current(s, token.UID, 0, second.ID)
	wantKind(t, "a deleted token", err, fault.NotFound)
	_, err = s.CurrentObject(t.Context(), token.UID, second.ID)
	wantKind(t, "an object of a deleted token", err, fault.ObjectHandleInvalid)
	if len(s.cache.tokens) != 0 || s.cache.recent.Len() != 0 {
		t.Errorf("%d tokens and %d objects are kept of one that is gone", len(s.cache.tokens), s.cache.recent.Len())
	}
}

// More changes than are looked for one by one, and more than the store remembers.
func TestCacheFarBehind(t *testing.T) { onEach(t, testCacheFarBehind) }

func testCacheFarBehind(t *testing.T, on database) {
	s, _ := watched(t, on.make(t))
	token := newToken(t, s, "a")
	kept, changed := newObject(t, s, token.UID, "kept"), newObject(t, s, token.UID, "changed")
	doomed := newObject(t, s, token.UID, "doomed")
	for _, o := range []Object{kept, changed, doomed} {
		wantCurrent(t, s, token.UID, o.ID, string(o.Attributes.Bytes(cryptoki.CKA_LABEL)))
	}
	change(t, s, func(tx *Tx) error {
		for i := range maxChanged + 1 {
			if err := tx.CreateObject(&Object{Token: token.UID, Attributes: cryptoki.Attributes{cryptoki.String(cryptoki.CKA_LABEL, strconv.Itoa(i))}}); err != nil {
				return err
			}
		}
		changed.Attributes.Set(cryptoki.String(cryptoki.CKA_LABEL, "new"))
		return tx.UpdateObject(&changed)
	})
	wantCurrent(t, s, token.UID, kept.ID, "kept")
	wantCurrent(t, s, token.UID, changed.ID, "new")
	wantCurrent(t, s, token.UID, doomed.ID, "doomed")
	other := newObject(t, s, token.UID, "other")
	s.remember = 0
	change(t, s, func(tx *Tx) error { return tx.DeleteObject(token.UID, doomed.ID) })
	change(t, s, func(tx *Tx) error { return tx.DeleteObject(token.UID, other.ID) })
	if err := s.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := current(s, token.UID, 0, doomed.ID)
	wantKind(t, "an object whose end is forgotten", err, fault.ObjectHandleInvalid)
}

func TestCacheIsBounded(t *testing.T) {
	s, _ := watched(t, onSQLite.make(t))
	s.cache.limit = 3
	var tokens []Token
	var objects []Object
	for i := range 5 {
		tokens = append(tokens, newToken(t, s, strconv.Itoa(i)))
		objects = append(objects, newObject(t, s, tokens[i].UID, strconv.Itoa(i)))
	}
	for range 2 {
		for i, o := range objects {
			wantCurrent(t, s, tokens[i].UID, o.ID, strconv.Itoa(i))
		}
	}
	wantCurrent(t, s, tokens[4].UID, objects[4].ID, "4")
	kept := 0
	for _, c := range s.cache.tokens {
		kept += len(c.objects)
	}
	if kept != 3 || s.cache.recent.Len() != 3 || s.cache.tokens[tokens[4].UID].objects[objects[4].ID] == nil {
		t.Errorf("%d objects are kept, %d in order", kept, s.cache.recent.Len())
	}
}

// Who is answered that a label is changed finds no older one, whoever reads at the same time.
func TestCacheMeetsChanges(t *testing.T) { onEach(t, testCacheMeetsChanges) }

func testCacheMeetsChanges(t *testing.T, on database) {
	s, _ := watched(t, on.make(t))
	token := newToken(t, s, "a")
	objects := make([]Object, 3)
	answered := make([]atomic.Int64, len(objects))
	for i := range objects {
		objects[i] = newObject(t, s, token.UID, "0")
	}
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	for i := range objects {
		writers.Go(func() {
			o := objects[i]
			for n := range 30 {
				relabel(t, s, &o, strconv.Itoa(n))
				answered[i].Store(int64(n))
			}
		})
	}
	for range 4 {
		readers.Go(func() {
			for i := 0; ; i = (i + 1) % len(objects) {
				select {
				case <-done:
					return
				default:
				}
				least := answered[i].Load()
				label, err := current(s, token.UID, 0, objects[i].ID)
				if n, _ := strconv.ParseInt(label, 10, 64); err != nil || n < least {
					t.Errorf("object %d is %q after %d was answered, %v", i, label, least, err)
					return
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
}

// Two daemons on one database.
func TestCacheOfReplicas(t *testing.T) {
	dsn := onPostgres.make(t)
	a := open(t, dsn)
	var locked atomic.Bool
	b, statements := watched(t, dsn, Password(func() ([]byte, error) {
		if locked.Load() {
			return nil, errors.New("no new connections")
		}
		return nil, nil
	}))
	token := newToken(t, a, "a")
	o := newObject(t, a, token.UID, "0")
	wantCurrent(t, b, token.UID, o.ID, "0")

	// Soon everybody sees a change, at once who has heard of it.
	relabel(t, a, &o, "1")
	until(t, "a change through another daemon is seen", func() bool {
		label, _ := current(b, token.UID, 0, o.ID)
		return label == "1"
	})
	for n := range 50 {
		label := "own " + strconv.Itoa(n)
		relabel(t, a, &o, label)
		if got, err := current(b, token.UID, o.Revision, o.ID); got != label || err != nil {
			t.Fatalf("who has heard of revision %d reads %q, %v; want %q", o.Revision, got, err, label)
		}
	}

	// Without notifications the cache is not believed, from the moment on when their connection is lost.
	locked.Store(true)
	name := b.engine.(*postgresEngine).config.Database
	postgrestest.Shared(t).Run(t, "postgres",
		fmt.Sprintf("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '%s' AND query LIKE 'LISTEN%%'", name))
	until(t, "the cache is no longer believed", func() bool { return !b.cache.believed() })
	for n := range 20 {
		label := "unheard " + strconv.Itoa(n)
		relabel(t, a, &o, label)
		wantCurrent(t, b, token.UID, o.ID, label)
	}
	locked.Store(false)
	until(t, "the cache is believed again", b.cache.believed)
	wantCurrent(t, b, token.UID, o.ID, "unheard 19")
	until(t, "nothing is read", func() bool {
		before := statements.Load()
		wantCurrent(t, b, token.UID, o.ID, "unheard 19")
		return statements.Load() == before
	})
}

// A change that was announced by nobody is found by looking at the counter; and without looking nothing is believed.
func TestCacheLease(t *testing.T) {
	dsn := onPostgres.make(t)
	a := open(t, dsn)
	b, _ := watched(t, dsn)
	token := newToken(t, a, "a")
	o := newObject(t, a, token.UID, "0")
	wantCurrent(t, b, token.UID, o.ID, "0")
	a.engine.(*postgresEngine).listening.Store(false)
	relabel(t, a, &o, "1")
	until(t, "an unannounced change is seen", func() bool {
		label, _ := current(b, token.UID, 0, o.ID)
		return label == "1"
	})

	c := &cache{}
	c.init(false)
	believed := []bool{c.believed()}
	c.looked(time.Now())
	believed = append(believed, c.believed())
	c.heard()
	believed = append(believed, c.believed())
	c.looked(time.Now().Add(-leased))
	believed = append(believed, c.believed())
	c.looked(time.Now().Add(time.Hour))
	believed = append(believed, c.believed())
	c.lost()
	believed = append(believed, c.believed())
	if !slices.Equal(believed, []bool{false, false, false, false, true, false}) {
		t.Errorf("the cache is believed: %v", believed)
	}
}
