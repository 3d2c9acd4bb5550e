package keyservice_test

import (
	"context"
	"slices"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/software"
	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/daemon/internal/ticket"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

func TestSlotsAreTheCallersOwn(t *testing.T) {
	f := newFixture(t)
	one, two := f.token("one", ""), f.token("two", "vault")
	app := f.application("web", two, policy.Use)
	maker := f.application("maker", "")
	for _, c := range []struct {
		name   string
		caller authn.Caller
		want   []string
		tables int
	}{
		{"administrator", f.admin, []string{one, two, ""}, 2},
		{"application", app, []string{two}, 1},
		{"maker of tokens", maker, []string{""}, 1},
		{"nobody", authn.Caller{Identity: "uid:4711"}, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			slots, err := f.ListSlots(f.ctx, keyservice.Call{Caller: c.caller}, "test")
			ok(t, err)
			if len(slots.Slots) != len(c.want) || len(slots.Tables) != c.tables {
				t.Fatalf("%d slots with %d tables, want %d with %d", len(slots.Slots), len(slots.Tables), len(c.want), c.tables)
			}
			for i, s := range slots.Slots {
				if s.Token.UID != c.want[i] {
					t.Errorf("slot %d holds %q, want %q", i, s.Token.UID, c.want[i])
				}
				if initialised := s.Token.Flags&cryptoki.CKF_TOKEN_INITIALIZED != 0; initialised != (c.want[i] != "") {
					t.Errorf("slot %d: initialised %v", i, initialised)
				}
			}
		})
	}
}

func TestMechanismTableIsTheProviders(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "vault")
	slots, err := f.ListSlots(f.ctx, keyservice.Call{Caller: f.application("web", token, policy.Use)}, "test")
	ok(t, err)
	have := map[cryptoki.MechanismType]cryptoki.Flags{}
	for _, m := range slots.Tables[0] {
		have[m.Type] = m.Flags
	}
	for m, want := range map[cryptoki.MechanismType]cryptoki.Flags{
		cryptoki.CKM_ECDSA:        cryptoki.CKF_SIGN | cryptoki.CKF_VERIFY | cryptoki.CKF_HW,
		cryptoki.CKM_ECDSA_SHA256: cryptoki.CKF_SIGN | cryptoki.CKF_VERIFY,
		cryptoki.CKM_SHA256:       cryptoki.CKF_DIGEST,
	} {
		if have[m]&want != want {
			t.Errorf("%v has %#x, want %#x", m, have[m], want)
		}
	}
	if have[cryptoki.CKM_SHA256]&cryptoki.CKF_HW != 0 {
		t.Error("a digest claims to be done in hardware")
	}
	if _, there := have[cryptoki.CKM_AES_GCM]; there {
		t.Error("the table lists what the provider does not do")
	}
}

