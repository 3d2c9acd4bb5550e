package keystore

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

func TestTokens(t *testing.T) { onEach(t, testTokens) }

func testTokens(t *testing.T, on database) {
	s := on.fresh(t)
	ctx := t.Context()
	if free, err := s.FreeSlot(ctx); err != nil || free != 1 {
		t.Errorf("the first free slot: %d, %v", free, err)
	}
	a, b := newToken(t, s, "a"), newToken(t, s, "b")
	if a.ID != 1 || b.ID != 2 || len(a.UID) != 32 || len(a.Serial) != 16 || a.Revision == 0 || time.Since(a.Created) > time.Minute {
		t.Errorf("new tokens: %+v, %+v", a, b)
	}
	for what, get := range map[string]func() (Token, error){
		"uid":   func() (Token, error) { return s.Token(ctx, a.UID) },
		"slot":  func() (Token, error) { return s.TokenBySlot(ctx, a.ID) },
		"label": func() (Token, error) { return s.TokenByName(ctx, "a") },
		"name":  func() (Token, error) { return s.TokenByName(ctx, a.UID) },
	} {
		if got, err := get(); err != nil || !reflect.DeepEqual(got, a) {
			t.Errorf("by %s: %+v, %v, want %+v", what, got, err, a)
		}
	}
	for what, get := range map[string]func() (Token, error){
		"uid":       func() (Token, error) { return s.Token(ctx, "a") },
		"slot":      func() (Token, error) { return s.TokenBySlot(ctx, 3) },
		"huge slot": func() (Token, error) { return s.TokenBySlot(ctx, math.MaxUint64) },
		"name":      func() (Token, error) { return s.TokenByName(ctx, "c") },
		"empty":     func() (Token, error) { return s.TokenByName(ctx, "") },
	} {
		got, err := get()
		wantKind(t, "no such "+what, err, fault.NotFound)
		if got.ID != 0 {
			t.Errorf("no such %s: %+v", what, got)
		}
	}
	a.Label, a.NoLogin, a.User = "b", true, PIN{Hash: "new", Epoch: 2, Failed: 3}
	change(t, s, func(tx *Tx) error { return tx.UpdateToken(a) })
	got, err := s.Token(ctx, a.UID)
	a.Revision++
	if err != nil || !reflect.DeepEqual(got, a) {
		t.Errorf("after UpdateToken: %+v, %v, want %+v", got, err, a)
	}
	_, err = s.TokenByName(ctx, "b")
	wantKind(t, "a label of two", err, fault.Conflict)
}

// Slot ids and object ids are never given again, and the free slot is what the next token gets, also after a restart.
func TestNumbersAreNeverReused(t *testing.T) { onEach(t, testNumbersAreNeverReused) }

func testNumbersAreNeverReused(t *testing.T, on database) {
	path := on.make(t)
	s := open(t, path)
	keeper := newToken(t, s, "keeper")
	seenSlots, seenObjects := map[uint64]bool{keeper.ID: true}, map[uint64]bool{}
	for round := range 4 {
		free, err := s.FreeSlot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		token := newToken(t, s, "t")
		if token.ID != free || seenSlots[token.ID] {
			t.Errorf("round %d: slot %d, free was %d", round, token.ID, free)
		}
		seenSlots[token.ID] = true
		for range 2 {
			o := newObject(t, s, token.UID, "k")
			if seenObjects[o.ID] {
				t.Errorf("round %d: object %d again", round, o.ID)
			}
			seenObjects[o.ID] = true
			change(t, s, func(tx *Tx) error { return tx.DeleteObject(token.UID, o.ID) })
		}
		change(t, s, func(tx *Tx) error { _, err := tx.DeleteToken(token.UID); return err })
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, path)
	}
}

func TestNumbersEnd(t *testing.T) { onEach(t, testNumbersEnd) }

func testNumbersEnd(t *testing.T, on database) {
	s := on.fresh(t)
	token := newToken(t, s, "a")
	change(t, s, func(tx *Tx) error { return tx.exec(`UPDATE counters SET next = ?`, maxID-1) })
	if o := newObject(t, s, token.UID, "last"); o.ID != maxID-1 {
		t.Errorf("the last object has id %d", o.ID)
	}
	_, _, err := s.Change(t.Context(), Change{}, func(tx *Tx) ([]byte, error) { return nil, tx.CreateObject(&Object{Token: token.UID}) })
	wantKind(t, "one object too many", err, fault.DeviceMemory)
}

func TestObjects(t *testing.T) { onEach(t, testObjects) }

