package session

import (
	"bytes"
	"slices"
	"testing"
)

func TestRandomPool(t *testing.T) {
	var p randomPool
	if p.take(1) != nil {
		t.Error("an empty pool gives bytes")
	}
	source := []byte{1, 2, 3, 4, 5}
	p.add(source)
	if !bytes.Equal(source, make([]byte, 5)) {
		t.Errorf("the source still holds %v", source)
	}
	p.add([]byte{6})
	inside := p.bytes
	got := slices.Concat(p.take(2), p.take(3), p.take(1))
	slices.Sort(got)
	if !bytes.Equal(got, []byte{1, 2, 3, 4, 5, 6}) {
		t.Errorf("%v is not what was taken in, once each", got)
	}
	if !bytes.Equal(inside, make([]byte, 6)) {
		t.Errorf("the pool still holds %v after handing it out", inside)
	}
	if p.take(1) != nil {
		t.Error("a byte is given twice")
	}
	p.add([]byte{7, 8})
	inside = p.bytes
	p.wipe()
	if p.take(1) != nil || !bytes.Equal(inside, []byte{0, 0}) {
		t.Error("wipe leaves something")
	}
	for range 100 {
		p.add(bytes.Repeat([]byte{1}, 1000))
	}
	if len(p.bytes) != maxAhead || cap(p.bytes) != maxAhead {
		t.Errorf("the pool holds %d bytes of at most %d", len(p.bytes), maxAhead)
	}
}
