package module_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// TestLargeToken: in a token with too many objects to list them, a search for a label or an id asks for that alone, and
// what it finds can be used; only who wants all gets all.
func TestLargeToken(t *testing.T) {
	d := newDaemon(t)
	setup := newHost(t, d, "")
	s := setup.open(slotOpen, rw)
	var made []uint64
	for i := range 10 {
		o, err := s.CreateObject(data(fmt.Sprint("value ", i), token, label(fmt.Sprint("object ", i)), cryptoki.String(cryptoki.CKA_OBJECT_ID, "x")))
		setup.must(err)
		made = append(made, o)
	}
	d.large, d.pageSize = 5, 2
	h := newHost(t, d, "")
	s = h.open(slotOpen, rw)
	found := func(want []uint64, template ...cryptoki.Attribute) {
		t.Helper()
		if got := find(t, s, template...); !slices.Equal(got, want) {
			t.Errorf("found %v, want %v", got, want)
		}
	}
	value := func(handle uint64, want string) {
		t.Helper()
		if got, err := read(s, handle, cryptoki.CKA_VALUE); err != nil || string(got) != want {
			t.Errorf("the value is %q, %v; want %q", got, err, want)
		}
	}
	h.wantRPCs(2, func() { found(made[3:4], label("object 3")) }) // the token is large; and what is wanted
	h.wantRPCs(0, func() { value(made[3], "value 3") })
	h.wantRPCs(1, func() { found(made[4:5], label("object 4"), class(cryptoki.CKO_DATA)) })
	h.wantRPCs(1, func() { found(nil, label("object 4"), class(cryptoki.CKO_CERTIFICATE)) })
	h.wantRPCs(1, func() { found(nil, label("no such object")) })
	// A handle from elsewhere, and one that is nobody's.
	h.wantRPCs(1, func() { value(made[7], "value 7") })
	_, err := read(s, 99999, cryptoki.CKA_VALUE)
	want(t, err, cryptoki.CKR_OBJECT_HANDLE_INVALID)
	// One's own changes.
	h.must(s.SetAttributes(made[3], cryptoki.Attributes{label("renamed")}))
	found(made[3:4], label("renamed"))
	found(nil, label("object 3"))
	h.must(s.DestroyObject(made[3]))
	found(nil, label("renamed"))
	_, err = read(s, made[3], cryptoki.CKA_VALUE)
	want(t, err, cryptoki.CKR_OBJECT_HANDLE_INVALID)
	// Somebody else's.
	other := newHost(t, d, "")
	b := other.open(slotOpen, rw)
	other.must(b.DestroyObject(made[4]))
	found(nil, label("object 4"))
	// All: then everything is here.
	h.wantRPCs(4, func() { found(slices.Concat(made[:3], made[5:])) })
	h.wantRPCs(0, func() {
		found(made[8:9], label("object 8"))
		value(made[9], "value 9")
	})
}
