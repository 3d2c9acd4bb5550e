package keyservice

import (
	"context"
	"slices"

	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/object"
)

// CopyObject copies an object with changed attributes (C_CopyObject). The copy of a key is a key of its own: it is
// exported from the one provider and imported into the other, without leaving the daemon. So Java's session key pair
// becomes a token object of the token's provider, if that takes keys from outside.
func (s *Service) CopyObject(ctx context.Context, call Call, source KeyRef, template cryptoki.Attributes) (copied Object, reply Reply, err error) {
	r := begin(call, "object.copy")
	defer s.end(ctx, r, &err)

	token := len(source.Sealed) == 0
	if template.Has(cryptoki.CKA_TOKEN) {
		token = template.Bool(cryptoki.CKA_TOKEN)
	}
	operations := []policy.Operation{policy.Use}
	if token {
		operations = append(operations, policy.Create)
	}
	a, err := s.enter(ctx, call, r, operations...)
	if err != nil {
		return Object{}, Reply{}, err
	}
	t, err := s.resolve(ctx, a, source, r)
	if err != nil {
		return Object{}, Reply{}, err
	}
	attributes, err := object.Copy(t.Attributes, template)
	if err != nil {
		return Object{}, Reply{}, err
	}
	if err := a.mayTouch(attributes); err != nil {
		return Object{}, Reply{}, err
	}
	secret, err := s.copySecret(ctx, t)
	if err != nil {
		return Object{}, Reply{}, err
	}
	defer wipe(secret)
	r.event.Detail = "from " + t.UID
	made, err := s.bear(ctx, &a, r, s.importing(attributes, secret), draft{role: "copy", attributes: attributes})
	if err != nil {
		return Object{}, Reply{}, err
	}
	return made[0], a.reply, nil
}

// copySecret fetches the value behind an object. A provider that keeps its keys gives out only what may be read.
func (s *Service) copySecret(ctx context.Context, t target) (cryptoki.Attributes, error) {
	if readable(t.Attributes) || len(t.places) == 0 {
		return s.export(ctx, t)
	}
	kept := t.places[0].name
	t.places = slices.DeleteFunc(slices.Clone(t.places), func(p place) bool { return p.capabilities.Keeps })
	if len(t.places) == 0 {
		s.log.Warn("a provider that keeps its keys cannot copy one that may not leave it", "provider", kept, "object", t.UID)
		return nil, fault.New(fault.ActionProhibited, "the key never leaves its provider, so it cannot be copied; use the key itself, or generate another")
	}
	return s.export(ctx, t)
}
