package daemonclient

import (
	"runtime/debug"
	"testing"
)

// TestMemory: the collector gets back what it was told at rest after two looks without a call.
func TestMemory(t *testing.T) {
	before := debug.SetGCPercent(restPercent)
	defer debug.SetGCPercent(before)
	percent := func() int {
		p := debug.SetGCPercent(restPercent)
		debug.SetGCPercent(p)
		return p
	}
	// No timer runs: it would look at the process's own.
	var m memory
	m.state.Store(quiet)
	m.used()
	if !m.still() {
		t.Error("at rest right after a call")
	}
	m.used()
	if !m.still() {
		t.Error("at rest between calls")
	}
	debug.SetGCPercent(workPercent)
	if m.still() || percent() != restPercent {
		t.Errorf("not at rest after two looks: %d %%", percent())
	}
	m.used()
	if percent() != workPercent {
		t.Errorf("at work with %d %%", percent())
	}
}
