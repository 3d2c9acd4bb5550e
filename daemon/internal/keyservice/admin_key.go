package keyservice

import (
	"context"
	"strconv"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// CreateKey generates a key or a key pair and returns its secret half.
func (s *Service) CreateKey(ctx context.Context, call Call, key NewKey) (made KeySummary, err error) {
	r := begin(call, "key.create")
	defer s.end(ctx, r, &err)

	a, err := s.admit(ctx, call, r)
	if err != nil {
		return KeySummary{}, err
	}
	order, err := parseSpec(key.Spec)
	if err != nil {
		return KeySummary{}, err
	}
	public, private, err := order.templates(key.Label, key.ID, key.Usage, key.Extractable)
	if err != nil {
		return KeySummary{}, err
	}
	m := cryptoki.Mechanism{Type: order.mechanism}
	r.with(m).event.Detail = key.Spec + " " + key.Label
	var secret Object
	if key.Twin {
		secret, err = s.createTwin(ctx, &a, r, order, key)
	} else if order.pair {
		_, secret, err = s.generateKeyPair(ctx, &a, r, m, public, private)
	} else {
		secret, err = s.generateKey(ctx, &a, r, m, private)
	}
	if err != nil {
		return KeySummary{}, err
	}
	return s.summaryOf(ctx, a, secret)
}

// pageKeys is how many objects a page of ListKeys has.
const pageKeys = 200

// ListKeys returns the objects of a token, page by page; class nil for all.
func (s *Service) ListKeys(ctx context.Context, call Call, class *cryptoki.ObjectClass, page string) (keys []KeySummary, next string, err error) {
	a, err := s.admit(ctx, call, begin(call, "key.list"))
	if err != nil {
		return nil, "", settle(err)
	}
	query := keystore.ObjectQuery{Token: a.token.UID, Class: class, Limit: pageKeys}
	if page != "" {
		if query.AfterID, err = strconv.ParseUint(page, 10, 64); err != nil {
			return nil, "", fault.New(fault.InvalidInput, "%q is no page of this list; begin anew without one", page)
		}
	}
	objects, err := s.store.Objects(ctx, query)
	if err != nil {
		return nil, "", settle(err)
	}
	if len(objects) == pageKeys {
		next = strconv.FormatUint(objects[pageKeys-1].ID, 10)
	}
	return summaries(objects), next, nil
}

// GetKey returns the objects that a selector names: a label, a uid, "id:HEX" or a number. For a key they are both
// halves and the certificates of the same CKA_ID.
func (s *Service) GetKey(ctx context.Context, call Call, key string) ([]KeySummary, error) {
	a, err := s.admit(ctx, call, begin(call, "key.get"))
	if err != nil {
		return nil, settle(err)
	}
	found, err := s.find(ctx, a.token.UID, key)
	if err != nil {
		return nil, settle(err)
	}
	keys := summaries(found.objects)
	for i, o := range found.objects {
		keys[i].Attributes = o.Attributes
	}
	return keys, nil
}

// LabelKey changes label and id of a key's objects, its certificates among them; empty ones stay.
func (s *Service) LabelKey(ctx context.Context, call Call, key, label string, id []byte) (keys []KeySummary, err error) {
	r := begin(call, "key.label")
	defer s.end(ctx, r, &err)

	a, err := s.admit(ctx, call, r)
	if err != nil {
		return nil, err
	}
	var template cryptoki.Attributes
	if label != "" {
		template = append(template, cryptoki.String(cryptoki.CKA_LABEL, label))
	}
	if len(id) > 0 {
		template = append(template, cryptoki.Bytes(cryptoki.CKA_ID, id))
	}
	if len(template) == 0 {
		return nil, fault.New(fault.InvalidInput, "there is neither a label nor an id to set; give one")
	}
	var changed []uint64
	replayed, err := s.replay(ctx, call, r, &changed)
	if err != nil {
		return nil, err
	}
	if !replayed {
		found, err := s.find(ctx, a.token.UID, key)
		if err != nil {
			return nil, err
		}
		r.event.Detail = key
		if _, err = s.change(ctx, call, r, &changed, func(tx *keystore.Tx) error {
			changed = nil
			for _, o := range found.objects {
				if err := s.rewrite(ctx, tx, a.token.UID, o.ID, template); err != nil {
					return err
				}
				changed = append(changed, o.ID)
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	for _, number := range changed {
		o, err := s.store.Object(ctx, a.token.UID, number)
		if err != nil {
			return nil, err
		}
		keys = append(keys, summary(o))
	}
	return keys, nil
}

// DeleteKey destroys a key and its public half and returns what went. A certificate stays unless it was named itself.
// With leave the key may stay in providers that cannot destroy it now.
func (s *Service) DeleteKey(ctx context.Context, call Call, key string, leave bool) (deleted Deleted, err error) {
	r := begin(call, "key.delete")
	defer s.end(ctx, r, &err)

	a, err := s.admit(ctx, call, r)
	if err != nil {
		return Deleted{}, err
	}
	done, err := s.turns.take(ctx, a.owner, call.RequestID)
	if err != nil {
		return Deleted{}, err
	}
	defer done()
	if replayed, err := s.replay(ctx, call, r, &deleted); err != nil || replayed {
		return deleted, err
	}
	found, err := s.find(ctx, a.token.UID, key)
	if err != nil {
		return Deleted{}, err
	}
	doomed := found.doomed()
	r.event.Detail, r.event.Object = key, doomed[0].UID
	for _, o := range doomed {
		if o.Attributes.Has(cryptoki.CKA_DESTROYABLE) && !o.Attributes.Bool(cryptoki.CKA_DESTROYABLE) {
			return Deleted{}, fault.New(fault.ActionProhibited, "object %d has CKA_DESTROYABLE false; delete its token to get rid of it", o.ID)
		}
	}
	left, err := s.destroyKeys(ctx, doomed, leave)
	if err != nil {
		return Deleted{}, err
	}
	s.noteLeft(ctx, r, left)
	deleted = Deleted{Keys: summaries(doomed), Objects: uint64(len(doomed)), Left: left}
	_, err = s.change(ctx, call, r, &deleted, func(tx *keystore.Tx) error {
		for _, o := range doomed {
			if err := tx.DeleteObject(a.token.UID, o.ID); err != nil {
				return err
			}
		}
		return nil
	})
	return deleted, s.halfGone(err, doomed...)
}
