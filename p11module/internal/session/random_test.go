package session

import (
	"bytes"
	"testing"
)

func TestRandomPool(t *testing.T) {
	var p randomPool
	if p.take(1) != nil {
		t.Error("an empty pool gives bytes")
	}
	source := []byte{1, 2, 3, 4, 5}
	p.fill(source)
	first, second := p.take(2), p.take(3)
	if !bytes.Equal(append(second, first...), []byte{1, 2, 3, 4, 5}) {
		t.Errorf("%v and %v are not what was filled in, once each", first, second)
	}
	if !bytes.Equal(source, make([]byte, 5)) {
		t.Errorf("the pool still holds %v after handing it out", source)
	}
	if p.take(1) != nil {
		t.Error("a byte is given twice")
	}
	rest := []byte{6, 7}
	p.fill(rest)
	p.fill(nil)
	if p.take(1) != nil || !bytes.Equal(rest, []byte{0, 0}) {
		t.Error("fill(nil) does not wipe")
	}
}