func TestInitToken(t *testing.T) {
	f := newFixture(t)
	f.token("first", "")
	maker := f.application("maker", "")
	call := f.public(maker, "")
	slots, err := f.ListSlots(f.ctx, call, "test")
	ok(t, err)
	free := slots.Slots[0].ID

	_, err = f.InitToken(f.ctx, again(call), free+1, []byte(soPIN), "new")
	refused(t, err, cryptoki.CKR_SLOT_ID_INVALID)
	_, err = f.InitToken(f.ctx, again(call), free, []byte("123"), "new")
	refused(t, err, cryptoki.CKR_PIN_LEN_RANGE)
	_, err = f.InitToken(f.ctx, f.public(f.application("web", "none", policy.Use), ""), free, []byte(soPIN), "new")
	refused(t, err, cryptoki.CKR_ACTION_PROHIBITED)
	slot, err := f.InitToken(f.ctx, call, free, []byte(soPIN), "new                             ")
	ok(t, err)
	if slot.ID != free || slot.Token.Label != "new" || slot.Token.UID == "" {
		t.Fatalf("made %+v", slot)
	}
	same, err := f.InitToken(f.ctx, call, free, []byte(soPIN), "new")
	ok(t, err)
	if same.Token.UID != slot.Token.UID || same.Token.Revision != slot.Token.Revision {
		t.Error("the repeated request changed the token")
	}
	// The maker may do everything with it.
	token := slot.Token.UID
	so := f.loggedIn(maker, token, cryptoki.CKU_SO, soPIN)
	_, _, err = f.InitPIN(f.ctx, so, []byte(userPIN))
	ok(t, err)
	user := f.user(maker, token)
	f.pair(user)

	// Again: what is in it goes, and the user's PIN, but only with the SO's.
	_, err = f.InitToken(f.ctx, again(call), free, []byte("wrong-pin"), "newer")
	refused(t, err, cryptoki.CKR_PIN_INCORRECT)
	_, err = f.InitToken(f.ctx, f.public(f.application("user", token, policy.Use), ""), free, []byte(soPIN), "newer")
	refused(t, err, cryptoki.CKR_ACTION_PROHIBITED)
	_, err = f.InitToken(f.ctx, f.public(f.application("blind", "other", policy.Use), ""), free, []byte(soPIN), "newer")
	refused(t, err, cryptoki.CKR_SLOT_ID_INVALID)
	wiped, err := f.InitToken(f.ctx, again(call), free, []byte(soPIN), "newer")
	ok(t, err)
	if wiped.ID != free || wiped.Token.UID != token || wiped.Token.Label != "newer" ||
		wiped.Token.Flags&cryptoki.CKF_USER_PIN_INITIALIZED != 0 {
		t.Errorf("initialised again: %+v", wiped)
	}
	if n, _ := f.store.CountObjects(f.ctx, token); n != 0 {
		t.Errorf("%d objects are left", n)
	}
	_, _, err = f.ListObjects(f.ctx, user, 0, "")
	refused(t, err, cryptoki.CKR_USER_NOT_LOGGED_IN)
	_, _, err = f.Login(f.ctx, user, cryptoki.CKU_USER, []byte(userPIN))
	refused(t, err, cryptoki.CKR_USER_PIN_NOT_INITIALIZED)
}

func TestInitTokenDestroysTheProvidersKeys(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "vault")
	app := f.application("web", token, everything...)
	f.pair(f.user(app, token))
	slots, err := f.ListSlots(f.ctx, f.public(app, token), "test")
	ok(t, err)
	_, err = f.InitToken(f.ctx, f.public(app, ""), slots.Slots[0].ID, []byte(soPIN), "t")
	ok(t, err)
	if f.vault.size() != 0 {
		t.Errorf("the provider keeps %d keys", f.vault.size())
	}
}

// A daemon that starts while a provider is away shows the mechanisms that it had: Java reads them once.
func TestMechanismsOfAProviderThatIsAway(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "vault")
	shown := func(on *keyservice.Service) []keyservice.Mechanism {
		t.Helper()
		slots, err := on.ListSlots(f.ctx, keyservice.Call{Caller: f.application("web", token, policy.Use)}, "test")
		ok(t, err)
		return slots.Tables[slots.Slots[0].Table]
	}
	restarted := func(vault provider.Provider) *keyservice.Service {
		t.Helper()
		keyring := seal.NewKeyring(f.root, func(ctx context.Context, uid string) ([]byte, error) { return nil, nil })
		soft, err := software.New(software.Config{Sealer: keyring})
		ok(t, err)
		uses := audit.NewLog(f.store, audit.Options{})
		t.Cleanup(func() { uses.Close() })
		again, err := keyservice.New(keyservice.Config{
			Store: f.store, Keyring: keyring, Tickets: ticket.NewIssuer(f.root, 0), Policy: f.policy, Audit: uses,
			Providers: map[string]provider.Provider{"software": soft, "vault": vault},
		})
		ok(t, err)
		return again
	}
	if n := len(shown(restarted(unopened{newVault()}))); n != 0 {
		t.Errorf("%d mechanisms of a provider that nobody has seen", n)
	}
	before := shown(f.Service)
	if len(before) == 0 {
		t.Fatal("no mechanisms")
	}
	if after := shown(restarted(unopened{newVault()})); !slices.Equal(before, after) {
		t.Errorf("before: %v\nafter: %v", before, after)
	}
	if after := shown(restarted(otherKind{unopened{newVault()}})); len(after) != 0 {
		t.Errorf("the mechanisms of another kind of provider: %v", after)
	}
}

// otherKind is a provider whose name was another kind's before.
type otherKind struct{ unopened }

func (otherKind) Capabilities() provider.Capabilities { return provider.Capabilities{Kind: "kmip"} }
