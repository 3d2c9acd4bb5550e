package keyservice

import (
	"context"
	"slices"
	"strings"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Move says where a key goes.
type Move struct {
	Key, To string
	// KeepOld leaves the other places in use, after the new one. DestroyOld destroys the keys there. Without either they
	// are retired: not used, and still there.
	KeepOld, DestroyOld bool
}

// MoveKey brings a key into another provider and uses it there from then on: it is copied, proves itself, and comes
// first, in this order, so that at each moment there is a key that works.
func (s *Service) MoveKey(ctx context.Context, call Call, move Move) (done Placed, err error) {
	r := begin(call, "key.move")
	defer s.end(ctx, r, &err)

	a, err := s.admit(ctx, call, r)
	if err != nil {
		return Placed{}, err
	}
	if move.KeepOld && move.DestroyOld {
		return Placed{}, fault.New(fault.InvalidInput, "the old keys cannot be kept in use and be destroyed; ask for one of both")
	}
	finished, err := s.turns.take(ctx, a.owner, call.RequestID)
	if err != nil {
		return Placed{}, err
	}
	defer finished()
	if replayed, err := s.replay(ctx, call, r, &done); err != nil || replayed {
		return done, err
	}
	from, err := s.placement(ctx, a, r, move.Key)
	if err != nil {
		return Placed{}, err
	}
	r.event.Detail = move.Key + " to " + move.To
	if move.DestroyOld {
		keys, err := s.everywhere(ctx, []keystore.Object{from.Object})
		if err != nil {
			return Placed{}, err
		}
		for _, k := range keys {
			if k.reference.Provider != move.To && k.obstacle != nil {
				return Placed{}, fault.New(fault.From(settle(k.obstacle)).Kind, "the key was not moved, because provider %s cannot destroy it now: %w; try again, or move it without destroying the old one",
					k.reference.Provider, k.obstacle)
			}
		}
	}
	there, err := s.arrive(ctx, from, move.To)
	if err != nil {
		return Placed{}, err
	}
	if cannot := there.cannot(from.target); move.DestroyOld && len(cannot) > 0 {
		// The copy stays unrecorded: the same call without the flag finds it.
		return Placed{}, fault.New(fault.ActionProhibited, "the key in provider %s cannot %s, which this key may; move it without destroying the old one, and if nobody misses that, run anyhsm key retire --destroy",
			move.To, strings.Join(cannot, " nor "))
	}
	switching := call
	if move.DestroyOld {
		// The request is finished only when the old keys are gone.
		switching.RequestID = ""
	}
	_, err = s.change(ctx, switching, r, &done, func(tx *keystore.Tx) error {
		now, err := tx.Object(ctx, from.Token, from.ID)
		if err != nil {
			return err
		}
		use, retire := slices.Clone(there.references), []keystore.KeyReference(nil)
		for _, reference := range now.References() {
			switch {
			case slices.ContainsFunc(use, reference.Same):
			case move.KeepOld:
				use = append(use, reference)
			default:
				retire = append(retire, reference)
			}
		}
		return s.put(ctx, tx, now, use, there, retire, &done)
	})
	if err != nil {
		s.orphaned(ctx, target{Object: from.Object, places: there.places()}, err)
		return Placed{}, err
	}
	if !move.DestroyOld {
		return done, nil
	}
	return s.destroyRetired(ctx, call, r, from.target, done, func(keystore.KeyReference) bool { return true }, false)
}

// cannot are the uses that the object has and none of the keys that are there does.
func (there arrival) cannot(t target) []string {
	places := there.places()
	return slices.DeleteFunc(places[0].cannot(t), func(use string) bool {
		return slices.ContainsFunc(places[1:], func(p place) bool { return !slices.Contains(p.cannot(t), use) })
	})
}

// destroyable tells why the key at a place cannot be destroyed.
func (p place) destroyable() error {
	if _, ok := p.Provider.(provider.Destroyer); !ok && p.capabilities.Keeps {
		return fault.New(fault.ActionProhibited, "provider %s cannot destroy keys; destroy the key where it is kept", p.name)
	}
	return nil
}

// destroyRetired destroys keys that are not used any more, the providers' first: a call that was cut off is repeated, and
// to destroy what is gone is no error.
func (s *Service) destroyRetired(ctx context.Context, call Call, r *record, t target, done Placed, doomed func(keystore.KeyReference) bool, leave bool) (Placed, error) {
	// What comes is another event than the switch before.
	r.written = false
	r.event.Detail += ", old keys destroyed"
	retired, err := s.store.Retired(ctx, t.ID)
	if err != nil {
		return Placed{}, err
	}
	var gone []keystore.KeyReference
	var keys []doomedKey
	for _, reference := range retired {
		if doomed(reference) {
			keys = append(keys, s.doom(t.Object, reference))
			gone = append(gone, reference)
		}
	}
	if done.Left, err = s.destroyAll(ctx, keys, leave); err != nil {
		return Placed{}, err
	}
	s.noteLeft(ctx, r, done.Left)
	for _, reference := range gone {
		if !slices.ContainsFunc(done.Left, func(l Left) bool { return l.Provider == reference.Provider }) {
			done.Destroyed = append(done.Destroyed, reference.Provider)
		}
	}
	done.Destroyed = slices.Compact(done.Destroyed)
	_, err = s.change(ctx, call, r, &done, func(tx *keystore.Tx) error {
		now, err := tx.Retired(ctx, t.ID)
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(now, func(reference keystore.KeyReference) bool { return slices.ContainsFunc(gone, reference.Same) })
		if err := tx.Retire(t.ID, left...); err != nil {
			return err
		}
		done.Key, done.Places, err = s.placed(ctx, tx, t.Object)
		return err
	})
	return done, err
}

// RetireKey stops using a key in one of its providers, where another has it, and destroys it there if asked to. What is
// retired already can be destroyed later. With leave, a key that cannot be destroyed now is forgotten and stays there.
func (s *Service) RetireKey(ctx context.Context, call Call, key, from string, destroy, leave bool) (done Placed, err error) {
	r := begin(call, "key.retire")
	defer s.end(ctx, r, &err)

	a, err := s.admit(ctx, call, r)
	if err != nil {
		return Placed{}, err
	}
	finished, err := s.turns.take(ctx, a.owner, call.RequestID)
	if err != nil {
		return Placed{}, err
	}
	defer finished()
	if replayed, err := s.replay(ctx, call, r, &done); err != nil || replayed {
		return done, err
	}
	t, err := s.placement(ctx, a, r, key)
	if err != nil {
		return Placed{}, err
	}
	r.event.Detail = key + " in " + from
	named := func(reference keystore.KeyReference) bool { return reference.Provider == from }
	if destroy && !leave {
		keys, err := s.everywhere(ctx, []keystore.Object{t.Object})
		if err != nil {
			return Placed{}, err
		}
		for _, k := range keys {
			if named(k.reference) && k.obstacle != nil {
				return Placed{}, fault.New(fault.From(settle(k.obstacle)).Kind, "provider %s cannot destroy the key now: %w; try again, retire it without destroying it, or forget it with --leave-behind", from, k.obstacle)
			}
		}
	}
	retiring := call
	if destroy {
		retiring.RequestID = ""
	}
	_, err = s.change(ctx, retiring, r, &done, func(tx *keystore.Tx) error {
		now, err := tx.Object(ctx, t.Token, t.ID)
		if err != nil {
			return err
		}
		retired, err := tx.Retired(ctx, t.ID)
		if err != nil {
			return err
		}
		use := slices.DeleteFunc(now.References(), named)
		retire := slices.DeleteFunc(now.References(), func(reference keystore.KeyReference) bool { return !named(reference) })
		switch {
		case len(retire) == 0 && !slices.ContainsFunc(retired, named):
			return fault.New(fault.NotFound, "the key is not in provider %q; see anyhsm key show", from)
		case len(use) == 0:
			return fault.New(fault.Conflict, "provider %s alone has the key; move it first with anyhsm key move, or delete it with anyhsm key delete", from)
		}
		return s.put(ctx, tx, now, use, arrival{}, retire, &done)
	})
	if err != nil || !destroy {
		return done, err
	}
	return s.destroyRetired(ctx, call, r, t.target, done, named, leave)
}
