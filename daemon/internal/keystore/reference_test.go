package keystore

import (
	"reflect"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// An object's references are read with it, in their order, however it is read, and every change of them raises the
// revisions, so that caches hear of it.
func TestReferences(t *testing.T) { onEach(t, testReferences) }

func testReferences(t *testing.T, on database) {
	s := on.fresh(t)
	ctx := t.Context()
	token := newToken(t, s, "a")
	soft := KeyReference{Provider: "software", Ref: []byte("sealed")}
	pss := KeyReference{Provider: "google", Ref: []byte("pss"), Mechanisms: []cryptoki.MechanismType{cryptoki.CKM_RSA_PKCS_PSS}}
	pkcs := KeyReference{Provider: "google", Ref: []byte("pkcs1"), Mechanisms: []cryptoki.MechanismType{cryptoki.CKM_RSA_PKCS, cryptoki.CKM_SHA256_RSA_PKCS}}
	other := newObject(t, s, token.UID, "other")
	o := Object{Token: token.UID, Provider: soft.Provider, Ref: soft.Ref, Replicas: []KeyReference{pss}}
	change(t, s, func(tx *Tx) error { return tx.CreateObject(&o) })
	check := func(what string, want ...KeyReference) {
		t.Helper()
		revision, err := s.Revision(ctx, token.UID)
		if err != nil || o.Revision != revision || !reflect.DeepEqual(o.References(), want) {
			t.Errorf("%s: object at %d with %+v, token at %d, %v", what, o.Revision, o.References(), revision, err)
		}
		class := ObjectQuery{Token: token.UID, AfterID: other.ID, Limit: 1}
		for way, get := range map[string]func() ([]Object, error){
			"number": func() ([]Object, error) { got, err := s.Object(ctx, token.UID, o.ID); return []Object{got}, err },
			"uid":    func() ([]Object, error) { got, err := s.ObjectByUID(ctx, o.UID); return []Object{got}, err },
			"reference": func() ([]Object, error) {
				got, err := s.ObjectByRef(ctx, want[0].Provider, want[0].Ref)
				return []Object{got}, err
			},
			"query": func() ([]Object, error) { return s.Objects(ctx, class) },
		} {
			got, err := get()
			if err != nil || len(got) != 1 || got[0].ID != o.ID || got[0].Revision != o.Revision || !reflect.DeepEqual(got[0].References(), want) {
				t.Errorf("%s, by %s: %+v, %v, want %+v", what, way, got, err, want)
			}
		}
	}
	check("made with two", soft, pss)
	change(t, s, func(tx *Tx) error { return tx.AddReference(&o, pkcs) })
	check("a third", soft, pss, pkcs)
	// What changes the attributes leaves the others alone.
	change(t, s, func(tx *Tx) error { return tx.UpdateObject(&o) })
	check("attributes changed", soft, pss, pkcs)
	change(t, s, func(tx *Tx) error { return tx.RemoveReference(&o, soft) })
	check("the next moves up", pss, pkcs)
	change(t, s, func(tx *Tx) error { return tx.PutReferences(&o, pkcs, soft, pss) })
	check("another order", pkcs, soft, pss)

	fails := func(what string, kind fault.Kind, do func(tx *Tx) error) {
		t.Helper()
		_, _, err := s.Change(ctx, Change{}, func(tx *Tx) ([]byte, error) { return nil, do(tx) })
		wantKind(t, what, err, kind)
	}
	copied := o
	fails("the same key twice", fault.AlreadyExists, func(tx *Tx) error { return tx.AddReference(&copied, soft) })
	fails("a key that it does not have", fault.NotFound, func(tx *Tx) error {
		return tx.RemoveReference(&copied, KeyReference{Provider: "google", Ref: []byte("third")})
	})
	fails("the only one", fault.Conflict, func(tx *Tx) error {
		if err := tx.PutReferences(&copied, soft); err != nil {
			return err
		}
		return tx.RemoveReference(&copied, soft)
	})
	gone := Object{ID: o.ID + 1, Token: token.UID}
	fails("no object", fault.ObjectHandleInvalid, func(tx *Tx) error { return tx.PutReferences(&gone, soft) })
	check("after failures", pkcs, soft, pss)

	change(t, s, func(tx *Tx) error { return tx.SetRouting(&o, "failover") })
	if got, err := s.Object(ctx, token.UID, o.ID); err != nil || got.Routing != "failover" {
		t.Errorf("routing %q, %v", got.Routing, err)
	}
	check("with a policy", pkcs, soft, pss)
	change(t, s, func(tx *Tx) error { return tx.DeleteObject(token.UID, o.ID) })
	if _, err := s.ObjectByRef(ctx, "software", soft.Ref); !fault.Is(err, fault.ObjectHandleInvalid) {
		t.Errorf("a reference outlives its object: %v", err)
	}
}
