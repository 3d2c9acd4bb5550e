package hsm

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// library is a loaded PKCS#11 library. Its state is the process's, so all providers on one file share one of these;
// once loaded it stays, because many vendors' libraries leave threads behind that would not survive dlclose.
type library struct {
	path   string
	loaded chan struct{} // closed when client and failure are set
	client client
	// failure is why it could not be loaded; the next one tries anew.
	failure error

	gate gate
	// What follows changes only while the gate is shut, and is read inside it.
	reserved string // what C_Initialize got as pReserved
	running  bool   // between C_Initialize and C_Finalize, as far as we know
	ours     bool   // we are the one who must finalise it
	epoch    uint64 // counts the C_Initialize calls: handles of another epoch mean nothing
	opened   time.Time

	users int // guarded by libraries.mu
}

// reopenPause is the least time between two re-opens: a device that is gone must not keep everybody busy.
const reopenPause = time.Second

// closeWait is how long closing waits for calls that are still inside the library.
const closeWait = 5 * time.Second

var libraries = struct {
	mu     sync.Mutex
	byPath map[string]*library
}{byPath: map[string]*library{}}

// openLibrary loads and initialises a library, or takes the one that is loaded. The caller releases it.
func openLibrary(ctx context.Context, path, reserved string) (*library, error) {
	name := path
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		name = resolved
	}
	libraries.mu.Lock()
	l, known := libraries.byPath[name]
	if !known {
		l = &library{path: path, loaded: make(chan struct{})}
		libraries.byPath[name] = l
		// Beside the callers, so that a library that hangs while it is loaded hangs none of them.
		go l.load(name)
	}
	l.users++
	libraries.mu.Unlock()

	select {
	case <-l.loaded:
	case <-ctx.Done():
		l.release()
		return nil, interrupted(ctx, "loading "+path)
	}
	if l.failure != nil {
		return nil, l.failure
	}
	if err := l.start(ctx, reserved); err != nil {
		l.release()
		return nil, err
	}
	return l, nil
}

func (l *library) load(name string) {
	defer close(l.loaded)
	if l.client, l.failure = load(l.path); l.failure != nil {
		libraries.mu.Lock()
		delete(libraries.byPath, name)
		libraries.mu.Unlock()
	}
}

// start initialises the library if it does not run.
func (l *library) start(ctx context.Context, reserved string) error {
	return l.alone(ctx, func() error {
		if !l.running {
			l.reserved = reserved
			return l.initialize()
		}
		if l.reserved != reserved {
			return fault.New(fault.ArgumentsBad, "the library %s runs with another `init_args`; all providers on one library must give the same", l.path)
		}
		return nil
	})
}

// initialize calls C_Initialize; the gate is shut.
func (l *library) initialize() error {
	ours, err := initialize(l.client, l.reserved)
	l.epoch++
	l.opened = time.Now()
	if err != nil {
		return fault.New(fault.DeviceError, "C_Initialize of %s failed: %w; see the library's own log and configuration", l.path, err)
	}
	l.running, l.ours = true, ours
	return nil
}

// alone does something while nobody is inside the library. The caller must not be inside. When its context ends first
// the work goes on without it and opens the gate at its end.
func (l *library) alone(ctx context.Context, do func() error) error {
	done := make(chan error, 1)
	go func() {
		if err := l.gate.close(ctx); err != nil {
			done <- interrupted(ctx, "waiting for other calls into "+l.path+" to end")
			return
		}
		defer l.gate.open()
		done <- do()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return interrupted(ctx, "opening "+l.path)
	}
}

// enter goes into the library and returns the epoch. The caller must leave.
func (l *library) enter(ctx context.Context) (uint64, error) {
	if err := l.gate.enter(ctx); err != nil {
		return 0, interrupted(ctx, "waiting for "+l.path+" to be re-opened")
	}
	return l.epoch, nil
}

// leave goes out of the library.
func (l *library) leave() { l.gate.leave() }

// reopen finalises and initialises the library, unless somebody has done so since the given epoch. The caller must
// not be inside.
func (l *library) reopen(ctx context.Context, epoch uint64) error {
	return l.alone(ctx, func() error {
		if l.epoch != epoch {
			return nil
		}
		// The gate stays shut meanwhile: nothing would work anyway.
		time.Sleep(reopenPause - time.Since(l.opened))
		// Whatever C_Finalize says, what counts is whether C_Initialize works.
		_ = l.client.Finalize()
		l.running = false
		return l.initialize()
	})
}

// release lets go of the library; when the last user does it is finalised.
func (l *library) release() {
	libraries.mu.Lock()
	l.users--
	last := l.users == 0
	libraries.mu.Unlock()
	if !last {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	select {
	case <-l.loaded:
	case <-ctx.Done():
		return
	}
	if l.failure != nil {
		return
	}
	// A call that never comes back keeps the library as it is; the process's end will do.
	_ = l.alone(ctx, func() error {
		libraries.mu.Lock()
		wanted := l.users > 0
		libraries.mu.Unlock()
		if wanted || !l.running {
			return nil
		}
		l.running = false
		if l.ours {
			_ = l.client.Finalize()
		}
		return nil
	})
}
