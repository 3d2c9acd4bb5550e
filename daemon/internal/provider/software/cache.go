package software

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"sync"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// cache keeps the parsed keys that were used last. A key that falls out is wiped as soon as nobody uses it.
type cache struct {
	size int

	mu     sync.Mutex
	closed bool
	byName map[[sha256.Size]byte]*entry
	order  *list.List // of *entry, the one used last in front
}

// entry is a parsed key. Its fields below are guarded by the cache.
type entry struct {
	name    [sha256.Size]byte
	key     *softkey.Key
	keyType cryptoki.KeyType

	element *list.Element // nil when it has fallen out
	users   int
}

func newCache(size int) *cache {
	return &cache{size: size, byName: map[[sha256.Size]byte]*entry{}, order: list.New()}
}

// cacheName names a key by all that it depends on: a reference that opens under one identity must not be found under
// another.
func cacheName(reference provider.Reference) (name [sha256.Size]byte) {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(reference.Identity.Token), []byte(reference.Identity.UID), reference.Ref} {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write(part)
	}
	h.Sum(name[:0])
	return name
}

// get returns a key that is there, for use until release.
func (c *cache) get(name [sha256.Size]byte) (*entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byName[name]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(e.element)
	e.users++
	return e, true
}

// add puts a key in, for use until release. If another was put in meanwhile that one is used and this one wiped.
func (c *cache) add(name [sha256.Size]byte, key *softkey.Key, keyType cryptoki.KeyType) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byName[name]; ok {
		key.Wipe()
		e.users++
		return e
	}
	e := &entry{name: name, key: key, keyType: keyType, users: 1}
	if c.closed {
		return e
	}
	e.element = c.order.PushFront(e)
	c.byName[name] = e
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

// remove takes a key out.
func (c *cache) remove(name [sha256.Size]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byName[name]; ok {
		c.evict(e)
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

// close takes all keys out; what is in use is wiped at its release.
func (c *cache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for c.order.Len() > 0 {
		c.evict(c.order.Back().Value.(*entry))
	}
}

func (c *cache) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}
