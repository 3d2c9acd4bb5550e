package keyservice

import (
	"context"
	"slices"
	"strings"

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
		for _, reference := range there.references {
			if !slices.ContainsFunc(references, reference.Same) {
				references = append(references, reference)
			}
		}
		return s.put(ctx, tx, now, references, there, nil, &done)
	})
	if err != nil {
		s.orphaned(ctx, target{Object: from.Object, places: there.places()}, err)
	}
	return done, err
}

// arrival is a key that is in a provider now: once, or in two keys for one padding each.
type arrival struct {
	*backend
	references []keystore.KeyReference
	// known tells that it was there before.
	known bool
	proof string
}

func (there arrival) places() (places []place) {
	for _, reference := range there.references {
		places = append(places, place{there.backend, reference})
	}
	return places
}

// arrive brings a key into a provider, unless it is there, and lets it prove itself.
func (s *Service) arrive(ctx context.Context, from placement, to string) (arrival, error) {
	if _, ok := s.providers[to]; !ok {
		return arrival{}, fault.New(fault.NotFound, "there is no provider %q; see anyhsm provider list", to)
	}
	b, err := s.backend(to)
	if err != nil {
		return arrival{}, err
	}
	there := arrival{backend: b}
	var elsewhere []place
	for _, p := range slices.Concat(from.places, from.retired) {
		if p.name == to {
			there.references, there.known = append(there.references, p.reference), true
		} else {
			elsewhere = append(elsewhere, p)
		}
	}
	if there.known {
		err := s.proveAll(ctx, from.target, &there, elsewhere)
		if _, used := at(from.places, to); used || !fault.Is(err, fault.KeyHandleInvalid) {
			return there, err
		}
		// A retired key that was destroyed there since: it is brought again.
		there = arrival{backend: b}
	}
	if there.references, err = s.bring(ctx, from, b, elsewhere); err != nil {
		return arrival{}, err
	}
	return there, s.proveAll(ctx, from.target, &there, elsewhere)
}

// bring puts a key into a provider, and returns the references to it there.
func (s *Service) bring(ctx context.Context, from placement, b *backend, elsewhere []place) (references []keystore.KeyReference, err error) {
	forms := [][]cryptoki.MechanismType{nil}
	keyType, _ := from.Attributes.KeyType()
	if b.capabilities.OneAlgorithm && keyType == cryptoki.CKK_RSA && from.Attributes.Bool(cryptoki.CKA_SIGN) && !from.Attributes.Has(cryptoki.CKA_ALLOWED_MECHANISMS) {
		// A TLS server needs both paddings, so the key becomes twins.
		forms = paddings[:]
	}
	identity := provider.Identity{UID: from.UID, Token: from.Token}
	for i, form := range forms {
		attributes := from.Attributes
		if form != nil {
			attributes = attributes.Clone()
			attributes.Set(allowing(form))
		}
		if i > 0 {
			identity.UID = twinUID(from.UID)
		}
		made, err := provider.Bring(ctx, b.Provider, identity, attributes, departure{s, from.target, elsewhere})
		if err != nil {
			return nil, err
		}
		references = append(references, keystore.KeyReference{Provider: b.name, Ref: made.Ref, Mechanisms: allowed(made.Private)})
	}
	return references, nil
}

// proveAll has each key that is there prove itself.
func (s *Service) proveAll(ctx context.Context, t target, there *arrival, elsewhere []place) error {
	var proofs []string
	for _, p := range there.places() {
		proof, err := s.prove(ctx, t, p, elsewhere)
		if err != nil {
			return err
		}
		proofs = append(proofs, proof)
	}
	there.proof = strings.Join(proofs, " and ")
	return nil
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
