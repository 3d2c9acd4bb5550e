package keyservice

import (
	"context"
	"slices"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// CopyKey brings the material of a key into another provider as well, where it proves to be the same key before it is
// recorded. The provider names the copy by the object, so that a repeated call finds what one that was cut off has left
// behind, and never makes a second one.
func (s *Service) CopyKey(ctx context.Context, call Call, key, to string) (done Placed, err error) {
	r := begin(call, "key.copy")
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
	from, err := s.placement(ctx, a, r, key)
	if err != nil {
		return Placed{}, err
	}
	r.event.Detail = key + " to " + to
	there, err := s.arrive(ctx, from, to)
	if err != nil {
		return Placed{}, err
	}
	_, err = s.change(ctx, call, r, &done, func(tx *keystore.Tx) error {
		now, err := tx.Object(ctx, from.Token, from.ID)
		if err != nil {
			return err
		}
		references := now.References()
		if !slices.ContainsFunc(references, there.reference.Same) {
			references = append(references, there.reference)
		}
		return s.put(ctx, tx, now, references, there, nil, &done)
	})
	if err != nil {
		s.orphaned(ctx, target{Object: from.Object, places: []place{there.place}}, err)
	}
	return done, err
}

// arrival is a key that is in a provider now.
type arrival struct {
	place
	// known tells that it was there before.
	known bool
	proof string
}

// arrive brings a key into a provider, unless it is there, and lets it prove itself.
func (s *Service) arrive(ctx context.Context, from placement, to string) (there arrival, err error) {
	if _, ok := s.providers[to]; !ok {
		return arrival{}, fault.New(fault.NotFound, "there is no provider %q; see anyhsm provider list", to)
	}
	b, err := s.backend(to)
	if err != nil {
		return arrival{}, err
	}
	all := slices.Concat(from.places, from.retired)
	if there.place, there.known = at(all, to); there.known {
		there.proof, err = s.prove(ctx, from.target, there.place, others(all, there.place))
		if _, used := at(from.places, to); used || !fault.Is(err, fault.KeyHandleInvalid) {
			return there, err
		}
		// A retired key that was destroyed there since: it is brought again.
		all = others(all, there.place)
	}
	made, err := provider.Bring(ctx, b.Provider, provider.Identity{UID: from.UID, Token: from.Token}, from.Attributes, departure{s, from.target, all})
	if err != nil {
		return arrival{}, err
	}
	there = arrival{place: place{b, keystore.KeyReference{Provider: to, Ref: made.Ref}}}
	allowed, _ := made.Private.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS)
	for _, m := range allowed {
		there.reference.Mechanisms = append(there.reference.Mechanisms, cryptoki.MechanismType(m))
	}
	there.proof, err = s.prove(ctx, from.target, there.place, all)
	return there, err
}

// others are the places but one.
func others(places []place, but place) []place {
	return slices.DeleteFunc(slices.Clone(places), func(p place) bool { return p.reference.Same(but.reference) })
}

// put records where a key is used from now on, and where not any more, in a transaction.
func (s *Service) put(ctx context.Context, tx *keystore.Tx, now keystore.Object, use []keystore.KeyReference, there arrival, retire []keystore.KeyReference, done *Placed) error {
	before, err := tx.Retired(ctx, now.ID)
	if err != nil {
		return err
	}
	for _, reference := range before {
		if !slices.ContainsFunc(use, reference.Same) && !slices.ContainsFunc(retire, reference.Same) && (there.backend == nil || reference.Provider != there.name) {
			retire = append(retire, reference)
		}
	}
	if err := tx.PutReferences(&now, use...); err != nil {
		return err
	}
	if err := tx.Retire(now.ID, retire...); err != nil {
		return err
	}
	*done = Placed{Known: there.known, Proof: there.proof}
	done.Key, done.Places, err = s.placed(ctx, tx, now)
	return err
}
