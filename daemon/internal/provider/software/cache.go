package software

import (
	"bytes"
	"container/list"
	"sync"

	"github.com/anyhsm/anyhsm/daemon/internal/memo"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// cache keeps the parsed keys that were used last. A key that falls out is wiped as soon as nobody uses it.
type cache struct {
	size int

	mu     sync.Mutex
	closed bool
	byName map[name]*entry
	order  *list.List // of *entry, the one used last in front
	// destroyed are keys that a call which began before their end may still open: they are not kept.
	destroyed *memo.Memo[struct{}]
}

// name and reference are all that a key depends on: a reference that opens under one identity must not be found under
// another.
type name struct{ token, uid string }

// entry is a parsed key. Its fields below are guarded by the cache.
type entry struct {
	name    name
	ref     []byte
	key     *softkey.Key
	keyType cryptoki.KeyType

	element *list.Element // nil when it has fallen out
	users   int
}

// maxDestroyed is how many destroyed keys are remembered: far more than calls run at a time.
const maxDestroyed = 4096

func newCache(size int) *cache {
	return &cache{size: size, byName: map[name]*entry{}, order: list.New(), destroyed: memo.New[struct{}](maxDestroyed)}
}

func nameOf(reference provider.Reference) name {
	return name{reference.Identity.Token, reference.Identity.UID}
}

// get returns a key that is there, for use until release.
func (c *cache) get(reference provider.Reference) (*entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byName[nameOf(reference)]
	if !ok || !bytes.Equal(e.ref, reference.Ref) {
		return nil, false
	}
	c.order.MoveToFront(e.element)
	e.users++
	return e, true
}

// add puts a key in, for use until release. If it was put in meanwhile that one is used and this one wiped.
func (c *cache) add(reference provider.Reference, key *softkey.Key, keyType cryptoki.KeyType) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byName[nameOf(reference)]; ok {
		if bytes.Equal(e.ref, reference.Ref) {
			key.Wipe()
			e.users++
			return e
		}
		c.evict(e)
	}
	e := &entry{name: nameOf(reference), ref: bytes.Clone(reference.Ref), key: key, keyType: keyType, users: 1}
	if _, gone := c.destroyed.Get(e.ref); c.closed || gone {
		return e
	}
	e.element = c.order.PushFront(e)
	c.byName[e.name] = e
	for c.order.Len() > c.size {
		c.evict(c.order.Back().Value.(*entry))
	}
	return e
}

// release ends a use.
func (c *cache) release(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.users--
	c.wipe(e)
}

// destroy takes a key out for good.
func (c *cache) destroy(reference provider.Reference) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.destroyed.Put(reference.Ref, struct{}{})
	if e, ok := c.byName[nameOf(reference)]; ok && bytes.Equal(e.ref, reference.Ref) {
		c.evict(e)
	}
}

// forget takes all keys out; what is in use is wiped at its release.
func (c *cache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.order.Len() > 0 {
		c.evict(c.order.Back().Value.(*entry))
	}
}

// evict takes an entry out; mu is held.
func (c *cache) evict(e *entry) {
	c.order.Remove(e.element)
	delete(c.byName, e.name)
	e.element = nil
	c.wipe(e)
}

// wipe overwrites a key that is out and not in use; mu is held.
func (c *cache) wipe(e *entry) {
	if e.element == nil && e.users == 0 {
		e.key.Wipe()
	}
}

// close takes all keys out and none in any more.
func (c *cache) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.forget()
}

func (c *cache) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}
