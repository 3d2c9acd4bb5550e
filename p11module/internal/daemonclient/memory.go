package daemonclient

import (
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// A guest keeps little memory: at rest its heap may grow by half between two collections. With so small a heap the
// collector would take more time than the calls, above all than those with much data, so it may grow more while calls are
// made. What that took is given back when there have been none for a while.
const (
	restPercent = 50
	workPercent = 300
	restAfter   = 2 * time.Second
)

// The states of memory.
const (
	resting int32 = iota
	// quiet: no call since the last look.
	quiet
	working
)

// memory is what the garbage collector is told, in the whole process.
type memory struct {
	state atomic.Int32
	// mu guards changes from and to rest.
	mu sync.Mutex
}

var heap memory

// used is told of each call.
func (m *memory) used() {
	if m.state.Load() == working {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state.Swap(working) == resting {
		debug.SetGCPercent(workPercent)
		time.AfterFunc(restAfter, m.look)
	}
}

// look looks whether there are still calls. At rest nobody looks.
func (m *memory) look() {
	if m.still() {
		time.AfterFunc(restAfter, m.look)
		return
	}
	debug.FreeOSMemory()
}

func (m *memory) still() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state.CompareAndSwap(working, quiet) {
		return true
	}
	m.state.Store(resting)
	debug.SetGCPercent(restPercent)
	return false
}
