package keyservice

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// target is the object that a call is about, and the provider behind it.
type target struct {
	keystore.Object
	// session tells that the object came as a sealed blob.
	session bool
	// backend is nil for objects that are no private or secret keys.
	backend *backend
}

// resolve finds the object that a call names and refuses what the caller may not see.
func (s *Service) resolve(ctx context.Context, a access, ref KeyRef, r *record) (target, error) {
	t := target{session: len(ref.Sealed) > 0}
	var err error
	if t.session {
		t.Object, err = s.unseal(ctx, a, ref.Sealed)
	} else {
		t.Object, err = s.load(ctx, a.token.UID, ref.Object)
	}
	if err != nil {
		return target{}, err
	}
	r.event.Object = t.UID
	if err := a.mayTouch(t.Attributes); err != nil {
		return target{}, err
	}
	t.backend, err = s.backendOf(t.Object)
	return t, err
}

// backendOf returns the provider behind an object, nil if there is none.
func (s *Service) backendOf(o keystore.Object) (*backend, error) {
	if o.Provider == "" || o.Provider == covered {
		return nil, nil
	}
	return s.backend(o.Provider)
}

// resolveKey finds a key for an operation.
func (s *Service) resolveKey(ctx context.Context, a access, ref KeyRef, r *record) (target, error) {
	t, err := s.resolve(ctx, a, ref, r)
	if fault.Is(err, fault.ObjectHandleInvalid) {
		return target{}, fault.New(fault.KeyHandleInvalid, "the token has no key with this handle; it was destroyed, or the handle is another token's: %w", err)
	}
	if err != nil {
		return target{}, err
	}
	switch class, _ := t.Attributes.Class(); class {
	case cryptoki.CKO_PRIVATE_KEY, cryptoki.CKO_SECRET_KEY, cryptoki.CKO_PUBLIC_KEY:
		return t, nil
	default:
		return target{}, fault.New(fault.KeyHandleInvalid, "the object is a %v and no key; give the handle of a key", class)
	}
}

// backend returns a provider by its name.
func (s *Service) backend(name string) (*backend, error) {
	if b, ok := s.providers[name]; ok {
		return b, nil
	}
	return nil, fault.New(fault.FunctionFailed, "the provider %q is not configured on this daemon; add a [[provider]] with this name to its configuration", name)
}

// permit checks that a key's attributes allow the use: its type, CKA_SIGN and so on, CKA_ALLOWED_MECHANISMS, its size,
// and that the parameter makes sense.
func (t target) permit(m cryptoki.Mechanism, use cryptoki.Flags) error {
	if err := mechanism.CheckParams(m, use); err != nil {
		return err
	}
	return mechanism.CheckKey(m, use, t.Attributes)
}

// reference is what the provider finds the key by.
func (t target) reference() provider.Reference {
	return provider.Reference{
		Identity:   provider.Identity{UID: t.UID, Token: t.Token, Session: t.session},
		Ref:        t.Ref,
		Attributes: t.Attributes,
	}
}

// open fetches the provider's key in the ability that a use needs.
func open[Ability any](ctx context.Context, t target, use string) (ability Ability, err error) {
	if t.backend == nil {
		return ability, fault.New(fault.KeyHandleInvalid, "there is no secret behind this key; give the handle of a private or secret key")
	}
	key, err := t.backend.Key(ctx, t.reference())
	if err != nil {
		return ability, err
	}
	ability, ok := key.(Ability)
	if !ok {
		return ability, fault.New(fault.KeyFunctionNotPermitted, "provider %s cannot %s with this key; use a key of another provider", t.backend.name, use)
	}
	return ability, nil
}
