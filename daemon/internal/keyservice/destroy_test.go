package keyservice_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/software"
	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/daemon/internal/ticket"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// leaving is a provider that keeps keys and can be away, or fail to destroy.
type leaving struct {
	*vault
	mu sync.Mutex
	// sick is what Health says, fail what Destroy does.
	sick, fail error
}

func (l *leaving) set(sick, fail error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sick, l.fail = sick, fail
}

func (l *leaving) Health(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sick
}

func (l *leaving) Destroy(ctx context.Context, reference provider.Reference) error {
	l.mu.Lock()
	fail := l.fail
	l.mu.Unlock()
	if fail != nil {
		return fail
	}
	return l.vault.Destroy(ctx, reference)
}

// unopened is a provider that was never open.
type unopened struct{ provider.Provider }

func (unopened) Opened() (provider.Provider, error) {
	return nil, fault.New(fault.DeviceError, "provider gone is away")
}

// scattered is a fixture with a key that is in two providers which keep keys.
type scattered struct {
	*fixture
	one, two *leaving
	token    string
	call     keyservice.Call
	key      keyservice.Object
}

func newScattered(t *testing.T, places ...string) *scattered {
	f := newFixture(t)
	keyring := seal.NewKeyring(f.root, func(ctx context.Context, uid string) ([]byte, error) {
		token, err := f.store.Token(ctx, uid)
		return token.SealedKey, err
	})
	soft, err := software.New(software.Config{Sealer: keyring})
	ok(t, err)
	s := &scattered{fixture: f, one: &leaving{vault: newVault()}, two: &leaving{vault: newVault()}}
	uses := audit.NewLog(f.store, audit.Options{Strict: true})
	t.Cleanup(func() { uses.Close() })
	s.Service, err = keyservice.New(keyservice.Config{
		Store: f.store, Keyring: keyring, Tickets: ticket.NewIssuer(f.root, 0), Policy: f.policy, Audit: uses,
		Providers: map[string]provider.Provider{"software": soft, "one": s.one, "two": s.two, "gone": unopened{newVault()}},
		Logger:    slog.New(slog.NewTextHandler(f.log, nil)),
	})
	ok(t, err)
	s.token = f.token("scattered", "one")
	s.call = f.user(f.application("app", s.token, everything...), s.token)
	_, s.key = s.pair(s.call)
	o, err := f.store.Object(f.ctx, s.token, s.key.ID)
	ok(t, err)
	s.two.keys[o.UID] = s.one.keys[o.UID]
	_, _, err = f.store.Change(f.ctx, keystore.Change{}, func(tx *keystore.Tx) ([]byte, error) {
		now, err := tx.Object(f.ctx, s.token, s.key.ID)
		if err != nil {
			return nil, err
		}
		var references []keystore.KeyReference
		for _, place := range places {
			references = append(references, keystore.KeyReference{Provider: place, Ref: []byte(o.UID)})
		}
		return nil, tx.PutReferences(&now, references...)
	})
	ok(t, err)
	return s
}

// ways are all that destroy the key everywhere.
func (s *scattered) ways() map[string]func() error {
	return map[string]func() error{
		"C_DestroyObject": func() error { _, err := s.DestroyObject(s.ctx, again(s.call), s.key.ID); return err },
		"key delete":      func() error { _, err := s.DeleteKey(s.ctx, s.as(s.token), number(s.key.ID), false); return err },
		"token delete":    func() error { _, err := s.DeleteToken(s.ctx, s.as(s.token), true, false); return err },
		"C_InitToken": func() error {
			token, err := s.store.Token(s.ctx, s.token)
			if err != nil {
				return err
			}
			_, err = s.InitToken(s.ctx, again(s.call), token.ID, []byte(soPIN), "scattered")
			return err
		},
	}
}

var away = fault.New(fault.DeviceError, "the line is dead")

// While one of a key's providers is away nothing is destroyed, and the error names it.
func TestDestroyNothingWhileOneIsAway(t *testing.T) {
	for name := range (&scattered{}).ways() {
		for _, test := range []struct {
			what   string
			places []string
			named  string
			set    func(*scattered)
		}{
			{"the second fails its health check", []string{"one", "two"}, "two", func(s *scattered) { s.two.set(away, away) }},
			{"the first fails its health check", []string{"one", "two"}, "one", func(s *scattered) { s.one.set(away, away) }},
			{"one was never open", []string{"one", "gone"}, "gone", func(*scattered) {}},
			{"one is not configured", []string{"unknown", "one"}, "unknown", func(*scattered) {}},
		} {
			t.Run(name+", "+test.what, func(t *testing.T) {
				s := newScattered(t, test.places...)
				test.set(s)
				before := s.one.size()
				if err := s.ways()[name](); err == nil || !strings.Contains(err.Error(), test.named) || !strings.Contains(err.Error(), "nothing was destroyed") {
					t.Errorf("%v", err)
				}
				if s.one.size() != before {
					t.Error("a key was destroyed")
				}
				if _, err := s.store.Object(s.ctx, s.token, s.key.ID); err != nil {
					t.Errorf("the object: %v", err)
				}
			})
		}
	}
}

