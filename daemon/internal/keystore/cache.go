package keystore

import (
	"container/list"
	"context"
	"database/sql"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// The cache keeps tokens, and objects that were read one by one, so that the use of a key costs no statement.
//
// A generation ends with each change of a token or object, before the change is answered. What is cached was read, or
// was found unchanged, in a generation, and is believed until that ends. Then the token's row is read again: the
// revision tells whether anything in the token has changed, and the revisions of its objects tell which of them. A
// reader that meets a change needs no care: it takes note of the generation before it reads.
//
// Where other daemons change the store as well, Watch ends generations when it hears of it, and the cache is believed
// only as long as Watch has a lease: it listens, and has looked at the store a moment ago.
type cache struct {
	generation atomic.Uint64
	// alone tells that no other daemon uses the store.
	alone bool
	// limit is how many objects are kept.
	limit int
	// started is what the lease's end is counted from, in nanoseconds: 0 for none.
	started time.Time
	lease   atomic.Int64

	mu        sync.Mutex
	listening bool
	tokens    map[string]*cachedToken
	// recent are the objects, the one used last in front.
	recent *list.List
}

// cachedToken is a token as it was at its revision, and such objects of it as are not older than that.
type cachedToken struct {
	token Token
	// generation is the one in which the token was read last.
	generation uint64
	objects    map[uint64]*list.Element
}

const (
	// maxTokens and maxObjects bound the cache: an object takes 1 to 4 KiB.
	maxTokens, maxObjects = 1024, 16384
	// maxChanged is how many changed objects are looked for one by one; with more, all of the token are read again.
	maxChanged = 256
	// leased is how long after a look at the store the cache is believed.
	leased = 2 * time.Second
)

func (c *cache) init(alone bool) {
	c.alone, c.limit, c.started = alone, maxObjects, time.Now()
	c.tokens, c.recent = map[string]*cachedToken{}, list.New()
}

// expire ends the generation.
func (c *cache) expire() { c.generation.Add(1) }

// believed tells whether somebody would have told us of a change.
func (c *cache) believed() bool {
	return c.alone || int64(time.Since(c.started)) < c.lease.Load()
}

// heard tells that changes are announced from now on, and that there was one perhaps.
func (c *cache) heard() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listening = true
	c.expire()
}

// lost tells that changes are no longer announced.
func (c *cache) lost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listening = false
	c.lease.Store(0)
}

// looked prolongs the lease: all changes until then were heard of.
func (c *cache) looked(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listening {
		c.lease.Store(int64(at.Add(leased).Sub(c.started)))
	}
}

// CurrentToken is Token, from memory where nothing can have changed it since it was read. Least is a revision that the
// caller has heard of, perhaps from another daemon: an older token is read again.
func (s *Store) CurrentToken(ctx context.Context, uid string, least uint64) (Token, error) {
	c := &s.cache
	generation := c.generation.Load()
	c.mu.Lock()
	known := c.tokens[uid]
	if known != nil && known.generation == generation && known.token.Revision >= least && c.believed() {
		defer c.mu.Unlock()
		return known.token, nil
	}
	var before uint64
	if known != nil {
		before = known.token.Revision
	}
	c.mu.Unlock()

	token, err := s.Token(ctx, uid)
	if err != nil {
		if fault.Is(err, fault.NotFound) {
			c.forget(uid)
		}
		return Token{}, err
	}
	var changed []uint64
	complete := token.Revision == before
	if known != nil && token.Revision > before {
		if changed, complete, err = s.changedSince(ctx, uid, before); err != nil {
			return Token{}, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch now := c.tokens[uid]; {
	case now != known, known != nil && (known.token.Revision != before || known.generation > generation):
		// Somebody else was faster.
		return token, nil
	case known == nil:
		c.makeRoom()
		known = &cachedToken{objects: map[uint64]*list.Element{}}
		c.tokens[uid] = known
	case !complete:
		c.dropObjects(known)
	}
	for _, id := range changed {
		c.dropObject(known, id)
	}
	known.token, known.generation = token, generation
	return token, nil
}

// CurrentObject is Object, from memory where nothing can have changed it since it was read. Its attributes and its
// reference are everybody's: they are not to be written to.
func (s *Store) CurrentObject(ctx context.Context, token string, id uint64) (Object, error) {
	c := &s.cache
	generation := c.generation.Load()
	var revision uint64
	c.mu.Lock()
	known := c.tokens[token]
	current := known != nil && known.generation == generation && c.believed()
	if current {
		if element := known.objects[id]; element != nil {
			c.recent.MoveToFront(element)
			o := *element.Value.(*Object)
			c.mu.Unlock()
			return o, nil
		}
		revision = known.token.Revision
	}
	c.mu.Unlock()
	o, err := s.Object(ctx, token, id)
	if err != nil || !current {
		return o, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// The object is not older than the token that was current when it was read. Should the token be newer now, the
	// object may have changed in between.
	if c.tokens[token] != known || known.token.Revision != revision || known.objects[id] != nil {
		return o, nil
	}
	known.objects[id] = c.recent.PushFront(&o)
	for c.recent.Len() > c.limit {
		oldest := c.recent.Back().Value.(*Object)
		c.dropObject(c.tokens[oldest.Token], oldest.ID)
	}
	return o, nil
}

// changedSince returns the objects that were changed or deleted after a revision; not complete if they are many, or so
// long ago that some were forgotten.
func (s *Store) changedSince(ctx context.Context, token string, revision uint64) (ids []uint64, complete bool, err error) {
	ids, err = all(ctx, &s.Reader, `SELECT id FROM objects WHERE token_id = (SELECT id FROM tokens WHERE uid = ?) AND revision > ? LIMIT ?`,
		[]any{token, signed(revision), maxChanged}, func(row *sql.Rows) (id uint64, err error) {
			err = row.Scan(&id)
			return id, err
		})
	if err != nil || len(ids) == maxChanged {
		return nil, false, err
	}
	// Deleted ones come second: what is deleted in between was among the others or is among these.
	removed, complete, err := s.Removed(ctx, token, revision)
	return append(ids, removed...), complete, err
}

// forget drops a token that is gone.
func (c *cache) forget(uid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.tokens[uid]; known != nil {
		c.dropObjects(known)
		delete(c.tokens, uid)
	}
}

// makeRoom drops any token where there are too many; mu is held.
func (c *cache) makeRoom() {
	for uid, t := range c.tokens {
		if len(c.tokens) < maxTokens {
			return
		}
		c.dropObjects(t)
		delete(c.tokens, uid)
	}
}

// dropObjects and dropObject drop what may have changed; mu is held.
func (c *cache) dropObjects(t *cachedToken) {
	for id := range t.objects {
		c.dropObject(t, id)
	}
}

func (c *cache) dropObject(t *cachedToken, id uint64) {
	if element := t.objects[id]; element != nil {
		c.recent.Remove(element)
		delete(t.objects, id)
	}
}
