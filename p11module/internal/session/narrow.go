package session

import (
	"context"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// wantedOf returns what a daemon can look for by itself in a template; nil if nothing.
func wantedOf(template cryptoki.Attributes) *anyhsmv1.Wanted {
	var wanted anyhsmv1.Wanted
	label, named := template.Get(cryptoki.CKA_LABEL)
	if named {
		wanted.Label = append([]byte{}, label...)
	}
	id, numbered := template.Get(cryptoki.CKA_ID)
	if numbered {
		wanted.Id = append([]byte{}, id...)
	}
	if !named && !numbered {
		return nil
	}
	return &wanted
}

// narrows tells whether something that is wanted is asked for alone; mu is held.
func (c *cache) narrows(wanted *anyhsmv1.Wanted) bool { return wanted != nil && c.large && !c.loaded }

func (c *cache) setLarge(large bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.large = large
}

// narrow asks for what is wanted alone, where the token is large and not listed. What comes back is put into the cache,
// so that it can be used by its handle, but the cache does not become a listing by it.
func (t *Token) narrow(ctx context.Context, wanted *anyhsmv1.Wanted) (found index, narrowed bool, err error) {
	c := &t.cache
	c.mu.Lock()
	narrowed = c.narrows(wanted)
	c.mu.Unlock()
	if !narrowed {
		return index{}, false, nil
	}
	answer, at, err := call(t, func(header *anyhsmv1.CallHeader) (*anyhsmv1.ListObjectsResponse, error) {
		return t.client.Objects.ListObjects(ctx, &anyhsmv1.ListObjectsRequest{Header: header, Wanted: wanted})
	})
	if err != nil {
		return index{}, false, err
	}
	if !answer.GetNarrowed() {
		// Objects have gone meanwhile: it can be listed again.
		c.setLarge(false)
		return index{}, false, nil
	}
	found = newIndex()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range answer.GetObjects() {
		o := tokenObject(m)
		o.seen = at.start
		found.put(o)
		if at.epoch == c.epoch && !c.loaded {
			c.index.put(o)
		}
	}
	if wanted.GetObject() != 0 && found.get(wanted.GetObject()) == nil && at.epoch == c.epoch && !c.loaded {
		c.index.remove(wanted.GetObject())
	}
	return found, true, nil
}