func testObjects(t *testing.T, on database) {
	s := on.fresh(t)
	ctx := t.Context()
	a, b := newToken(t, s, "a"), newToken(t, s, "b")
	// Whatever an application puts into a label or an id comes back: no UTF-8, zero bytes, none, a very long one.
	odd := []cryptoki.Attribute{
		cryptoki.Bytes(cryptoki.CKA_ID, []byte{0, 0xff, 0}), cryptoki.Bool(cryptoki.CKA_PRIVATE, true), cryptoki.Bytes(cryptoki.CKA_SUBJECT, nil),
	}
	key := newObject(t, s, a.UID, "\xff\x00x", odd...)
	long := newObject(t, s, a.UID, strings.Repeat("l", 70_000), cryptoki.Bytes(cryptoki.CKA_ID, bytes.Repeat([]byte{1}, 10_000)))
	certificate := Object{UID: "0123", Token: a.UID, Attributes: cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_CERTIFICATE)}}
	vendor := Object{Token: b.UID, Attributes: cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.ObjectClass(math.MaxUint64))}}
	change(t, s, func(tx *Tx) error {
		if err := tx.CreateObject(&certificate); err != nil {
			return err
		}
		return tx.CreateObject(&vendor)
	})
	same := func(what string, got Object, err error, want Object) {
		t.Helper()
		if err != nil || got.ID != want.ID || got.UID != want.UID || got.Token != want.Token || got.Provider != want.Provider ||
			!bytes.Equal(got.Ref, want.Ref) || got.Revision != want.Revision || !got.Created.Equal(want.Created) || len(got.Attributes) != len(want.Attributes) {
			t.Errorf("%s: %+v, %v, want %+v", what, got, err, want)
			return
		}
		for i, attribute := range want.Attributes {
			if got.Attributes[i].Type != attribute.Type || !bytes.Equal(got.Attributes[i].Value, attribute.Value) {
				t.Errorf("%s: attribute %v is %x", what, attribute.Type, got.Attributes[i].Value)
			}
		}
	}
	for _, want := range []Object{key, long, certificate, vendor} {
		got, err := s.Object(ctx, want.Token, want.ID)
		same("Object", got, err, want)
		got, err = s.ObjectByUID(ctx, want.UID)
		same("ObjectByUID", got, err, want)
	}
	got, err := s.ObjectByRef(ctx, "software", key.Ref)
	same("ObjectByRef", got, err, key)
	for what, get := range map[string]func() (Object, error){
		"id":             func() (Object, error) { return s.Object(ctx, a.UID, 99) },
		"huge id":        func() (Object, error) { return s.Object(ctx, a.UID, math.MaxUint64) },
		"other token":    func() (Object, error) { return s.Object(ctx, b.UID, key.ID) },
		"uid":            func() (Object, error) { return s.ObjectByUID(ctx, "x") },
		"ref":            func() (Object, error) { return s.ObjectByRef(ctx, "software", []byte("x")) },
		"other provider": func() (Object, error) { return s.ObjectByRef(ctx, "hsm", key.Ref) },
	} {
		_, err := get()
		wantKind(t, what, err, fault.ObjectHandleInvalid)
	}

	key.Attributes.Set(cryptoki.String(cryptoki.CKA_LABEL, "renamed"))
	key.Provider, key.Ref = "hsm", []byte("moved")
	change(t, s, func(tx *Tx) error { return tx.UpdateObject(&key) })
	got, err = s.ObjectByRef(ctx, "hsm", []byte("moved"))
	same("after UpdateObject", got, err, key)
	label := "renamed"
	if found, err := s.Objects(ctx, ObjectQuery{Token: a.UID, Label: &label}); err != nil || len(found) != 1 {
		t.Errorf("by the new label: %d objects, %v", len(found), err)
	}
	for what, do := range map[string]func(tx *Tx) error{
		"update of another token's": func(tx *Tx) error { return tx.UpdateObject(&Object{Token: b.UID, ID: key.ID}) },
		"delete of another token's": func(tx *Tx) error { return tx.DeleteObject(b.UID, key.ID) },
		"delete of nothing":         func(tx *Tx) error { return tx.DeleteObject(a.UID, math.MaxUint64) },
	} {
		_, _, err := s.Change(ctx, Change{}, func(tx *Tx) ([]byte, error) { return nil, do(tx) })
		wantKind(t, what, err, fault.ObjectHandleInvalid)
	}
	_, _, err = s.Change(ctx, Change{}, func(tx *Tx) ([]byte, error) { return nil, tx.CreateObject(&Object{Token: "none"}) })
	wantKind(t, "an object of no token", err, fault.NotFound)
	_, _, err = s.Change(ctx, Change{}, func(tx *Tx) ([]byte, error) { return nil, tx.CreateObject(&Object{UID: key.UID, Token: a.UID}) })
	wantKind(t, "a uid that is taken", err, fault.AlreadyExists)
	if n, err := s.CountObjects(ctx, ""); err != nil || n != 4 {
		t.Errorf("%d objects in all, %v", n, err)
	}
	change(t, s, func(tx *Tx) error {
		n, err := tx.DeleteToken(a.UID)
		if n != 3 {
			t.Errorf("%d objects went with the token", n)
		}
		return err
	})
	if n, err := s.CountObjects(ctx, ""); err != nil || n != 1 {
		t.Errorf("%d objects are left, %v", n, err)
	}
	_, err = s.ObjectByRef(ctx, "hsm", []byte("moved"))
	wantKind(t, "a key of a deleted token", err, fault.ObjectHandleInvalid)
}

