package keyservice

import (
	"cmp"
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// target is the object that a call is about, and where the key behind it is.
type target struct {
	keystore.Object
	// session tells that the object came as a sealed blob.
	session bool
	// places are where the key is; none for objects that are no private or secret keys.
	places []place
	// routing is which of them is asked first.
	routing Routing
}

// resolve finds the object that a call names and refuses what the caller may not see.
func (s *Service) resolve(ctx context.Context, a access, ref KeyRef, r *record) (target, error) {
	t := target{session: len(ref.Sealed) > 0}
	var err error
	if t.session {
		t.Object, err = s.unseal(ctx, a, ref.Sealed)
	} else {
		t.Object, err = s.load(ctx, a, ref.Object)
	}
	if err != nil {
		return target{}, err
	}
	r.event.Object = t.UID
	if err := a.mayTouch(t.Attributes); err != nil {
		return target{}, err
	}
	t.routing = cmp.Or(Routing(t.Routing), Routing(a.token.Routing), Prefer)
	t.places, err = s.places(t.Object)
	return t, err
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

// permit checks that a key's attributes allow the use: its type, CKA_SIGN and so on, CKA_ALLOWED_MECHANISMS, its size,
// and that the parameter makes sense.
func (t target) permit(m cryptoki.Mechanism, use cryptoki.Flags) error {
	if err := mechanism.CheckParams(m, use); err != nil {
		return err
	}
	return mechanism.CheckKey(m, use, t.Attributes)
}
