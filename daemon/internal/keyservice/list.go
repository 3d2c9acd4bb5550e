package keyservice

import (
	"context"
	"fmt"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/wire"
)

// A page of ListObjects ends at the first of these bounds.
const (
	pageObjects = 1000
	pageBytes   = 2 << 20
	pageBatch   = 250
)

// ListObjects returns a page of the objects that the ticket may see, or of what changed since a revision.
//
// All pages of a listing carry the revision of its first page, and objects come ascending by number. What changes while
// pages are fetched may be on a later page or not; it has a larger revision in any case, so the next call, with the
// revision of this listing, brings it. A listing is never begun anew in between.
//
// The answer is complete, and replaces the caller's cache, where the caller has none (since 0), where its revision is
// not one of this token's (a restored store), and where destroyed objects were forgotten since. A caller whose login
// has changed asks with since 0: what it may see now need not have changed.
func (s *Service) ListObjects(ctx context.Context, call Call, since uint64, page string) (listing Listing, reply Reply, err error) {
	r := begin(call, "object.list")
	defer func() { s.endListing(ctx, r, &err) }()
	a, err := s.enter(ctx, call, r, policy.Use)
	if err != nil {
		return Listing{}, Reply{}, err
	}
	at := cursor{since: since, revision: a.token.Revision}
	if page != "" {
		if at, err = parseCursor(page); err != nil {
			return Listing{}, Reply{}, err
		}
	} else if at.since > 0 {
		complete := false
		if at.since <= at.revision {
			if listing.Removed, complete, err = s.store.Removed(ctx, a.token.UID, at.since); err != nil {
				return Listing{}, Reply{}, err
			}
		}
		if !complete {
			at.since, listing.Removed = 0, nil
		}
	}
	listing.Complete = at.since == 0
	a.reply.Revision = at.revision
	if at.since == at.revision && at.since > 0 {
		return listing, a.reply, nil
	}
	listing.Objects, listing.Next, err = s.page(ctx, a, at)
	return listing, a.reply, err
}

// endListing records refusals alone: reading what one may see is no event.
func (s *Service) endListing(ctx context.Context, r *record, err *error) {
	if *err = settle(*err); fault.Is(*err, fault.NotGranted) || fault.Is(*err, fault.TokenNotPresent) {
		s.end(ctx, r, err)
	}
}

// page reads objects until one of the bounds is reached.
func (s *Service) page(ctx context.Context, a access, at cursor) (objects []Object, next string, err error) {
	size := 0
	for {
		batch, err := s.store.Objects(ctx, keystore.ObjectQuery{
			Token: a.token.UID, Since: at.since, AfterID: at.after, Limit: pageBatch, Public: !a.seesPrivate(),
		})
		if err != nil {
			return nil, "", err
		}
		for i := range batch {
			if err := s.uncover(ctx, &batch[i]); err != nil {
				return nil, "", err
			}
			o := s.shown(batch[i])
			size += wire.AttributesSize(o.Attributes)
			// The first object of a page is taken whatever its size.
			if len(objects) > 0 && (size > pageBytes || len(objects) == pageObjects) {
				return objects, at.String(), nil
			}
			objects = append(objects, o)
			at.after = o.ID
		}
		if len(batch) < pageBatch {
			return objects, "", nil
		}
	}
}

// cursor is where a listing goes on.
type cursor struct{ since, revision, after uint64 }

func (c cursor) String() string { return fmt.Sprintf("%d.%d.%d", c.since, c.revision, c.after) }

func parseCursor(page string) (cursor, error) {
	var c cursor
	if n, err := fmt.Sscanf(page, "%d.%d.%d", &c.since, &c.revision, &c.after); err != nil || n != 3 || c.String() != page {
		return cursor{}, fault.New(fault.ArgumentsBad, "the page is not one that a listing has named; begin anew without one")
	}
	return c, nil
}
