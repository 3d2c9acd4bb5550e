package memo

import (
	"strconv"
	"sync"
	"testing"
)

func TestMemo(t *testing.T) {
	m := New[int](10)
	if _, ok := m.Get([]byte("1")); ok {
		t.Error("an empty memo knows something")
	}
	var writers sync.WaitGroup
	for i := range 100 {
		writers.Go(func() {
			key := []byte(strconv.Itoa(i))
			m.Put(key, i)
			if v, ok := m.Get(key); ok && v != i {
				t.Errorf("%d is %d", i, v)
			}
			key[0] = 'x' // the memo has a copy
		})
	}
	writers.Wait()
	if len(m.values) != 10 {
		t.Errorf("%d values are remembered, not 10", len(m.values))
	}
	m.Put([]byte("last"), 1)
	if v, ok := m.Get([]byte("last")); !ok || v != 1 {
		t.Errorf("what was put last is %d, %v", v, ok)
	}
	m.Forget()
	if _, ok := m.Get([]byte("last")); ok || len(m.values) != 0 {
		t.Error("something is remembered after Forget")
	}
	none := &Memo[int]{}
	none.Put([]byte("a"), 1)
	if _, ok := none.Get([]byte("a")); ok {
		t.Error("a memo without room remembers")
	}
}
