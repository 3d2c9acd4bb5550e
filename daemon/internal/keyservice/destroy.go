package keyservice

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// A key that is destroyed goes from all places where it is, or from none: they are found first, each must be able to
// destroy it and must be there, and only then the first loses its key. What fails after that is repeated: the object goes
// last, and to destroy what is gone is no error.

// Left is a key that stays in a provider although its object goes, because an administrator said so.
type Left struct {
	Provider string
	// Name is the provider's own name of the key if it can be read, else the object's uid, by which providers find the
	// keys that were made for us.
	Name   string
	Reason string
}

// Deleted is what a deletion took away, and what it left behind.
type Deleted struct {
	Keys    []KeySummary
	Objects uint64
	Left    []Left
}

// doomedKey is a key of an object at one place.
type doomedKey struct {
	object keystore.Object
	place
	// obstacle is why it cannot be destroyed now.
	obstacle error
}

// doom finds the place that a reference names.
func (s *Service) doom(o keystore.Object, reference keystore.KeyReference) doomedKey {
	b, err := s.backend(reference.Provider)
	k := doomedKey{object: o, place: place{b, reference}, obstacle: err}
	if err == nil {
		k.obstacle = k.destroyable()
	}
	return k
}

// everywhere finds the keys of objects wherever they are, used or retired.
func (s *Service) everywhere(ctx context.Context, objects []keystore.Object) (keys []doomedKey, err error) {
	for _, o := range objects {
		if o.Provider == covered || len(o.References()) == 0 {
			continue
		}
		retired, err := s.store.Retired(ctx, o.ID)
		if err != nil {
			return nil, err
		}
		for _, reference := range slices.Concat(o.References(), retired) {
			keys = append(keys, s.doom(o, reference))
		}
	}
	s.reach(ctx, keys)
	return keys, nil
}

// reach asks the providers of several keys whether they are there, each once. Where there is one, its answer to the
// destruction itself tells.
func (s *Service) reach(ctx context.Context, keys []doomedKey) {
	asked := map[*backend]error{}
	for _, k := range keys {
		if k.backend != nil {
			asked[k.backend] = nil
		}
	}
	if len(asked) < 2 {
		return
	}
	for b := range asked {
		_, err := ask(ctx, s, b, "health", func(ctx context.Context) (struct{}, error) { return struct{}{}, health(ctx, b) })
		// Who refuses to tell is there.
		if failure(err) != "" {
			asked[b] = err
		}
	}
	for i, k := range keys {
		if k.obstacle == nil {
			keys[i].obstacle = asked[k.backend]
		}
	}
}

// destroyKeys destroys the keys behind objects wherever they are, or nothing. With leave those stay that cannot be
// destroyed now, and are named.
func (s *Service) destroyKeys(ctx context.Context, objects []keystore.Object, leave bool) (left []Left, err error) {
	keys, err := s.everywhere(ctx, objects)
	if err != nil {
		return nil, err
	}
	return s.destroyAll(ctx, keys, leave)
}

func (s *Service) destroyAll(ctx context.Context, keys []doomedKey, leave bool) (left []Left, err error) {
	var kept, stored []doomedKey
	for _, k := range keys {
		switch {
		case k.obstacle == nil && k.capabilities.Keeps:
			kept = append(kept, k)
		case k.obstacle == nil:
			stored = append(stored, k)
		case leave:
			left = append(left, k.left(k.obstacle))
		default:
			return nil, k.refusal(len(keys))
		}
	}
	// A key in the store goes with its object, so it is the last that is lost.
	for i, k := range append(kept, stored...) {
		err := destroyAt(ctx, target{Object: k.object}, k.place)
		switch {
		case err == nil:
		case leave && ctx.Err() == nil:
			left = append(left, k.left(err))
		case i == 0:
			return nil, err
		default:
			return nil, fault.New(fault.From(settle(err)).Kind, "%d of %d keys were destroyed, and the one of object %d in provider %s was not: %w; destroy it again to go on",
				i, len(keys), k.object.ID, k.reference.Provider, err)
		}
	}
	return left, nil
}

// refusal says why nothing was destroyed.
func (k doomedKey) refusal(keys int) error {
	if keys < 2 {
		return k.obstacle
	}
	return fault.New(fault.From(settle(k.obstacle)).Kind, "nothing was destroyed, because provider %s has the key of object %d too and cannot destroy it now: %w; try again, or leave it there with anyhsm key delete --leave-behind",
		k.reference.Provider, k.object.ID, k.obstacle)
}

func (k doomedKey) left(reason error) Left {
	name := k.object.UID
	if ref := string(k.reference.Ref); len(ref) > 0 && len(ref) <= 512 && utf8.ValidString(ref) && !strings.ContainsFunc(ref, func(r rune) bool { return !unicode.IsPrint(r) }) {
		name = ref
	}
	return Left{Provider: k.reference.Provider, Name: name, Reason: fault.From(settle(reason)).Message}
}

// noteLeft puts what a deletion leaves behind into its audit event and the log.
func (s *Service) noteLeft(ctx context.Context, r *record, left []Left) {
	for _, l := range left {
		r.event.Detail += fmt.Sprintf("; left behind in %s: %s", l.Provider, l.Name)
		s.log.LogAttrs(ctx, slog.LevelWarn, "a key is left behind in a provider, as an administrator wished; destroy it there, or adopt it",
			slog.String("provider", l.Provider), slog.String("key", l.Name), slog.String("token", r.event.Token), slog.String("reason", l.Reason))
	}
}

// destroyAt destroys the key at one place, where the provider keeps keys.
func destroyAt(ctx context.Context, t target, p place) error {
	if destroyer, ok := p.Provider.(provider.Destroyer); ok {
		return destroyer.Destroy(ctx, t.reference(p))
	}
	return nil
}

// halfGone is the error of a change that could not be noted after the keys of objects were destroyed where they are kept.
// The store says that nothing was changed when its disk is full, say, and that is true of the store alone: the caller
// must come again, with the same request, until the other half is done.
func (s *Service) halfGone(err error, objects ...keystore.Object) error {
	if !fault.Is(err, fault.DeviceMemory) && !fault.Is(err, fault.HostMemory) && !fault.Is(err, fault.Internal) {
		return err
	}
	for _, o := range objects {
		places, unknown := s.places(o)
		if unknown != nil {
			continue
		}
		for _, p := range places {
			if p.capabilities.Keeps {
				return fault.New(fault.DeviceError, "the key of object %d was destroyed in provider %s, but the store could not note it: %w; destroy the object again", o.ID, p.name, err)
			}
		}
	}
	return err
}
