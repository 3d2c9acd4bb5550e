package session

import (
	"context"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/object"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// search is an active C_FindObjects: the handles that are left.
type search struct{ handles []uint64 }

// FindInit is C_FindObjectsInit.
func (s *Session) FindInit(template cryptoki.Attributes) error {
	if err := vacant(&s.mu, &s.find); err != nil {
		return err
	}
	ctx, cancel := s.token.context()
	defer cancel()
	handles, err := s.token.search(ctx, template)
	if err != nil {
		return s.remember(err)
	}
	return start(s, &s.find, &search{handles: handles})
}

// Find is C_FindObjects.
func (s *Session) Find(most int) ([]uint64, error) {
	op, err := claim(s, &s.find)
	if err != nil {
		return nil, err
	}
	defer release(s, &s.find, true)
	n := max(0, min(most, len(op.handles)))
	found := op.handles[:n:n]
	op.handles = op.handles[n:]
	return found, nil
}

// FindFinal is C_FindObjectsFinal.
func (s *Session) FindFinal() error {
	_, err := claim(s, &s.find)
	if err != nil {
		return err
	}
	release(s, &s.find, false)
	return nil
}

// search returns the handles of the objects that match.
func (t *Token) search(ctx context.Context, template cryptoki.Attributes) ([]uint64, error) {
	visible := t.visible()
	t.mu.Lock()
	held := t.held.find(nil, template, visible)
	t.mu.Unlock()
	if heldOnly(template) {
		return held, nil
	}
	if profile := profileObject; template.Has(cryptoki.CKA_CLASS) && object.Match(profile.Attributes, template) {
		held = append(held, profile.Handle)
	}
	if elsewhere(template) {
		return held, nil
	}
	wanted := wantedOf(template)
	for _, age := range []time.Duration{validity, recent} {
		if err := t.ensure(ctx, age, wanted); err != nil {
			return nil, err
		}
		if found, narrowed, err := t.narrow(ctx, wanted); err != nil || narrowed {
			return append(found.find(nil, template, visible), held...), err
		}
		t.cache.mu.Lock()
		stored := t.cache.index.find(nil, template, visible)
		t.cache.mu.Unlock()
		if len(stored) > 0 {
			return append(stored, held...), nil
		}
	}
	return held, nil
}

// visible tells which objects the present login may see.
func (t *Token) visible() func(*Object) bool {
	all := t.privateVisible()
	return func(o *Object) bool { return all || !o.private() }
}

// heldOnly tells that only session objects can match.
func heldOnly(template cryptoki.Attributes) bool {
	return template.Has(cryptoki.CKA_TOKEN) && !template.Bool(cryptoki.CKA_TOKEN)
}

// elsewhere tells that no object of the daemon can match: it keeps none of the class. NSS asks for classes of its own
// at every turn.
func elsewhere(template cryptoki.Attributes) bool {
	if !template.Has(cryptoki.CKA_CLASS) {
		return false
	}
	class, ok := template.Class()
	if !ok {
		return true
	}
	switch class {
	case cryptoki.CKO_DATA, cryptoki.CKO_CERTIFICATE, cryptoki.CKO_PUBLIC_KEY, cryptoki.CKO_PRIVATE_KEY, cryptoki.CKO_SECRET_KEY:
		return false
	}
	return true
}

// profileObject says that the token keeps the baseline provider profile. It is shown to who asks for its class:
// pkcs11-tool and p11tool, which list everything, would show it beside the user's objects.
var profileObject = &Object{
	Handle: firstHeld - 1,
	Attributes: cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PROFILE),
		cryptoki.Bool(cryptoki.CKA_TOKEN, true),
		cryptoki.Bool(cryptoki.CKA_PRIVATE, false),
		cryptoki.Bool(cryptoki.CKA_MODIFIABLE, false),
		cryptoki.Bool(cryptoki.CKA_COPYABLE, false),
		cryptoki.Bool(cryptoki.CKA_DESTROYABLE, false),
		cryptoki.String(cryptoki.CKA_LABEL, ""),
		cryptoki.String(cryptoki.CKA_UNIQUE_ID, "profile-baseline-provider"),
		cryptoki.Ulong(cryptoki.CKA_PROFILE_ID, cryptoki.CKP_BASELINE_PROVIDER),
	},
}

// lookup finds an object by its handle; nil if there is none that the present login may see. An object that is known
// is not asked for again: what guards its use is checked by the daemon at each use.
func (t *Token) lookup(ctx context.Context, handle uint64) (*Object, error) {
	visible := t.visible()
	var found *Object
	switch {
	case handle == profileObject.Handle:
		return profileObject, nil
	case handle >= firstHeld:
		t.mu.Lock()
		found = t.held.get(handle)
		t.mu.Unlock()
	case handle != 0:
		if found, _ = t.cache.get(handle); found == nil {
			wanted := &anyhsmv1.Wanted{Object: handle}
			if err := t.ensure(ctx, recent, wanted); err != nil {
				return nil, err
			}
			if _, _, err := t.narrow(ctx, wanted); err != nil {
				return nil, err
			}
			found, _ = t.cache.get(handle)
		}
	}
	if found == nil || !visible(found) {
		return nil, nil
	}
	return found, nil
}

// object finds an object for an object function: CKR_OBJECT_HANDLE_INVALID.
func (t *Token) object(ctx context.Context, handle uint64) (*Object, error) {
	o, err := t.lookup(ctx, handle)
	if err == nil && o == nil {
		err = cryptoki.CKR_OBJECT_HANDLE_INVALID
	}
	return o, err
}

// useKey finds a key: CKR_KEY_HANDLE_INVALID.
func (t *Token) useKey(ctx context.Context, handle uint64) (*Object, error) {
	o, err := t.lookup(ctx, handle)
	if err == nil && (o == nil || !o.isKey()) {
		err = cryptoki.CKR_KEY_HANDLE_INVALID
	}
	return o, err
}
