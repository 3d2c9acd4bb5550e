package grpcwire

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

var admit = sync.OnceFunc(func() {
	// Twice the cores was best of twice, four times and eight times: more makes the scheduler look for work in vain.
	if wanted := max(4, 2*runtime.NumCPU()); os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) < wanted {
		runtime.GOMAXPROCS(wanted)
	}
})

// AdmitThreads lets more threads run Go code than there are cores, once in a process and unless GOMAXPROCS says
// otherwise. A thread that comes back from waiting in the kernel needs a place to run; without a free one its goroutine
// goes to the end of a queue that is looked at when others happen to stop, which can be milliseconds later.
func AdmitThreads() { admit() }

// standing says that a timer runs which ends soon.
var standing atomic.Bool

// stand keeps a timer running while calls are made. The deadline of a call is a timer too, and one that would be the
// next to end wakes the thread that waits for timers, at each call, only to sleep again. Nothing runs at rest.
func stand() {
	if !standing.Load() && !standing.Swap(true) {
		time.AfterFunc(standingTime, func() { standing.Store(false) })
	}
}

// standingTime is less than what calls have until their deadlines, and long enough to cost nothing.
const standingTime = 3 * time.Second