// A provider that fails in the middle leaves the object, and the repeated call goes on where the first one ended.
func TestDestroyGoesOn(t *testing.T) {
	for name := range (&scattered{}).ways() {
		t.Run(name, func(t *testing.T) {
			s := newScattered(t, "one", "two")
			s.two.set(nil, away)
			if err := s.ways()[name](); err == nil || !strings.Contains(err.Error(), "two") || !strings.Contains(err.Error(), "again") {
				t.Errorf("%v", err)
			}
			if _, err := s.store.Object(s.ctx, s.token, s.key.ID); err != nil {
				t.Fatalf("the object went, and the key in two stays: %v", err)
			}
			s.two.set(nil, nil)
			ok(t, s.ways()[name]())
			if s.one.size() != 0 || s.two.size() != 0 {
				t.Errorf("%d and %d keys are left", s.one.size(), s.two.size())
			}
			if _, err := s.store.Object(s.ctx, s.token, s.key.ID); err == nil {
				t.Error("the object is still there")
			}
		})
	}
}

// What an administrator leaves behind is named in the answer, the audit and the log.
func TestLeaveBehind(t *testing.T) {
	for name, places := range map[string][]string{"away": {"one", "two"}, "never open": {"one", "gone"}, "alone": {"two"}} {
		t.Run(name, func(t *testing.T) {
			s := newScattered(t, places...)
			s.two.set(away, away)
			o, err := s.store.Object(s.ctx, s.token, s.key.ID)
			ok(t, err)
			call := s.as(s.token)
			for range 2 {
				deleted, err := s.DeleteKey(s.ctx, call, number(s.key.ID), true)
				ok(t, err)
				last := places[len(places)-1]
				if len(deleted.Left) != 1 || deleted.Left[0].Provider != last || deleted.Left[0].Name != o.UID || deleted.Left[0].Reason == "" {
					t.Errorf("%+v", deleted.Left)
				}
				if detail := s.lastEvent("key.delete").Detail; !strings.Contains(detail, "left behind in "+last+": "+o.UID) {
					t.Errorf("the audit says %q", detail)
				}
				if !strings.Contains(s.log.String(), "left behind") {
					t.Error("the log is silent")
				}
			}
			if len(places) > 1 && s.one.size() != 0 {
				t.Error("the key that could be destroyed was not")
			}
		})
	}
	t.Run("with its token", func(t *testing.T) {
		s := newScattered(t, "one", "two")
		s.two.set(away, away)
		deleted, err := s.DeleteToken(s.ctx, s.as(s.token), true, true)
		ok(t, err)
		if len(deleted.Left) != 1 || s.one.size() != 0 {
			t.Errorf("%+v, %d keys left in one", deleted, s.one.size())
		}
	})
}

// Retiring with destruction does not say that it is done while the provider is away, and moving does not begin.
func TestRetireDestroyWhileAway(t *testing.T) {
	s := newScattered(t, "one", "two")
	s.two.set(away, away)
	if _, err := s.RetireKey(s.ctx, s.as(s.token), number(s.key.ID), "two", true, false); err == nil || !strings.Contains(err.Error(), "two") {
		t.Errorf("%v", err)
	}
	if o, err := s.store.Object(s.ctx, s.token, s.key.ID); err != nil || len(o.References()) != 2 {
		t.Errorf("%v, %v", o.References(), err)
	}
	if _, err := s.MoveKey(s.ctx, s.as(s.token), keyservice.Move{Key: number(s.key.ID), To: "one", DestroyOld: true}); err == nil || !strings.Contains(err.Error(), "two") {
		t.Errorf("%v", err)
	}
	done, err := s.RetireKey(s.ctx, s.as(s.token), number(s.key.ID), "two", true, true)
	ok(t, err)
	if len(done.Left) != 1 || len(done.Destroyed) != 0 || len(done.Places) != 1 {
		t.Errorf("%+v", done)
	}
	gone := newScattered(t, "one", "gone")
	if _, err := gone.RetireKey(gone.ctx, gone.as(gone.token), number(gone.key.ID), "gone", true, false); err == nil {
		t.Error("a key was retired and its destruction forgotten")
	}
	_, err = gone.DestroyObject(gone.ctx, again(gone.call), gone.key.ID)
	refused(t, err, cryptoki.CKR_DEVICE_ERROR)
}
