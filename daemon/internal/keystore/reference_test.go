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

// TestRetired: what is retired is found by those who ask whether a key is known, and by nobody who looks for one to use.
func TestRetired(t *testing.T) { onEach(t, testRetired) }

func testRetired(t *testing.T, on database) {
	s := on.fresh(t)
	ctx := t.Context()
	token := newToken(t, s, "a")
	soft, aws, hsm := KeyReference{Provider: "software", Ref: []byte("sealed")},
		KeyReference{Provider: "aws", Ref: []byte("arn"), Mechanisms: []cryptoki.MechanismType{cryptoki.CKM_ECDSA}}, KeyReference{Provider: "hsm", Ref: []byte("id")}
	o := Object{Token: token.UID, Provider: soft.Provider, Ref: soft.Ref}
	change(t, s, func(tx *Tx) error { return tx.CreateObject(&o) })
	check := func(what string, used []KeyReference, retired ...KeyReference) {
		t.Helper()
		now, err := s.Object(ctx, token.UID, o.ID)
		if err != nil || !reflect.DeepEqual(now.References(), used) {
			t.Errorf("%s: %+v in use, %v; want %+v", what, now.References(), err, used)
		}
		got, err := s.Retired(ctx, o.ID)
		if err != nil || !reflect.DeepEqual(got, retired) {
			t.Errorf("%s: %+v retired, %v; want %+v", what, got, err, retired)
		}
		for _, one := range retired {
			if found, err := s.ObjectByRef(ctx, one.Provider, one.Ref); err != nil || found.ID != o.ID {
				t.Errorf("%s: the key in %s is not known: %v", what, one.Provider, err)
			}
		}
	}
	check("at first", []KeyReference{soft})
	change(t, s, func(tx *Tx) error {
		if err := tx.PutReferences(&o, hsm); err != nil {
			return err
		}
		return tx.Retire(o.ID, aws, soft)
	})
	check("moved", []KeyReference{hsm}, aws, soft)
	change(t, s, func(tx *Tx) error { return tx.AddReference(&o, KeyReference{Provider: "vault", Ref: []byte("v")}) })
	change(t, s, func(tx *Tx) error { return tx.RemoveReference(&o, KeyReference{Provider: "vault", Ref: []byte("v")}) })
	change(t, s, func(tx *Tx) error { return tx.UpdateObject(&o) })
	check("changed otherwise", []KeyReference{hsm}, aws, soft)
	change(t, s, func(tx *Tx) error { return tx.Retire(o.ID, soft) })
	check("destroyed", []KeyReference{hsm}, soft)
	change(t, s, func(tx *Tx) error { return tx.Retire(o.ID) })
	check("all destroyed", []KeyReference{hsm})
	change(t, s, func(tx *Tx) error { return tx.Retire(o.ID, soft) })
	change(t, s, func(tx *Tx) error { return tx.DeleteObject(token.UID, o.ID) })
	if left, err := s.Retired(ctx, o.ID); err != nil || len(left) > 0 {
		t.Errorf("%d references outlive their object, %v", len(left), err)
	}
}
