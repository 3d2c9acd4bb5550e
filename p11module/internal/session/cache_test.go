package session

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

func stored(handle uint64, label string) *Object {
	return &Object{Handle: handle, Attributes: cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_DATA), cryptoki.String(cryptoki.CKA_LABEL, label), cryptoki.Bool(cryptoki.CKA_TOKEN, true),
	}}
}

func newCache() *cache { return &cache{index: newIndex()} }

func (c *cache) handles() []uint64 { return c.index.find(nil, nil, func(*Object) bool { return true }) }

func (c *cache) now() moment { return moment{start: time.Now(), epoch: c.epoch} }

func whole(at moment, revision uint64, objects ...*Object) listed {
	return listed{at: at, revision: revision, complete: true, objects: objects}
}

func TestOwnChangeBesideOthers(t *testing.T) {
	c := newCache()
	c.take(whole(c.now(), 5, stored(1, "a")))
	c.apply(c.now(), 6, []*Object{stored(2, "b")})
	if c.revision != 6 || c.confirmed.IsZero() || !slices.Equal(c.handles(), []uint64{1, 2}) {
		t.Errorf("revision %d, confirmed %v, objects %v", c.revision, c.confirmed, c.handles())
	}
	// Somebody else's change came in between: ours is there, theirs must be asked for, from where we were.
	c.apply(c.now(), 8, []*Object{stored(3, "c")})
	if c.revision != 6 || !c.confirmed.IsZero() || !slices.Equal(c.handles(), []uint64{1, 2, 3}) {
		t.Errorf("revision %d, confirmed %v, objects %v", c.revision, c.confirmed, c.handles())
	}
	c.take(listed{at: c.now(), since: 6, revision: 8, objects: []*Object{stored(3, "c")}, removed: []uint64{1}})
	if c.revision != 8 || c.confirmed.IsZero() || !slices.Equal(c.handles(), []uint64{2, 3}) {
		t.Errorf("revision %d, confirmed %v, objects %v", c.revision, c.confirmed, c.handles())
	}
}

// TestListingOvertaken: a listing that left before our change and arrives after it does not undo the change.
func TestListingOvertaken(t *testing.T) {
	for _, loaded := range []bool{true, false} {
		c := newCache()
		if loaded {
			c.take(whole(c.now(), 5))
		}
		left := c.now()
		c.apply(c.now(), 6, []*Object{stored(2, "b")})
		c.take(whole(left, 5))
		if !c.confirmed.IsZero() {
			t.Errorf("loaded %v: an overtaken listing confirms", loaded)
		}
		c.take(whole(c.now(), 6, stored(2, "b")))
		if c.confirmed.IsZero() || !slices.Equal(c.handles(), []uint64{2}) {
			t.Errorf("loaded %v: objects %v", loaded, c.handles())
		}
	}
}

// TestOtherLogin: what was asked for one login is not shown to another.
func TestOtherLogin(t *testing.T) {
	c := newCache()
	before := c.now()
	c.drop()
	c.take(whole(before, 5, stored(1, "private")))
	c.apply(before, 6, []*Object{stored(2, "private")})
	c.notice(before, 7)
	if c.loaded || len(c.handles()) != 0 || c.newest != 0 {
		t.Errorf("loaded %v, objects %v, newest %d", c.loaded, c.handles(), c.newest)
	}
}

// TestRestoredStore: a revision that is lower than before is believed once it is asked for.
func TestRestoredStore(t *testing.T) {
	c := newCache()
	c.take(whole(c.now(), 50, stored(1, "a"), stored(2, "b")))
	time.Sleep(time.Millisecond)
	c.take(whole(c.now(), 10, stored(1, "a")))
	if c.revision != 10 || c.confirmed.IsZero() || !slices.Equal(c.handles(), []uint64{1}) {
		t.Errorf("revision %d, confirmed %v, objects %v", c.revision, c.confirmed, c.handles())
	}
}

func TestNotice(t *testing.T) {
	c := newCache()
	c.take(whole(c.now(), 5))
	first := c.confirmed
	time.Sleep(time.Millisecond)
	c.notice(c.now(), 5)
	if !c.confirmed.After(first) {
		t.Error("the same revision does not confirm")
	}
	c.notice(c.now(), 6)
	if !c.confirmed.IsZero() {
		t.Error("another revision does not make it stale")
	}
	c.notice(c.now(), 5)
	if !c.confirmed.IsZero() {
		t.Error("a late answer confirms what is known to be stale")
	}
}

func TestIndex(t *testing.T) {
	x := newIndex()
	x.put(stored(3, "a"))
	x.put(stored(1, "a"))
	x.put(stored(2, "b"))
	all := func(*Object) bool { return true }
	label := func(text string) cryptoki.Attributes {
		return cryptoki.Attributes{cryptoki.String(cryptoki.CKA_LABEL, text)}
	}
	for _, test := range []struct {
		template cryptoki.Attributes
		handles  []uint64
	}{
		{nil, []uint64{1, 2, 3}},
		{label("a"), []uint64{1, 3}},
		{label("c"), nil},
		{append(label("b"), cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_DATA)), []uint64{2}},
		{append(label("b"), cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_CERTIFICATE)), nil},
		{cryptoki.Attributes{cryptoki.String(cryptoki.CKA_ID, "")}, nil},
	} {
		if found := x.find(nil, test.template, all); !slices.Equal(found, test.handles) {
			t.Errorf("%v: %v, want %v", test.template, found, test.handles)
		}
	}
	x.put(stored(1, "b"))
	if found := x.find(nil, label("b"), all); !slices.Equal(found, []uint64{1, 2}) {
		t.Errorf("renamed: %v", found)
	}
	x.removeIf(func(o *Object) bool { return o.Handle < 3 })
	if found := x.find(nil, nil, all); !slices.Equal(found, []uint64{3}) || len(x.by[cryptoki.CKA_LABEL]) != 1 {
		t.Errorf("left: %v", found)
	}
}

// TestSecretsAreWiped: when nothing refers to a session object any more its secret is overwritten.
func TestSecretsAreWiped(t *testing.T) {
	value := []byte("0123456789abcdef")
	func() {
		o := &Object{secret: cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_VALUE, value)}}
		o.guard()
	}()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		runtime.GC()
		if !slices.ContainsFunc(value, func(b byte) bool { return b != 0 }) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the secret is still there: %q", value)
		}
	}
}
