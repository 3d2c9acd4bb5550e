package vault

import (
	"context"
	"net/http"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Destroy destroys a version of a key. Vault deletes a key with all its versions, or its oldest versions; so a key that
// has only this one is deleted, and of one with newer versions this one is trimmed. A version with older ones before it
// cannot be destroyed without them.
func (p *Provider) Destroy(ctx context.Context, ref provider.Reference) error {
	if err := p.ready(ctx, "destroy the key"); err != nil {
		return err
	}
	r, err := parse(ref.Ref)
	if err != nil {
		return err
	}
	defer p.keys.drop(r)
	found, err := p.look(ctx, r.name)
	switch {
	case fault.Is(err, fault.KeyHandleInvalid):
		return nil
	case err != nil:
		return err
	case r.version > found.Latest || r.version < max(found.Oldest, 1):
		return nil
	case r.version > max(found.Oldest, 1):
		return fault.New(fault.ActionProhibited, "%s cannot destroy version %d of the key %s alone: those from %d on are older and are there; destroy them first, or trim the key in Vault",
			p.service(), r.version, r.name, max(found.Oldest, 1))
	case r.version < found.Latest:
		return p.trim(ctx, r, found)
	}
	if !found.Deletable {
		in := map[string]bool{"deletion_allowed": true}
		err := p.call(ctx, request{action: actionAllow, key: r.name, method: http.MethodPost, path: p.path("keys", r.name, "config"), in: in}, nil)
		if fault.Is(err, fault.KeyHandleInvalid) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	err = p.call(ctx, request{action: actionDelete, key: r.name, method: http.MethodDelete, path: p.path("keys", r.name)}, nil)
	if fault.Is(err, fault.KeyHandleInvalid) {
		return nil
	}
	return err
}

// trim destroys the oldest version of a key that has newer ones.
func (p *Provider) trim(ctx context.Context, r reference, found policy) error {
	next := r.version + 1
	in := map[string]int{"min_decryption_version": max(found.Decrypts, next), "min_encryption_version": max(found.Encrypts, next)}
	err := p.call(ctx, request{action: actionTrim, key: r.name, method: http.MethodPost, path: p.path("keys", r.name, "config"), in: in}, nil)
	if err == nil {
		in := map[string]int{"min_available_version": next}
		err = p.call(ctx, request{action: actionTrim, key: r.name, method: http.MethodPost, path: p.path("keys", r.name, "trim"), in: in}, nil)
	}
	if err == nil {
		p.log.Info("newer versions of the key live on, so this one was trimmed instead of the key deleted", "key", r.String())
	}
	return err
}
