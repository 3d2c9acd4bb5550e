package keyservice

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Wanted says which objects a search is for: all that are set must match.
type Wanted struct {
	// Label and ID are CKA_LABEL and CKA_ID, nil for any.
	Label, ID []byte
	// Object is the number of one object, 0 for any.
	Object uint64
}

// FindObjects returns the objects that a search is for, if the token holds so many that a listing of all would take
// long; else narrowed is false, and the caller lists them. So the first search in a token takes the same time whether
// that has a thousand objects or a million.
func (s *Service) FindObjects(ctx context.Context, call Call, wanted Wanted) (found []Object, narrowed bool, reply Reply, err error) {
	r := begin(call, "object.list")
	defer func() { s.endListing(ctx, r, &err) }()
	a, err := s.enter(ctx, call, r, policy.Use)
	if err != nil {
		return nil, false, Reply{}, err
	}
	if narrowed, err = s.store.HoldsMore(ctx, a.token.UID, pageObjects); err != nil || !narrowed {
		return nil, false, Reply{}, err
	}
	query := keystore.ObjectQuery{Token: a.token.UID, KeyID: wanted.ID, Limit: pageObjects + 1, Public: !a.seesPrivate()}
	if wanted.Label != nil {
		label := string(wanted.Label)
		query.Label = &label
	}
	if wanted.Object > 0 {
		query.AfterID, query.Limit = wanted.Object-1, 1
	}
	objects, err := s.store.Objects(ctx, query)
	if err != nil || len(objects) > pageObjects {
		return nil, false, Reply{}, err
	}
	for i := range objects {
		if wanted.Object > 0 && objects[i].ID != wanted.Object || !wanted.are(objects[i].Attributes) {
			continue
		}
		if err := s.uncover(ctx, &objects[i]); err != nil {
			return nil, false, Reply{}, err
		}
		found = append(found, s.shown(objects[i]))
	}
	return found, true, a.reply, nil
}

// are looks at the values themselves: of long ones the store compares hashes, and of an object's number the next one.
func (w Wanted) are(attributes cryptoki.Attributes) bool {
	return (w.Label == nil || string(attributes.Bytes(cryptoki.CKA_LABEL)) == string(w.Label)) &&
		(w.ID == nil || string(attributes.Bytes(cryptoki.CKA_ID)) == string(w.ID))
}
