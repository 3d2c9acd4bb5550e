package session

import (
	"context"
	"sync"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

const (
	// validity is how long the cache is believed after the daemon last confirmed it.
	validity = time.Second
	// recent is how young a confirmation must be for "no such object" to be believed: another program may just have
	// made it.
	recent = 50 * time.Millisecond
	// tries bounds how often one call waits for a listing: of others, and its own, which a login may make worthless.
	tries = 16
)

// cache holds the token's objects that the present login may see, all attributes along. The daemon's answers carry the
// token's revision: an equal one confirms the cache, another tells that it is stale.
type cache struct {
	mu sync.Mutex
	// epoch counts logins and logouts: answers to calls that began in another one do not count.
	epoch uint64
	index index
	// loaded tells that the index is a whole listing, of this revision.
	loaded   bool
	revision uint64
	// confirmed is when the daemon last said that the index is right; zero if it is known to be stale.
	confirmed time.Time
	// listed is when the listing began that was taken last. Who asked before then has in it all that was there when he
	// asked, even if more has changed since and the cache is stale for the next one.
	listed time.Time
	// large tells that the token holds too many objects to list them for one search: then searches for a label, an id or
	// a handle ask for just that, until something wants all objects.
	large bool
	// newest is the highest revision that an answer told, and when it came: a listing that began later has no lower one.
	newest   uint64
	newestAt time.Time
	flight   *flight
}

// flight is a listing under way, which others wait for instead of asking as well.
type flight struct {
	done chan struct{}
	err  error
}

// current returns the epoch, and the highest revision that was told.
func (c *cache) current() (epoch, newest uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch, c.newest
}

// drop forgets everything: somebody logged in or out.
func (c *cache) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	c.index = newIndex()
	c.loaded, c.revision, c.newest = false, 0, 0
	c.confirmed, c.listed = time.Time{}, time.Time{}
}

// listing returns what is cached and since when that was right; only a whole listing is worth anything.
func (c *cache) listing() (index, uint64, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.loaded {
		return newIndex(), 0, time.Time{}
	}
	return c.index, c.revision, c.confirmed
}

// restore puts a listing back that drop has taken away meanwhile.
func (c *cache) restore(i index, revision uint64, confirmed time.Time) {
	c.drop()
	c.mu.Lock()
	defer c.mu.Unlock()
	if revision > 0 {
		c.index, c.loaded, c.revision, c.confirmed = i, true, revision, confirmed
		c.newest, c.newestAt = revision, confirmed
	}
}

// markStale makes the next look ask.
func (c *cache) markStale() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.confirmed = time.Time{}
}

// notice learns from the revision in an answer.
func (c *cache) notice(at moment, revision uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at.epoch != c.epoch || revision == 0 {
		return
	}
	if revision > c.newest {
		c.newest, c.newestAt = revision, time.Now()
	}
	switch {
	case !c.loaded:
	case revision == c.revision && revision >= c.newest:
		if at.start.After(c.confirmed) {
			c.confirmed = at.start
		}
	case revision > c.revision:
		c.confirmed = time.Time{}
	}
}

// apply puts our own change in. Only if nobody else's came in between is the cache as good as before.
func (c *cache) apply(at moment, revision uint64, put []*Object, removed ...uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at.epoch != c.epoch {
		return
	}
	for _, o := range put {
		c.index.put(o)
	}
	for _, handle := range removed {
		c.index.remove(handle)
	}
	if revision > c.newest {
		c.newest, c.newestAt = revision, time.Now()
	}
	switch {
	case !c.loaded || revision == c.revision+1:
		if c.loaded {
			c.revision = revision
		}
		// Somebody else's later change may have been told earlier.
		if revision >= c.newest {
			c.confirmed = at.start
		}
	case revision != c.revision:
		c.confirmed = time.Time{}
	}
}

// get returns a token object that is known, and since when its state is confirmed.
func (c *cache) get(handle uint64) (*Object, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.index.get(handle), c.confirmed
}

