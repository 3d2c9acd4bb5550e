package module_test

import (
	"bytes"
	"testing"
)

// TestReadAhead takes small amounts as Java does: one call to the daemon brings many, no byte comes twice.
func TestReadAhead(t *testing.T) {
	d := newDaemon(t)
	h := newHost(t, d, "")
	s := h.open(slotA, ro)
	seen := map[string]bool{}
	before := d.count("GenerateRandom")
	for range 100 {
		random, err := s.GenerateRandom(32)
		h.must(err)
		if len(random) != 32 || bytes.Equal(random, make([]byte, 32)) || seen[string(random)] {
			t.Fatalf("%x: zero, short or seen before", random)
		}
		seen[string(random)] = true
	}
	if n := d.count("GenerateRandom") - before; n != 4 {
		t.Errorf("3200 bytes in 100 calls cost %d calls to the daemon, want 4", n)
	}
	h.must(s.SeedRandom([]byte("seed")))
	h.wantRPCs(1, func() {
		_, err := s.GenerateRandom(32)
		h.must(err)
	})
	h.wantRPCs(1, func() {
		random, err := s.GenerateRandom(1000)
		h.must(err)
		if len(random) != 1000 {
			t.Errorf("%d bytes", len(random))
		}
	})
}
