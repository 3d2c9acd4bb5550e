package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/softhsm-tests/postgrestest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	postgrestest.Stop()
	os.Exit(code)
}

// engines make room for a store that goes with the test.
var engines = map[string]func(t *testing.T) string{
	"sqlite":   func(t *testing.T) string { return filepath.Join(t.TempDir(), "store", "anyhsm.db") },
	"postgres": func(t *testing.T) string { return postgrestest.Shared(t).Database(t) },
}

// filled is a store with something in each table, and its root key.
func filled(t *testing.T, dsn string) (*keystore.Store, *seal.Root, seal.Source) {
	t.Helper()
	ctx := t.Context()
	store, err := keystore.Open(ctx, dsn)
	check(t, err)
	t.Cleanup(func() { _ = store.Close() })
	source := seal.Source{File: filepath.Join(t.TempDir(), "root.key")}
	root, err := seal.Open(ctx, source, seal.Source{}, store)
	check(t, err)
	store.Authenticate(root)
	_, err = authn.OpenAuthority(ctx, store, root)
	check(t, err)
	_, err = seal.OpenLoginKeys(ctx, root, store, time.Hour)
	check(t, err)
	ring := seal.NewKeyring(root, func(ctx context.Context, uid string) ([]byte, error) {
		token, err := store.Token(ctx, uid)
		return token.SealedKey, err
	})
	change := keystore.Change{RequestID: "request", Application: "admin", Event: audit.Event{Operation: "token.create", Outcome: "OK", Detail: "web"}}
	_, _, err = store.Change(ctx, change, func(tx *keystore.Tx) ([]byte, error) {
		token := keystore.Token{UID: strings.Repeat("ab", 16), Label: "wéb", Provider: "software", NoLogin: true, User: keystore.PIN{Failed: 3, Epoch: 7}}
		var err error
		if token.SealedKey, err = ring.NewKey(token.UID); err != nil {
			return nil, err
		}
		if err := tx.CreateToken(&token); err != nil {
			return nil, err
		}
		for n := range 200 {
			o := keystore.Object{Token: token.UID, Attributes: cryptoki.Attributes{
				cryptoki.Ulong(cryptoki.CKA_CLASS, uint64(cryptoki.CKO_PRIVATE_KEY)), cryptoki.Bool(cryptoki.CKA_PRIVATE, true),
				cryptoki.Bytes(cryptoki.CKA_LABEL, []byte(fmt.Sprint("key\xff\x00 ", n))),
			}, Provider: "software", Ref: []byte{0, 1, 2, byte(n)}}
			if n%2 == 0 {
				o.Provider, o.Ref = "", nil
			}
			if err := tx.CreateObject(&o); err != nil {
				return nil, err
			}
			if n == 7 {
				if err := tx.DeleteObject(token.UID, o.ID); err != nil {
					return nil, err
				}
			}
		}
		if err := tx.PutApplication(keystore.Application{
			Name: "nginx", Identities: []string{"uid:33"}, CreateTokens: true,
			Grants: []keystore.Grant{{Token: token.UID, Operations: []string{"use"}}},
		}); err != nil {
			return nil, err
		}
		if err := tx.PutEnrollmentCode([]byte("hash"), "nginx", time.Now().Add(time.Hour)); err != nil {
			return nil, err
		}
		if err := tx.UseTicket("ticket", time.Now().Add(time.Hour)); err != nil {
			return nil, err
		}
		return []byte("answer"), nil
	})
	check(t, err)
	events := make([]audit.Event, 5000)
	for i := range events {
		events[i] = audit.Event{Operation: "sign", Object: fmt.Sprint(i), Outcome: "OK", Detail: "<&> \u2028 é"}
	}
	check(t, store.AppendEvents(ctx, events))
	return store, root, source
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// same tells whether two stores hold the same, but for the count of those who have written.
func same(t *testing.T, a, b *keystore.Store) {
	t.Helper()
	lines := func(s *keystore.Store) []string {
		dump, err := s.Dump(t.Context())
		check(t, err)
		defer dump.Close()
		var lines []string
		for r, err := range dump.Records(t.Context()) {
			check(t, err)
			line := fmt.Sprintf("%s %v %q", r.Table, r.Columns, r.Values)
			if !strings.HasPrefix(line, `counters [] ["writer"`) {
				lines = append(lines, line)
			}
		}
		return lines
	}
	x, y := lines(a), lines(b)
	if len(x) != len(y) {
		t.Fatalf("%d and %d records", len(x), len(y))
	}
	for i := range x {
		if x[i] != y[i] {
			t.Fatalf("record %d:\n%s\n%s", i, x[i], y[i])
		}
	}
}

func sealed(t *testing.T, store *keystore.Store, root *seal.Root) []byte {
	t.Helper()
	var file bytes.Buffer
	summary, err := Write(t.Context(), &file, store, root)
	check(t, err)
	for _, table := range []string{"tokens", "objects", "key_references", "removed", "applications", "identities", "grants", "enrollment_codes", "requests", "used_tickets", "audit"} {
		if summary.Rows[table] == 0 {
			t.Errorf("nothing of %s", table)
		}
	}
	return file.Bytes()
}

// A backup of each engine restores into each, and nothing is different.
func TestAcrossEngines(t *testing.T) {
	for from, makeFrom := range engines {
		for to, makeTo := range engines {
			t.Run(from+" to "+to, func(t *testing.T) {
				store, root, source := filled(t, makeFrom(t))
				file := sealed(t, store, root)
				target := Target{Store: makeTo(t), RootKey: source}
				summary, kept, err := Restore(t.Context(), bytes.NewReader(file), target)
				check(t, err)
				if kept != "" || summary.Rows["audit"] != 5001 || summary.Rows["objects"] != 199 {
					t.Errorf("%+v, kept %q", summary, kept)
				}
				restored, err := keystore.Open(t.Context(), target.Store)
				check(t, err)
				t.Cleanup(func() { _ = restored.Close() })
				same(t, store, restored)
				restored.Authenticate(root)
				check(t, restored.AppendEvents(t.Context(), []audit.Event{{Operation: "sign"}}))

				// There is a store now: it stays as it is unless told.
				if _, _, err := Restore(t.Context(), bytes.NewReader(file), target); !fault.Is(err, fault.AlreadyExists) {
					t.Errorf("a second time: %v", err)
				}
				check(t, restored.Close())
				target.Replace = true
				_, kept, err = Restore(t.Context(), bytes.NewReader(file), target)
				check(t, err)
				if (kept != "") != (to == "sqlite") {
					t.Errorf("kept %q", kept)
				}
				again, err := keystore.Open(t.Context(), target.Store)
				check(t, err)
				t.Cleanup(func() { _ = again.Close() })
				same(t, store, again)
			})
		}
	}
}

func TestMigrate(t *testing.T) {
	for from, makeFrom := range engines {
		for to, makeTo := range engines {
			t.Run(from+" to "+to, func(t *testing.T) {
				store, _, source := filled(t, makeFrom(t))
				target := Target{Store: makeTo(t), RootKey: source}
				var seen int64
				if store.Shared() {
					check(t, store.PutReplica(t.Context(), keystore.Replica{Name: "other"}))
					if _, _, err := Migrate(t.Context(), store, target, nil); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "other") {
						t.Errorf("with a daemon: %v", err)
					}
					check(t, store.DropReplica(t.Context(), "other"))
				}
				rows, _, err := Migrate(t.Context(), store, target, func(string, int64) { seen++ })
				check(t, err)
				if rows["audit"] != 5001 || seen < 5000 {
					t.Errorf("%v, seen %d", rows, seen)
				}
				moved, err := keystore.Open(t.Context(), target.Store)
				check(t, err)
				t.Cleanup(func() { _ = moved.Close() })
				same(t, store, moved)
			})
		}
	}
}

