package policy

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/internal/fault"
)

const (
	tls    = "11111111111111111111111111111111"
	backup = "22222222222222222222222222222222"
)

func facts() Facts {
	return Facts{
		Labels: map[string]string{tls: "tls", backup: "backup"},
		Applications: []Application{
			{Name: "web", Identities: []string{"uid:33", "cert:ab"}, Grants: map[string][]Operation{tls: {Use, Create}}},
			{Name: "ops", Identities: []string{"uid:5"}, CreateTokens: true},
		},
	}
}

func loaded(t *testing.T, admins ...string) *Policy {
	t.Helper()
	p := New(admins, func(context.Context) (Facts, error) { return facts(), nil })
	if err := p.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

func caller(p *Policy, identity string) authn.Caller {
	c := authn.Caller{Identity: identity}
	c.Application, c.Admin = p.Resolve(identity)
	return c
}

func TestAllow(t *testing.T) {
	p := loaded(t, "uid:0", "uid:5")
	for _, test := range []struct {
		name, identity, token string
		operation             Operation
		kind                  fault.Kind // 0 for allowed
		want                  string
	}{
		{"granted", "uid:33", tls, Use, 0, ""},
		{"granted by certificate", "cert:ab", tls, Create, 0, ""},
		{"operation not granted", "uid:33", tls, Destroy, fault.NotGranted, "application web may not destroy in token tls, only use and create; run: anyhsm app grant web tls --operations use,create,destroy"},
		{"token not granted", "uid:33", backup, Use, fault.NotGranted, "application web has no grant for token backup; run: anyhsm app grant web backup"},
		{"token that is not there", "uid:33", "33", Use, fault.NotGranted, "no grant for token 33"},
		{"root may do all", "uid:0", backup, SO, 0, ""},
		{"an administrator who is an application is that", "uid:5", tls, Use, fault.NotGranted, "application ops has no grant"},
		{"stranger", "uid:1000", tls, Use, fault.Unauthenticated, "run: anyhsm app add NAME --user 1000"},
		{"revoked certificate", "cert:cd", tls, Use, fault.Unauthenticated, "it was revoked or never enrolled"},
		{"nobody", "", tls, Use, fault.Unauthenticated, "no identity"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := p.Allow(caller(p, test.identity), test.token, test.operation)
			if test.kind == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !fault.Is(err, test.kind) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Allow = %v, want %q", err, test.want)
			}
		})
	}
}

func TestStaleCallerIsRefused(t *testing.T) {
	p := loaded(t)
	// A caller who was resolved before its application went.
	err := p.Allow(authn.Caller{Identity: "uid:9", Application: "gone", Admin: true}, tls, Use)
	if !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("Allow = %v", err)
	}
}

func TestVisible(t *testing.T) {
	p := loaded(t, "uid:0")
	for _, test := range []struct {
		identity, token string
		want            bool
	}{
		{"uid:33", tls, true},
		{"uid:33", backup, false},
		{"uid:0", backup, true},
		{"uid:1000", tls, false},
		{"", tls, false},
	} {
		if got := p.Visible(caller(p, test.identity), test.token); got != test.want {
			t.Errorf("Visible(%s, %s) = %v", test.identity, test.token, got)
		}
	}
}

func TestAllowCreateToken(t *testing.T) {
	p := loaded(t, "uid:0")
	for identity, kind := range map[string]fault.Kind{"uid:0": 0, "uid:5": 0, "uid:33": fault.NotGranted, "uid:1000": fault.Unauthenticated} {
		err := p.AllowCreateToken(caller(p, identity))
		if kind == 0 && err != nil || kind != 0 && !fault.Is(err, kind) {
			t.Errorf("%s: %v", identity, err)
		}
	}
}

func TestRefreshTakesEffectAtOnce(t *testing.T) {
	current, fail := facts(), error(nil)
	p := New(nil, func(context.Context) (Facts, error) { return current, fail })
	if err := p.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	web := caller(p, "uid:33")
	if err := p.Allow(web, tls, Use); err != nil {
		t.Fatal(err)
	}
	// A refresh that fails keeps the snapshot and says so.
	fail = errors.New("disk")
	current = Facts{}
	if err := p.Refresh(t.Context()); !errors.Is(err, fail) {
		t.Errorf("Refresh = %v", err)
	}
	if err := p.Allow(web, tls, Use); err != nil {
		t.Errorf("after a failed refresh: %v", err)
	}
	fail = nil
	if err := p.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Allow(web, tls, Use); err == nil {
		t.Error("a revoked application is still allowed")
	}
}

func TestRefreshDoesNotEndWithTheCaller(t *testing.T) {
	p := New(nil, func(ctx context.Context) (Facts, error) { return facts(), ctx.Err() })
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Refresh(gone); err != nil {
		t.Errorf("Refresh = %v", err)
	}
}

func TestConcurrentUse(t *testing.T) {
	p := loaded(t, "uid:0")
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 200 {
				_ = p.Allow(caller(p, "uid:33"), tls, Use)
			}
		})
		group.Go(func() {
			for range 50 {
				_ = p.Refresh(context.Background())
			}
		})
	}
	group.Wait()
}

func TestWord(t *testing.T) {
	for label, want := range map[string]string{
		"tls": "tls", "web-1.prod_a": "web-1.prod_a", "my token": "'my token'", "a'; rm -rf /": `'a'\''; rm -rf /'`, "": "''", "ключ": "'ключ'",
	} {
		if got := word(label); got != want {
			t.Errorf("word(%q) = %s, want %s", label, got, want)
		}
	}
}
