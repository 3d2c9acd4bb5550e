package keyservice

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/object"
)

// CreateObject stores an object from a complete template (C_CreateObject). The values of keys go to the token's
// provider, or into a sealed session object.
func (s *Service) CreateObject(ctx context.Context, call Call, template cryptoki.Attributes) (created Object, reply Reply, err error) {
	r := begin(call, "object.create")
	defer s.end(ctx, r, &err)

	a, err := s.enter(ctx, call, r, creating(template))
	if err != nil {
		return Object{}, Reply{}, err
	}
	attributes, err := object.New(object.Create, 0, template)
	if err != nil {
		return Object{}, Reply{}, err
	}
	if err := a.mayTouch(attributes); err != nil {
		return Object{}, Reply{}, err
	}
	attributes, secret := object.Split(attributes)
	made, err := s.bear(ctx, &a, r, s.importing(attributes, secret), draft{role: "create", attributes: attributes})
	if err != nil {
		return Object{}, Reply{}, err
	}
	return made[0], a.reply, nil
}

// GetSecretValue returns the values of a key that is extractable and not sensitive (C_GetAttributeValue).
func (s *Service) GetSecretValue(ctx context.Context, call Call, key KeyRef) (secret cryptoki.Attributes, reply Reply, err error) {
	r := begin(call, "key.reveal")
	defer s.end(ctx, r, &err)

	a, err := s.enter(ctx, call, r, policy.Use)
	if err != nil {
		return nil, Reply{}, err
	}
	t, err := s.resolveKey(ctx, a, key, r)
	if err != nil {
		return nil, Reply{}, err
	}
	if len(t.places) > 0 && !readable(t.Attributes) {
		return nil, Reply{}, fault.New(fault.AttributeSensitive, "the key is sensitive or not extractable; its value never leaves")
	}
	secret, err = s.export(ctx, t)
	return secret, a.reply, err
}

// SetAttributes changes attributes (C_SetAttributeValue). A session object comes back sealed anew: the blob that was
// sent is the object before the change.
func (s *Service) SetAttributes(ctx context.Context, call Call, ref KeyRef, template cryptoki.Attributes) (changed Object, reply Reply, err error) {
	r := begin(call, "object.set")
	defer s.end(ctx, r, &err)

	operation := policy.Modify
	if len(ref.Sealed) > 0 {
		operation = policy.Use
	}
	a, err := s.enter(ctx, call, r, operation)
	if err != nil {
		return Object{}, Reply{}, err
	}
	t, err := s.resolve(ctx, a, ref, r)
	if err != nil {
		return Object{}, Reply{}, err
	}
	if t.session {
		if t.Attributes, err = object.Set(t.Attributes, template); err != nil {
			return Object{}, Reply{}, err
		}
		changed, err = s.sessionObject(ctx, a, t.Object)
		return changed, a.reply, err
	}
	changed, err = s.setAttributes(ctx, &a, r, t.ID, template)
	return changed, a.reply, err
}

// setAttributes changes a token object as it is when the change is made, not as it was when the call came.
func (s *Service) setAttributes(ctx context.Context, a *access, r *record, id uint64, template cryptoki.Attributes) (Object, error) {
	done, err := s.turns.take(ctx, a.owner, a.call.RequestID)
	if err != nil {
		return Object{}, err
	}
	defer done()
	changed := id
	if replayed, err := s.replay(ctx, a.call, r, &changed); err != nil {
		return Object{}, err
	} else if !replayed {
		if _, err := s.change(ctx, a.call, r, &changed, func(tx *keystore.Tx) error {
			return s.rewrite(ctx, tx, a.token.UID, id, template)
		}); err != nil {
			return Object{}, err
		}
	}
	if changed != id {
		return Object{}, errOtherRequest(a.call.RequestID)
	}
	o, err := s.load(ctx, *a, id)
	a.reply.Revision = max(a.reply.Revision, o.Revision)
	return s.shown(o), err
}

// rewrite changes an object's attributes within a transaction.
func (s *Service) rewrite(ctx context.Context, tx *keystore.Tx, token string, id uint64, template cryptoki.Attributes) error {
	o, err := tx.Object(ctx, token, id)
	if err != nil {
		return err
	}
	if err := s.uncover(ctx, &o); err != nil {
		return err
	}
	if o.Attributes, err = object.Set(o.Attributes, template); err != nil {
		return err
	}
	if err := s.cover(ctx, &o); err != nil {
		return err
	}
	return tx.UpdateObject(&o)
}

// DestroyObject destroys a token object and the key behind it (C_DestroyObject).
func (s *Service) DestroyObject(ctx context.Context, call Call, id uint64) (reply Reply, err error) {
	r := begin(call, "object.destroy")
	defer s.end(ctx, r, &err)

	a, err := s.enter(ctx, call, r, policy.Destroy)
	if err != nil {
		return Reply{}, err
	}
	done, err := s.turns.take(ctx, a.owner, call.RequestID)
	if err != nil {
		return Reply{}, err
	}
	defer done()
	// A repeated request finds no object any more.
	var revision uint64
	if replayed, err := s.replay(ctx, call, r, &revision); err != nil || replayed {
		a.reply.Revision = max(a.reply.Revision, revision)
		return a.reply, err
	}
	t, err := s.resolve(ctx, a, KeyRef{Object: id}, r)
	if err != nil {
		return Reply{}, err
	}
	if t.Attributes.Has(cryptoki.CKA_DESTROYABLE) && !t.Attributes.Bool(cryptoki.CKA_DESTROYABLE) {
		return Reply{}, fault.New(fault.ActionProhibited, "the object's CKA_DESTROYABLE is false; it cannot be destroyed")
	}
	// The provider first: when this call answers, the key is gone. If the store fails then, a second call ends it,
	// because to destroy what is gone is no error.
	if _, err := s.destroyKeys(ctx, []keystore.Object{t.Object}, false); err != nil {
		return Reply{}, err
	}
	_, err = s.change(ctx, call, r, &revision, func(tx *keystore.Tx) error {
		if err := tx.DeleteObject(a.token.UID, id); err != nil {
			return err
		}
		revision, err = tx.Revision(ctx, a.token.UID)
		return err
	})
	a.reply.Revision = revision
	return a.reply, s.halfGone(err, t.Object)
}
