package module_test

import (
	"bytes"
	"sync"
	"testing"
)

// TestReadAhead takes small amounts as Java does: one call to the daemon brings many, no byte comes twice.
func TestReadAhead(t *testing.T) {
	d := newDaemon(t)
	h := newHost(t, d, "")
	s := h.open(slotA, ro)
	seen := map[string]bool{}
	before := d.count("GenerateRandom")
	for range 300 {
		random, err := s.GenerateRandom(32)
		h.must(err)
		if len(random) != 32 || bytes.Equal(random, make([]byte, 32)) || seen[string(random)] {
			t.Fatalf("%x: zero, short or seen before", random)
		}
		seen[string(random)] = true
	}
	if n := d.count("GenerateRandom") - before; n != 3 {
		t.Errorf("9600 bytes in 300 calls cost %d calls to the daemon, want 3", n)
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

// TestReadAheadTogether: threads that find nothing at the same time are served by one call.
func TestReadAheadTogether(t *testing.T) {
	d := newDaemon(t)
	h := newHost(t, d, "")
	s := h.open(slotA, ro)
	before := d.count("GenerateRandom")
	var mu sync.Mutex
	var threads sync.WaitGroup
	seen := map[string]bool{}
	for range 16 {
		threads.Go(func() {
			for range 8 {
				random, err := s.GenerateRandom(256)
				mu.Lock()
				if err != nil || seen[string(random)] {
					t.Errorf("%x, %v: failed or seen before", random, err)
				}
				seen[string(random)] = true
				mu.Unlock()
			}
		})
	}
	threads.Wait()
	// 32 KiB in calls of 4 KiB; the last thread to come may find nothing once more.
	if n := d.count("GenerateRandom") - before; n > 9 {
		t.Errorf("16 threads that take 32 KiB cost %d calls to the daemon, want 8", n)
	}
}