// Whatever byte is changed and wherever the file ends: it is refused, and there is no store.
func TestDamaged(t *testing.T) {
	store, root, source := filled(t, engines["sqlite"](t))
	file := sealed(t, store, root)
	refused := func(what string, content []byte) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "anyhsm.db")
		_, _, err := Restore(t.Context(), bytes.NewReader(content), Target{Store: path, RootKey: source})
		if err == nil {
			t.Errorf("%s was taken", what)
		} else if known := (*fault.Error)(nil); !errors.As(err, &known) {
			t.Errorf("%s: %v", what, err)
		}
		if left, _ := filepath.Glob(path + "*"); len(left) > 0 {
			t.Errorf("%s left %v", what, left)
		}
	}
	offsets := []int{0, 1, 30, 100, 200, len(file) - 1, len(file) - 17, 64 << 10}
	for range 40 {
		offsets = append(offsets, rand.IntN(len(file)))
	}
	for _, offset := range offsets {
		offset = min(offset, len(file)-1)
		changed := bytes.Clone(file)
		changed[offset] ^= 1 << rand.IntN(8)
		refused(fmt.Sprintf("byte %d of %d", offset, len(file)), changed)
		refused(fmt.Sprintf("the first %d of %d", offset, len(file)), file[:offset])
	}
	refused("a longer file", append(bytes.Clone(file), 0))
	chunk := 64<<10 + 16
	if body := len(file) % chunk; len(file) > 3*chunk {
		swapped := bytes.Clone(file)
		first, second := swapped[body:body+chunk], swapped[body+chunk:body+2*chunk]
		copy(first, file[body+chunk:])
		copy(second, file[body:body+chunk])
		refused("exchanged chunks", swapped)
	}
	refused("another file", []byte("age-encryption.org/v1\n"))
}

