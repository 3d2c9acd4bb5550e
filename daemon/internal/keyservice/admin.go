package keyservice

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// admit lets an administrator's call in. Its token is named by label or uid; no PIN stands between an administrator and
// an object, but what the object itself forbids stays forbidden.
func (s *Service) admit(ctx context.Context, call Call, r *record) (access, error) {
	if err := administrator(call); err != nil {
		return access{}, err
	}
	token, err := s.store.TokenByName(ctx, call.Token)
	if err != nil {
		return access{}, err
	}
	call.Token = token.UID
	r.event.Token = token.UID
	return access{
		call: call, owner: owner(call.Caller), token: token, administrator: true, reply: Reply{Revision: token.Revision},
	}, nil
}

func administrator(call Call) error {
	if call.Caller.Admin {
		return nil
	}
	return fault.New(fault.NotGranted, "%s is no administrator; call as root, or add the identity to admins in anyhsmd.toml", call.Caller)
}

// selection is what an administrator means by a key's name.
type selection struct {
	// objects are those named and, for a key, all others of the same CKA_ID: its other half, its certificates.
	objects []keystore.Object
	// single is the object that was named by its uid or number; nil if the name was a label or an id.
	single *keystore.Object
}

// find finds the objects of one key: by uid, by "id:" and the CKA_ID in hexadecimal, by label, by number.
func (s *Service) find(ctx context.Context, token, name string) (selection, error) {
	named, single, err := s.named(ctx, token, name)
	if err != nil {
		return selection{}, err
	}
	if len(named) == 0 {
		return selection{}, fault.New(fault.NotFound, "the token has no object %q; see anyhsm key list, and name it by label, uid, number or id:HEX", name)
	}
	found := selection{objects: named}
	if single {
		found.single = &named[0]
	}
	for _, o := range named {
		id := o.Attributes.Bytes(cryptoki.CKA_ID)
		if class, _ := o.Attributes.Class(); len(id) == 0 || class == cryptoki.CKO_SECRET_KEY {
			continue
		}
		others, err := s.store.Objects(ctx, keystore.ObjectQuery{Token: token, KeyID: id})
		if err != nil {
			return selection{}, err
		}
		for _, other := range others {
			if class, _ := other.Attributes.Class(); class != cryptoki.CKO_SECRET_KEY && !contains(found.objects, other) {
				found.objects = append(found.objects, other)
			}
		}
	}
	for _, class := range []cryptoki.ObjectClass{cryptoki.CKO_PRIVATE_KEY, cryptoki.CKO_SECRET_KEY} {
		if keys := found.of(class); len(keys) > 1 {
			return selection{}, fault.New(fault.Conflict, "%q means %d keys, the objects %s; name one of them by its number", name, len(keys), numbers(keys))
		}
	}
	return found, nil
}

func (s *Service) named(ctx context.Context, token, name string) (objects []keystore.Object, single bool, err error) {
	if digits, ok := strings.CutPrefix(name, "id:"); ok {
		id, err := hex.DecodeString(digits)
		if err != nil || len(id) == 0 {
			return nil, false, fault.New(fault.InvalidInput, "%q is no id; write id: and the CKA_ID in hexadecimal", name)
		}
		objects, err = s.store.Objects(ctx, keystore.ObjectQuery{Token: token, KeyID: id})
		return objects, false, err
	}
	if name == "" {
		return nil, false, fault.New(fault.InvalidInput, "the key has no name; give a label, a uid, a number or id:HEX")
	}
	if o, err := s.store.ObjectByUID(ctx, name); err == nil && o.Token == token {
		return []keystore.Object{o}, true, nil
	} else if err != nil && !fault.Is(err, fault.ObjectHandleInvalid) {
		return nil, false, err
	}
	if objects, err = s.store.Objects(ctx, keystore.ObjectQuery{Token: token, Label: &name}); err != nil || len(objects) > 0 {
		return objects, false, err
	}
	id, err := strconv.ParseUint(name, 10, 64)
	if err != nil {
		return nil, false, nil
	}
	o, err := s.store.Object(ctx, token, id)
	if fault.Is(err, fault.ObjectHandleInvalid) {
		return nil, false, nil
	}
	return []keystore.Object{o}, true, err
}

// of returns the objects of some classes.
func (f selection) of(classes ...cryptoki.ObjectClass) (objects []keystore.Object) {
	for _, o := range f.objects {
		for _, class := range classes {
			if c, _ := o.Attributes.Class(); c == class {
				objects = append(objects, o)
			}
		}
	}
	return objects
}

// doomed returns what goes when the key is deleted: both halves, or the one object that was named if it is no key. A
// certificate outlives its key, unless it was named itself.
func (f selection) doomed() []keystore.Object {
	if f.single != nil {
		switch class, _ := f.single.Attributes.Class(); class {
		case cryptoki.CKO_PRIVATE_KEY, cryptoki.CKO_PUBLIC_KEY, cryptoki.CKO_SECRET_KEY:
		default:
			return []keystore.Object{*f.single}
		}
	}
	keys := f.of(cryptoki.CKO_PRIVATE_KEY, cryptoki.CKO_SECRET_KEY, cryptoki.CKO_PUBLIC_KEY)
	if len(keys) == 0 {
		return f.objects
	}
	return keys
}

func contains(objects []keystore.Object, o keystore.Object) bool {
	for _, have := range objects {
		if have.ID == o.ID {
			return true
		}
	}
	return false
}

func numbers(objects []keystore.Object) string {
	names := make([]string, len(objects))
	for i, o := range objects {
		names[i] = fmt.Sprint(o.ID)
	}
	return strings.Join(names, ", ")
}