func TestObjectQuery(t *testing.T) { onEach(t, testObjectQuery) }

func testObjectQuery(t *testing.T, on database) {
	s := on.fresh(t)
	ctx := t.Context()
	token, other := newToken(t, s, "a"), newToken(t, s, "b")
	var revisions []uint64
	for n := range 10 {
		o := newObject(t, s, token.UID, fmt.Sprint("label", n%3), cryptoki.Bytes(cryptoki.CKA_ID, []byte{byte(n / 5)}), cryptoki.Bool(cryptoki.CKA_PRIVATE, n%2 == 0))
		revisions = append(revisions, o.Revision)
	}
	foreign := newObject(t, s, other.UID, "label0")
	private, secret := cryptoki.CKO_PRIVATE_KEY, cryptoki.CKO_SECRET_KEY
	ec := cryptoki.CKK_EC
	label := "label1"
	for _, c := range []struct {
		name  string
		query ObjectQuery
		want  []uint64
	}{
		{"all", ObjectQuery{}, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
		{"page", ObjectQuery{AfterID: 3, Limit: 2}, []uint64{4, 5}},
		{"after the end", ObjectQuery{AfterID: math.MaxUint64}, nil},
		{"since", ObjectQuery{Since: revisions[7]}, []uint64{9, 10}},
		{"since for ever", ObjectQuery{Since: math.MaxUint64}, nil},
		{"public", ObjectQuery{Public: true}, []uint64{2, 4, 6, 8, 10}},
		{"public page", ObjectQuery{Public: true, AfterID: 4, Limit: 2}, []uint64{6, 8}},
		{"class", ObjectQuery{Class: &private, Limit: 1}, []uint64{1}},
		{"no such class", ObjectQuery{Class: &secret}, nil},
		{"label", ObjectQuery{Label: &label}, []uint64{2, 5, 8}},
		{"id", ObjectQuery{KeyID: []byte{1}, KeyType: &ec, Label: &label}, []uint64{8}},
		{"empty id", ObjectQuery{KeyID: []byte{}}, nil},
	} {
		c.query.Token = token.UID
		found, err := s.Objects(ctx, c.query)
		var ids []uint64
		for _, o := range found {
			ids = append(ids, o.ID)
		}
		if err != nil || !reflect.DeepEqual(ids, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.name, ids, err, c.want)
		}
	}
	if found, err := s.Objects(ctx, ObjectQuery{Token: other.UID}); err != nil || len(found) != 1 || found[0].ID != foreign.ID {
		t.Errorf("of the other token: %v, %v", found, err)
	}
	if found, err := s.Objects(ctx, ObjectQuery{}); err != nil || len(found) != 0 {
		t.Errorf("of no token: %v, %v", found, err)
	}
}

// A cache that reads what changed and what was removed since a revision ends up with what is there.
func TestRevisionsAndRemoved(t *testing.T) { onEach(t, testRevisionsAndRemoved) }

func testRevisionsAndRemoved(t *testing.T, on database) {
	s := on.fresh(t)
	ctx := t.Context()
	token := newToken(t, s, "a")
	first, second, third := newObject(t, s, token.UID, "1"), newObject(t, s, token.UID, "2"), newObject(t, s, token.UID, "3")
	since, err := s.Revision(ctx, token.UID)
	if err != nil || since != third.Revision {
		t.Fatalf("revision %d, %v", since, err)
	}
	change(t, s, func(tx *Tx) error { return tx.DeleteObject(token.UID, first.ID) })
	change(t, s, func(tx *Tx) error { return tx.UpdateObject(&second) })
	changed, err := s.Objects(ctx, ObjectQuery{Token: token.UID, Since: since})
	if err != nil || len(changed) != 1 || changed[0].ID != second.ID {
		t.Errorf("changed: %v, %v", changed, err)
	}
	removed, complete, err := s.Removed(ctx, token.UID, since)
	if err != nil || !complete || !reflect.DeepEqual(removed, []uint64{first.ID}) {
		t.Errorf("removed: %v, %v, %v", removed, complete, err)
	}
	if now, _ := s.Revision(ctx, token.UID); now != since+2 {
		t.Errorf("revision %d after two changes since %d", now, since)
	}
	_, _, err = s.Removed(ctx, "none", 0)
	wantKind(t, "removed of no token", err, fault.NotFound)
	_, err = s.Revision(ctx, "none")
	wantKind(t, "revision of no token", err, fault.NotFound)
}

// Bytes of the attributes column that were changed from outside are damage, not attributes.
func TestDamagedAttributes(t *testing.T) { onEach(t, testDamagedAttributes) }

func testDamagedAttributes(t *testing.T, on database) {
	s := on.fresh(t)
	token := newToken(t, s, "a")
	o := newObject(t, s, token.UID, "key")
	change(t, s, func(tx *Tx) error { return tx.exec(`UPDATE objects SET attributes = ?`, []byte{0xff, 0xff, 0xff}) })
	_, err := s.Object(t.Context(), token.UID, o.ID)
	wantKind(t, "damaged attributes", err, fault.StoreDamaged)
}