func TestOtherVersionsAndKeys(t *testing.T) {
	store, root, source := filled(t, engines["sqlite"](t))
	file := sealed(t, store, root)
	into := func(source seal.Source) Target {
		return Target{Store: filepath.Join(t.TempDir(), "anyhsm.db"), RootKey: source}
	}
	other := seal.Source{File: filepath.Join(t.TempDir(), "other.key")}
	check(t, seal.CreateKey(other.File))
	_, _, err := Restore(t.Context(), bytes.NewReader(file), into(other))
	if !fault.Is(err, fault.InvalidInput) || !strings.Contains(err.Error(), seal.Fingerprint(root.Check())) {
		t.Errorf("another root key: %v", err)
	}
	passphrase := seal.Source{Passphrase: func() ([]byte, error) { return []byte("correct horse"), nil }}
	if _, _, err := Restore(t.Context(), bytes.NewReader(file), into(passphrase)); !fault.Is(err, fault.InvalidInput) || !strings.Contains(err.Error(), "file") {
		t.Errorf("a passphrase: %v", err)
	}
	for _, header := range []Header{
		{Format: format, Version: formatVersion + 1, Schema: 1}, {Format: format, Version: formatVersion, Schema: 9999}, {Format: "x", Version: 1, Schema: 1},
	} {
		var plain bytes.Buffer
		if _, err := encode(&plain, header, func(func(keystore.Record, error) bool) {}); err != nil {
			t.Fatal(err)
		}
		_, _, err := Restore(t.Context(), bytes.NewReader(wrap(t, root, plain.Bytes())), into(source))
		if want := map[bool]fault.Kind{true: fault.VersionMismatch, false: fault.InvalidInput}[header.Format == format]; !fault.Is(err, want) {
			t.Errorf("%+v: %v", header, err)
		}
	}
}

