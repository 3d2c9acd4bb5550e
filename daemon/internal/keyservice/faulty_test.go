package keyservice_test

import (
	"context"
	"log/slog"
	"maps"
	"slices"
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
)

// faulty is a provider that fails as it is told.
type faulty struct {
	provider.Provider
	mu sync.Mutex
	// fail is what a use of a key does first; nil for nothing.
	fail func(ctx context.Context) error
	// sick is what Health says.
	sick error
	uses int
	// limits changes what the provider says it can do.
	limits func(*provider.Capabilities)
}

func (f *faulty) Capabilities() provider.Capabilities {
	c := f.Provider.Capabilities()
	if f.limits != nil {
		f.limits(&c)
	}
	return c
}

func (f *faulty) failing(fail func(context.Context) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail, f.uses = fail, 0
}

func (f *faulty) health(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sick = err
}

// used returns how often keys were used since failing was called.
func (f *faulty) used() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.uses
}

func (f *faulty) Health(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sick
}

func (f *faulty) Import(ctx context.Context, identity provider.Identity, attributes cryptoki.Attributes) (provider.Generated, error) {
	return f.Provider.(provider.Importer).Import(ctx, identity, attributes)
}

func (f *faulty) Key(ctx context.Context, reference provider.Reference) (provider.Key, error) {
	f.mu.Lock()
	fail := f.fail
	f.uses++
	f.mu.Unlock()
	if fail != nil {
		if err := fail(ctx); err != nil {
			return nil, err
		}
	}
	return f.Provider.Key(ctx, reference)
}

// routed is a fixture whose keys can be at three places, "one", "two" and "three", with the same sealed value.
type routed struct {
	*fixture
	one, two, three *faulty
	token           string
	call            keyservice.Call
}

func newRouted(t *testing.T) *routed { return newRoutedWith(t, nil) }

// newRoutedWith is newRouted with a first place that can do less than it could.
func newRoutedWith(t *testing.T, limits func(*provider.Capabilities)) *routed {
	f := newFixture(t)
	keyring := seal.NewKeyring(f.root, func(ctx context.Context, uid string) ([]byte, error) {
		token, err := f.store.Token(ctx, uid)
		return token.SealedKey, err
	})
	soft, err := software.New(software.Config{Sealer: keyring})
	ok(t, err)
	r := &routed{fixture: f, one: &faulty{Provider: soft, limits: limits}, two: &faulty{Provider: soft}, three: &faulty{Provider: soft}}
	uses := audit.NewLog(f.store, audit.Options{Strict: true})
	t.Cleanup(func() { uses.Close() })
	r.Service, err = keyservice.New(keyservice.Config{
		Store: f.store, Keyring: keyring, Tickets: ticket.NewIssuer(f.root, 0), Policy: f.policy, Audit: uses,
		Providers: map[string]provider.Provider{"software": soft, "one": r.one, "two": r.two, "three": r.three},
		Logger:    slog.New(slog.NewTextHandler(f.log, nil)),
	})
	ok(t, err)
	r.token = f.token("routed", "one")
	r.call = f.user(f.application("app", r.token, everything...), r.token)
	return r
}

// replicated makes a key pair that is at these places.
func (r *routed) replicated(routing string, places ...string) (private keyservice.Object) {
	r.t.Helper()
	_, private = r.pair(r.call)
	r.places(private, routing, places...)
	return private
}

func (r *routed) places(key keyservice.Object, routing string, places ...string) {
	r.t.Helper()
	_, _, err := r.store.Change(r.ctx, keystore.Change{}, func(tx *keystore.Tx) ([]byte, error) {
		o, err := tx.Object(r.ctx, r.token, key.ID)
		if err != nil {
			return nil, err
		}
		var references []keystore.KeyReference
		for _, place := range places {
			references = append(references, keystore.KeyReference{Provider: place, Ref: o.Ref})
		}
		if err := tx.PutReferences(&o, references...); err != nil {
			return nil, err
		}
		return nil, tx.SetRouting(&o, routing)
	})
	ok(r.t, err)
}

// twin gives a key these places, each for some mechanisms.
func (r *routed) twin(key keyservice.Object, mechanisms map[string][]cryptoki.MechanismType) {
	r.t.Helper()
	_, _, err := r.store.Change(r.ctx, keystore.Change{}, func(tx *keystore.Tx) ([]byte, error) {
		o, err := tx.Object(r.ctx, r.token, key.ID)
		if err != nil {
			return nil, err
		}
		var references []keystore.KeyReference
		for _, place := range slices.Sorted(maps.Keys(mechanisms)) {
			references = append(references, keystore.KeyReference{Provider: place, Ref: o.Ref, Mechanisms: mechanisms[place]})
		}
		return nil, tx.PutReferences(&o, references...)
	})
	ok(r.t, err)
}

// sign signs with a key.
func (r *routed) sign(ctx context.Context, key keyservice.Object) error {
	r.t.Helper()
	_, _, err := r.Sign(ctx, again(r.call), ref(key), ecdsaRaw, digest, false)
	return err
}
