package keyservice_test

import (
	"slices"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// A key of a provider becomes another place of a key if it is the same, and serves when the first does not.
func TestJoin(t *testing.T) {
	f := newFixture(t)
	token := f.token("joined", "vault")
	call := f.user(f.application("app", token, everything...), token)
	_, first := f.pair(call, cryptoki.String(cryptoki.CKA_LABEL, "web"))
	_, other := f.pair(call, cryptoki.String(cryptoki.CKA_LABEL, "other"))
	object := func(key keyservice.Object) cryptoki.Attributes {
		return cryptoki.Attributes{
			cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PRIVATE_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_EC),
			cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, key.Attributes.Bytes(cryptoki.CKA_EC_PARAMS)),
			cryptoki.Bytes(cryptoki.CKA_EC_POINT, key.Attributes.Bytes(cryptoki.CKA_EC_POINT)),
		}
	}
	uid := string(first.Attributes.Bytes(cryptoki.CKA_UNIQUE_ID))
	f.vault.keys["second"] = f.vault.keys[uid]
	f.vault.found = []provider.Found{
		{Name: "second", Ref: []byte("second"), Objects: []cryptoki.Attributes{object(first)}},
		{Name: "foreign", Ref: []byte("foreign"), Objects: []cryptoki.Attributes{object(other)}},
		{Name: "mute", Ref: []byte("mute"), Objects: []cryptoki.Attributes{object(first)[:2]}},
	}
	admin := f.public(f.admin, "joined")
	for name, kind := range map[string]fault.Kind{"foreign": fault.InvalidInput, "mute": fault.InvalidInput, "nothing": fault.NotFound} {
		if _, err := f.JoinKey(t.Context(), again(admin), "web", "vault", name); !fault.Is(err, kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	admin = again(admin)
	for range 2 { // the second is a retry
		routing, err := f.JoinKey(t.Context(), admin, "web", "vault", "second")
		if err != nil || len(routing.Places) != 2 || routing.Places[1].Provider != "vault" || routing.Effective != keyservice.Prefer {
			t.Fatalf("%+v, %v", routing, err)
		}
	}
	if _, err := f.JoinKey(t.Context(), again(admin), "web", "vault", "second"); !fault.Is(err, fault.AlreadyExists) {
		t.Error(err)
	}
	// The first place has lost its key.
	delete(f.vault.keys, uid)
	_, _, err := f.Sign(t.Context(), again(call), ref(first), ecdsaRaw, digest, false)
	ok(t, err)
	_, err = f.DestroyObject(t.Context(), again(call), first.ID)
	if ok(t, err); f.vault.keys["second"] != nil {
		t.Error("the object is destroyed and its key is left in the second place")
	}
}

func TestRouteKey(t *testing.T) {
	r := newRouted(t)
	_, key := r.pair(r.call, cryptoki.String(cryptoki.CKA_LABEL, "web"))
	r.places(key, "", "one", "two", "three")
	admin := r.public(r.admin, "routed")
	providers := func(routing keyservice.KeyRouting) (names []string) {
		for _, p := range routing.Places {
			names = append(names, p.Provider)
		}
		return names
	}
	ok(t, r.SetTokenRouting(t.Context(), again(admin), "any"))
	routing, err := r.KeyRouting(t.Context(), admin, "web")
	if err != nil || routing.Own != "" || routing.Effective != keyservice.Any || !slices.Equal(providers(routing), []string{"one", "two", "three"}) {
		t.Errorf("%+v, %v", routing, err)
	}
	routing, err = r.RouteKey(t.Context(), again(admin), "web", "failover", []string{"three", "one"})
	if err != nil || routing.Own != keyservice.Failover || routing.Effective != keyservice.Failover || !slices.Equal(providers(routing), []string{"three", "one", "two"}) {
		t.Errorf("%+v, %v", routing, err)
	}
	routing, err = r.RouteKey(t.Context(), again(admin), "web", "token", nil)
	if err != nil || routing.Own != "" || routing.Places[0].Provider != "three" || routing.Places[0].State != "closed" {
		t.Errorf("%+v, %v", routing, err)
	}
	for _, wrong := range [][]string{{"random"}, {"", "nowhere"}} {
		if _, err := r.RouteKey(t.Context(), again(admin), "web", wrong[0], wrong[1:]); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
	if err := r.SetTokenRouting(t.Context(), again(admin), "sometimes"); !fault.Is(err, fault.InvalidInput) {
		t.Error(err)
	}
}