// What a holder of the root key could have written wrong is refused as well.
func TestVerified(t *testing.T) {
	store, root, source := filled(t, engines["sqlite"](t))
	plain := func(change func(r *keystore.Record)) []byte {
		dump, err := store.Dump(t.Context())
		check(t, err)
		defer dump.Close()
		var out bytes.Buffer
		_, err = encode(&out, Header{Format: format, Version: formatVersion, Schema: dump.Schema}, func(yield func(keystore.Record, error) bool) {
			for r, err := range dump.Records(t.Context()) {
				change(&r)
				if (r.Table != "") && !yield(r, err) {
					return
				}
			}
		})
		check(t, err)
		return out.Bytes()
	}
	drop := func(table string, nth int) func(*keystore.Record) {
		seen := 0
		return func(r *keystore.Record) {
			if r.Table == table && r.Values != nil {
				if seen++; seen == nth {
					*r = keystore.Record{}
				}
			}
		}
	}
	for what, change := range map[string]func(*keystore.Record){
		"an event less":      drop("audit", 100),
		"the last event":     drop("audit", 5001),
		"a table's name":     func(r *keystore.Record) { r.Table = strings.Replace(r.Table, "grants", "grants; DROP TABLE tokens", 1) },
		"a token's key":      func(r *keystore.Record) { damage(r, "tokens", 6) },
		"an object":          func(r *keystore.Record) { damage(r, "objects", 9) },
		"meta":               func(r *keystore.Record) { damage(r, "meta", 1) },
		"the token is gone":  drop("tokens", 1),
		"an unknown column":  func(r *keystore.Record) { rename(r, "tokens") },
		"nothing at all":     func(r *keystore.Record) { *r = keystore.Record{} },
		"an event's outcome": func(r *keystore.Record) { word(r) },
	} {
		path := filepath.Join(t.TempDir(), "anyhsm.db")
		_, _, err := Restore(t.Context(), bytes.NewReader(wrap(t, root, plain(change))), Target{Store: path, RootKey: source})
		if known := (*fault.Error)(nil); !errors.As(err, &known) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s made a store", what)
		}
	}
	path := filepath.Join(t.TempDir(), "anyhsm.db")
	_, _, err := Restore(t.Context(), bytes.NewReader(wrap(t, root, plain(func(*keystore.Record) {}))), Target{Store: path, RootKey: source})
	check(t, err)
}

func damage(r *keystore.Record, table string, column int) {
	if r.Table == table && r.Values != nil {
		if b, ok := r.Values[column].([]byte); ok {
			b = bytes.Clone(b)
			b[len(b)-1] ^= 1
			r.Values[column] = b[:len(b)-1]
		}
	}
}

func rename(r *keystore.Record, table string) {
	if r.Table == table && r.Columns != nil {
		r.Columns[2].Name = "label) VALUES (1); --"
	}
}

func word(r *keystore.Record) {
	if r.Table == "audit" && r.Values != nil && r.Values[0] == int64(77) {
		r.Values[8] = "CKR_PIN_INCORRECT"
	}
}

// A backup is one state, however many changes are made meanwhile.
func TestConsistent(t *testing.T) {
	for name, room := range engines {
		t.Run(name, func(t *testing.T) {
			store, root, source := filled(t, room(t))
			stop := make(chan struct{})
			done := make(chan error, 1)
			go func() {
				for {
					select {
					case <-stop:
						done <- nil
						return
					default:
					}
					if err := store.AppendEvents(context.Background(), make([]audit.Event, 3)); err != nil {
						done <- err
						return
					}
				}
			}()
			for range 3 {
				var file bytes.Buffer
				_, err := Write(t.Context(), &slow{w: &file}, store, root)
				check(t, err)
				_, _, err = Restore(t.Context(), &file, Target{Store: engines["sqlite"](t), RootKey: source})
				check(t, err)
			}
			close(stop)
			check(t, <-done)
		})
	}
}

// slow takes its time.
type slow struct{ w io.Writer }

func (s *slow) Write(p []byte) (int, error) {
	time.Sleep(10 * time.Millisecond)
	return s.w.Write(p)
}

// A backup under a passphrase brings its salt along.
func TestPassphrase(t *testing.T) {
	store, err := keystore.Open(t.Context(), engines["sqlite"](t))
	check(t, err)
	defer store.Close()
	source := seal.Source{Passphrase: func() ([]byte, error) { return []byte("correct horse"), nil }}
	root, err := seal.Open(t.Context(), source, seal.Source{}, store)
	check(t, err)
	store.Authenticate(root)
	var file bytes.Buffer
	summary, err := Write(t.Context(), &file, store, root)
	check(t, err)
	to := Target{Store: engines["postgres"](t), RootKey: source}
	wrong := to
	wrong.RootKey.Passphrase = func() ([]byte, error) { return []byte("incorrect horse"), nil }
	if _, _, err := Restore(t.Context(), bytes.NewReader(file.Bytes()), wrong); !fault.Is(err, fault.InvalidInput) || strings.Contains(err.Error(), "horse") {
		t.Errorf("a wrong passphrase: %v", err)
	}
	restored, _, err := Restore(t.Context(), &file, to)
	check(t, err)
	if !maps.Equal(restored.Rows, summary.Rows) {
		t.Errorf("%v and %v", restored.Rows, summary.Rows)
	}
}