// ensure makes the cache a whole listing that was right at most `age` ago, unless the token is large and the caller wants
// something that can be asked for alone: see narrow.
func (t *Token) ensure(ctx context.Context, age time.Duration, wanted *anyhsmv1.Wanted) error {
	c := &t.cache
	began := time.Now()
	for range tries {
		c.mu.Lock()
		if c.narrows(wanted) || c.loaded && (!c.confirmed.Before(began.Add(-age)) || !c.listed.Before(began)) {
			c.mu.Unlock()
			return nil
		}
		running := c.flight
		if running == nil {
			running = &flight{done: make(chan struct{})}
			c.flight = running
			c.mu.Unlock()
			running.err = t.list(ctx, wanted)
			c.mu.Lock()
			c.flight = nil
			c.mu.Unlock()
			close(running.done)
			if fault.Is(running.err, fault.UserNotLoggedIn) {
				// The ticket was refused and the login is forgotten: public objects can still be listed.
				continue
			}
			if running.err != nil {
				return running.err
			}
		} else {
			c.mu.Unlock()
			select {
			case <-running.done:
			case <-ctx.Done():
				return cryptoki.CKR_DEVICE_ERROR
			}
		}
	}
	return fault.New(fault.DeviceError, "the objects could not be listed: logins and logouts came faster than listings; call again")
}

// list asks for all objects, or for what changed since the revision that the cache has, page by page. A daemon that
// finds the token large answers with what is wanted alone: that is asked for again by who wants it.
func (t *Token) list(ctx context.Context, wanted *anyhsmv1.Wanted) error {
	c := &t.cache
	c.mu.Lock()
	since := uint64(0)
	if c.loaded {
		since = c.revision
	}
	c.mu.Unlock()
	var listing listed
	page := ""
	for {
		answer, at, err := call(t, func(header *anyhsmv1.CallHeader) (*anyhsmv1.ListObjectsResponse, error) {
			return t.client.Objects.ListObjects(ctx, &anyhsmv1.ListObjectsRequest{
				Header: header, SinceRevision: since, Page: page, Wanted: wanted,
			})
		})
		if err != nil {
			return err
		}
		if answer.GetNarrowed() {
			c.setLarge(true)
			return nil
		}
		if page == "" {
			listing.at, listing.since = at, since
			listing.complete = answer.GetComplete() || since == 0
			listing.revision = answer.GetHeader().GetRevision()
		} else if at.epoch != listing.at.epoch {
			// The pages were made for different logins.
			return nil
		}
		for _, m := range answer.GetObjects() {
			listing.objects = append(listing.objects, tokenObject(m))
		}
		listing.removed = append(listing.removed, answer.GetRemoved()...)
		if page = answer.GetNextPage(); page == "" {
			c.take(listing)
			return nil
		}
	}
}

// listed is what ListObjects said.
type listed struct {
	at       moment
	since    uint64
	revision uint64
	complete bool
	objects  []*Object
	removed  []uint64
}

// take replaces the cache with a listing or brings it up to date.
func (c *cache) take(l listed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.at.epoch != c.epoch || !l.complete && (!c.loaded || c.revision < l.since) {
		return
	}
	if c.loaded && l.revision < c.revision && !c.newestAt.Before(l.at.start) {
		// Our own changes overtook the listing, one by one: the cache already is what the listing would make it.
		c.listed, c.confirmed = l.at.start, time.Time{}
		return
	}
	if l.complete {
		c.index = newIndex()
	}
	for _, o := range l.objects {
		c.index.put(o)
	}
	for _, handle := range l.removed {
		c.index.remove(handle)
	}
	c.loaded, c.revision, c.listed, c.confirmed = true, l.revision, l.at.start, l.at.start
	switch {
	case l.revision >= c.newest || c.newestAt.Before(l.at.start):
		// A lower revision than one told before the listing began: the store was restored.
		c.newest, c.newestAt = l.revision, l.at.start
	default:
		c.confirmed = time.Time{}
	}
}
