package keyservice

import (
	"context"
	"strings"
	"unicode/utf8"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/pin"
	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/daemon/internal/ticket"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// maxLabel is the room for a label in CK_TOKEN_INFO.
const maxLabel = 32

// InitToken makes the token of the free slot, or wipes and renames an existing one with its SO PIN (C_InitToken). An
// application that makes a token gets all operations on it.
func (s *Service) InitToken(ctx context.Context, call Call, slot uint64, soPIN []byte, label string) (made Slot, err error) {
	r := begin(call, "token.init")
	defer s.end(ctx, r, &err)

	if label, err = checkLabel(label); err != nil {
		return Slot{}, err
	}
	done, err := s.turns.take(ctx, owner(call.Caller), call.RequestID)
	if err != nil {
		return Slot{}, err
	}
	defer done()
	var uid string
	replayed, err := s.replay(ctx, call, r, &uid)
	if err != nil {
		return Slot{}, err
	}
	if !replayed {
		r.event.Detail = label
		if uid, err = s.initToken(ctx, call, r, slot, soPIN, label); err != nil {
			return Slot{}, err
		}
	}
	// For a repeated request as well: perhaps it was this that failed the first time.
	if err := s.policy.Refresh(ctx); err != nil {
		return Slot{}, err
	}
	token, err := s.store.Token(ctx, uid)
	return s.slot(token), err
}

func (s *Service) initToken(ctx context.Context, call Call, r *record, slot uint64, soPIN []byte, label string) (uid string, err error) {
	token, err := s.store.TokenBySlot(ctx, slot)
	if err == nil {
		return token.UID, s.wipeToken(ctx, call, r, token, soPIN, label)
	}
	if !fault.Is(err, fault.NotFound) {
		return "", err
	}
	if err := s.policy.AllowCreateToken(call.Caller); err != nil {
		return "", err
	}
	if free, err := s.store.FreeSlot(ctx); err != nil || free != slot {
		if err == nil {
			err = fault.New(fault.SlotIDInvalid, "there is no slot %d; the free slot is %d", slot, free)
		}
		return "", err
	}
	so, err := pin.Hash(soPIN)
	if err != nil {
		return "", err
	}
	t := keystore.Token{Label: label, Provider: s.config.DefaultProvider, SO: keystore.PIN{Hash: so, Epoch: 1}}
	return s.createToken(ctx, call, r, t, func(made keystore.Token) error {
		if made.ID != slot {
			return fault.New(fault.SlotIDInvalid, "slot %d was taken meanwhile; the free slot is another one now: list the slots again", slot)
		}
		return nil
	})
}

// createToken makes a token with a key of its own; the caller refreshes the policy. accept may still refuse it within the transaction.
func (s *Service) createToken(ctx context.Context, call Call, r *record, t keystore.Token, accept func(keystore.Token) error) (uid string, err error) {
	t.UID = identify(call, "", "token")
	r.event.Token = t.UID
	uid = t.UID
	_, err = s.change(ctx, call, r, &uid, func(tx *keystore.Tx) error {
		check, err := tx.Meta(ctx, seal.MetaCheck)
		if err == nil {
			err = s.keyring.Follow(check)
		}
		if err == nil {
			t.SealedKey, err = s.keyring.NewKey(t.UID)
		}
		if err != nil {
			return err
		}
		if err := tx.CreateToken(&t); err != nil {
			return err
		}
		if err := accept(t); err != nil {
			return err
		}
		if call.Caller.Application == "" {
			return nil
		}
		application, err := tx.Application(ctx, call.Caller.Application)
		if err != nil {
			return err
		}
		grant := keystore.Grant{Token: t.UID}
		for _, operation := range policy.Operations() {
			grant.Operations = append(grant.Operations, string(operation))
		}
		application.Grants = append(application.Grants, grant)
		return tx.PutApplication(application)
	})
	return uid, err
}

// wipeToken initialises a token again: its objects and the user's PIN go, the SO's PIN stays.
func (s *Service) wipeToken(ctx context.Context, call Call, r *record, token keystore.Token, soPIN []byte, label string) error {
	r.event.Token = token.UID
	if !s.policy.Visible(call.Caller, token.UID) {
		return fault.New(fault.SlotIDInvalid, "there is no slot %d for this caller", token.ID)
	}
	if err := s.policy.Allow(call.Caller, token.UID, policy.SO); err != nil {
		return err
	}
	if _, err := s.tryPIN(ctx, token.UID, ticket.SO, soPIN); err != nil {
		return err
	}
	// The keys first, as DestroyObject does; objects made meanwhile lose theirs after the transaction.
	destroyed, _, err := s.emptyToken(ctx, token.UID, false)
	if err != nil {
		return err
	}
	var late []keystore.Object
	uid := token.UID
	if _, err := s.change(ctx, call, r, &uid, func(tx *keystore.Tx) error {
		late = nil
		objects, err := tx.Objects(ctx, keystore.ObjectQuery{Token: token.UID})
		if err != nil {
			return err
		}
		for _, o := range objects {
			if err := tx.DeleteObject(token.UID, o.ID); err != nil {
				return err
			}
			if !destroyed[o.ID] {
				late = append(late, o)
			}
		}
		t, err := tx.Token(ctx, token.UID)
		if err != nil {
			return err
		}
		t.Label, t.User = label, keystore.PIN{Epoch: t.User.Epoch + 1}
		return tx.UpdateToken(t)
	}); err != nil {
		return err
	}
	s.destroyLate(ctx, late)
	return nil
}

// emptyToken destroys the keys of all objects of a token and returns the numbers of these objects.
func (s *Service) emptyToken(ctx context.Context, token string, leave bool) (destroyed map[uint64]bool, left []Left, err error) {
	objects, err := s.store.Objects(ctx, keystore.ObjectQuery{Token: token})
	if err != nil {
		return nil, nil, err
	}
	if left, err = s.destroyKeys(ctx, objects, leave); err != nil {
		return nil, nil, err
	}
	destroyed = make(map[uint64]bool, len(objects))
	for _, o := range objects {
		destroyed[o.ID] = true
	}
	return destroyed, left, nil
}

// destroyLate destroys keys whose objects are gone already.
func (s *Service) destroyLate(ctx context.Context, objects []keystore.Object) {
	for _, o := range objects {
		if o.Provider == covered {
			continue
		}
		t := target{Object: o}
		for _, reference := range o.References() {
			if k := s.doom(o, reference); k.obstacle == nil {
				t.places = append(t.places, k.place)
			} else {
				s.log.ErrorContext(ctx, "a key was left behind in the provider; destroy it there, or adopt it", "provider", reference.Provider,
					"uid", o.UID, "token", o.Token, "error", k.obstacle)
			}
		}
		s.orphaned(ctx, t, nil)
	}
}

// checkLabel takes the padding off a label.
func checkLabel(label string) (string, error) {
	label = strings.TrimRight(label, " \x00")
	if !utf8.ValidString(label) || len(label) > maxLabel {
		return "", fault.New(fault.ArgumentsBad, "a token's label is UTF-8 of at most %d bytes; choose a shorter one", maxLabel)
	}
	return label, nil
}
