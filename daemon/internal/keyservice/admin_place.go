package keyservice

import (
	"context"
	"crypto/rsa"
	"slices"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// KeyPlace is a provider that has a key, as an administrator sees it.
type KeyPlace struct {
	Provider, Kind string
	// Retired tells that the key is not used there any more, and still there.
	Retired bool
	// Cannot are uses that the object has and this key does not: sign, decrypt, derive…
	Cannot []string
}

// Placed is where a key is after a change.
type Placed struct {
	Key    KeySummary
	Places []KeyPlace
	// Known tells that the provider had the key already, Proof by which mechanism it has proved to be the same.
	Known bool
	Proof string
	// Destroyed are the providers whose keys were destroyed, Left those that still have theirs.
	Destroyed []string
	Left      []Left
}

// placement is the key that a call of administration is about, with all places where it is.
type placement struct {
	target
	// retired are those that are not used.
	retired []place
}

// placement finds the secret half of a key.
func (s *Service) placement(ctx context.Context, a access, r *record, key string) (placement, error) {
	found, err := s.find(ctx, a.token.UID, key)
	if err != nil {
		return placement{}, err
	}
	secrets := found.of(cryptoki.CKO_PRIVATE_KEY, cryptoki.CKO_SECRET_KEY)
	if len(secrets) == 0 {
		return placement{}, fault.New(fault.NotFound, "%q has no private or secret key that could be anywhere; see anyhsm key list", key)
	}
	p := placement{target: target{Object: secrets[0]}}
	r.event.Object = p.UID
	if p.places, err = s.places(p.Object); err != nil {
		return placement{}, err
	}
	retired, err := s.store.Retired(ctx, p.ID)
	if err != nil {
		return placement{}, err
	}
	for _, reference := range retired {
		if b, err := s.backend(reference.Provider); err == nil {
			p.retired = append(p.retired, place{b, reference})
		}
	}
	return p, nil
}

// at returns the place in a provider among some.
func at(places []place, provider string) (place, bool) {
	i := slices.IndexFunc(places, func(p place) bool { return p.name == provider })
	if i < 0 {
		return place{}, false
	}
	return places[i], true
}

// placed describes a key within a transaction, after the change.
func (s *Service) placed(ctx context.Context, tx *keystore.Tx, o keystore.Object) (KeySummary, []KeyPlace, error) {
	now, err := tx.Object(ctx, o.Token, o.ID)
	if err != nil {
		return KeySummary{}, nil, err
	}
	retired, err := tx.Retired(ctx, o.ID)
	if err != nil {
		return KeySummary{}, nil, err
	}
	var places []KeyPlace
	t := target{Object: now}
	for i, reference := range slices.Concat(now.References(), retired) {
		described := KeyPlace{Provider: reference.Provider, Retired: i >= len(now.References())}
		if b, err := s.backend(reference.Provider); err == nil {
			described.Kind, described.Cannot = b.capabilities.Kind, place{b, reference}.cannot(t)
		}
		places = append(places, described)
	}
	return summary(now), places, nil
}

// cannot are the uses that the object has and the key at this place does not.
func (p place) cannot(t target) (names []string) {
	keyType, _ := t.Attributes.KeyType()
	for _, use := range []struct {
		name      string
		attribute cryptoki.AttributeType
		flag      cryptoki.Flags
	}{
		{"sign", cryptoki.CKA_SIGN, cryptoki.CKF_SIGN},
		{"encrypt", cryptoki.CKA_ENCRYPT, cryptoki.CKF_ENCRYPT},
		{"decrypt", cryptoki.CKA_DECRYPT, cryptoki.CKF_DECRYPT},
		{"derive", cryptoki.CKA_DERIVE, cryptoki.CKF_DERIVE},
	} {
		if t.Attributes.Bool(use.attribute) && !slices.ContainsFunc(mechanism.All(), func(info mechanism.Info) bool {
			return slices.Contains(info.KeyTypes, keyType) && info.Flags&use.flag != 0 && p.capabilities.Can(info.Base, use.flag) &&
				(len(p.reference.Mechanisms) == 0 || slices.Contains(p.reference.Mechanisms, info.Type))
		}) {
			names = append(names, use.name)
		}
	}
	return names
}

// departure lets a key go from whichever place gives it out. It is a provider.Wrapper.
type departure struct {
	service *Service
	target  target
	places  []place
}

// Wrap asks one place after the other.
func (d departure) Wrap(ctx context.Context, under *rsa.PublicKey) ([]byte, error) {
	var refusal error
	for _, p := range d.places {
		wrapped, err := d.from(ctx, p, under)
		if err == nil {
			return wrapped, nil
		}
		if refusal == nil {
			refusal = err
		}
	}
	return nil, refusal
}

func (d departure) from(ctx context.Context, p place, under *rsa.PublicKey) ([]byte, error) {
	key, err := d.service.key(ctx, p.backend, d.target.reference(p))
	if err != nil {
		return nil, err
	}
	if wrapper, ok := key.(provider.Wrapper); ok {
		return wrapper.Wrap(ctx, under)
	}
	exporter, ok := key.(provider.Exporter)
	if !ok || !readable(d.target.Attributes) {
		return nil, fault.New(fault.KeyUnextractable, "the key cannot leave provider %s (%s), which gives no key out; make a new key elsewhere with anyhsm key rotate --to PROVIDER",
			p.name, p.capabilities.Kind)
	}
	secret, err := exporter.Export(ctx)
	if err != nil {
		return nil, err
	}
	defer wipe(secret)
	material, err := provider.MaterialOf(append(d.target.Attributes.Clone(), secret...))
	if err != nil {
		return nil, err
	}
	defer clear(material)
	return material.Wrap(ctx, under)
}
