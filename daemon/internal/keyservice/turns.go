package keyservice

import (
	"context"
	"sync"
)

// turns lets one call per request id run at a time, so that a retry that overtakes the first attempt waits for it and
// then finds its answer in the store, instead of making a second key in the provider. Replicas are kept apart by the
// store alone.
type turns struct {
	mu      sync.Mutex
	running map[string]chan struct{}
}

// take waits until no other call of this owner and request id runs. The caller calls done when it has finished.
func (t *turns) take(ctx context.Context, owner, requestID string) (done func(), err error) {
	if requestID == "" {
		return func() {}, nil
	}
	key := owner + "\x00" + requestID
	for {
		t.mu.Lock()
		ended, busy := t.running[key]
		if !busy {
			if t.running == nil {
				t.running = map[string]chan struct{}{}
			}
			mine := make(chan struct{})
			t.running[key] = mine
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				delete(t.running, key)
				t.mu.Unlock()
				close(mine)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
