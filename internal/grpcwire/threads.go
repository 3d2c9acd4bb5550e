package grpcwire

import (
	"os"
	"runtime"
	"sync"
)

// processors is how many threads may run Go code at once, however few cores there are.
const processors = 16

var admit = sync.OnceFunc(func() {
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) < processors {
		runtime.GOMAXPROCS(processors)
	}
})

// AdmitThreads lets more threads run Go code than there are cores, once in a process and unless GOMAXPROCS says
// otherwise. A thread that comes back from waiting in the kernel needs a place to run; without a free one its goroutine
// goes to the end of a queue that is looked at when others happen to stop, which can be milliseconds later.
func AdmitThreads() { admit() }
