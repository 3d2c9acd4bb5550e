package keyservice

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/object"
	"github.com/anyhsm/anyhsm/internal/wire"
)

// draft is an object that is about to be made. Its attributes are complete but for what the provider adds.
type draft struct {
	// role tells the objects of one request apart.
	role       string
	attributes cryptoki.Attributes
	// provider and ref are set where the key exists already, as an adopted one does.
	provider string
	ref      []byte
}

// maker makes the key behind a draft in a provider, or brings it there.
type maker func(ctx context.Context, b *backend, identity provider.Identity) (made, error)

// made is a key that a provider has made.
type made struct {
	provider.Generated
	// mechanisms are those that the key is for, replicas where it is as well; nil for a key at one place.
	mechanisms []cryptoki.MechanismType
	replicas   []keystore.KeyReference
}

// born is an object that was made, as the store remembers it for a repeated request. A token object is read again by
// its number; a session object is nowhere else.
type born struct {
	Role               string `json:",omitempty"`
	ID                 uint64 `json:",omitempty"`
	Attributes, Sealed []byte `json:",omitempty"`
}

// bear makes the objects of one request: the key in its provider first, then all token objects in one transaction.
// The first draft that holds a secret is the one that make makes; make is nil where none does.
func (s *Service) bear(ctx context.Context, a *access, r *record, make maker, drafts ...draft) (result []Object, err error) {
	for try := 1; ; try++ {
		// Another replica, asked the same, may have given up the key that this one has found.
		if result, err = s.attempt(ctx, a, r, make, drafts); !errors.Is(err, keystore.ErrAbandoned) || try == attempts {
			return result, err
		}
	}
}

// keeps tells whether a request that can be repeated makes a key in a provider that keeps it.
func (s *Service) keeps(a access, drafts []draft) bool {
	if a.call.RequestID == "" {
		return false
	}
	for _, d := range drafts {
		if !holdsSecret(d.attributes) || d.provider != "" {
			continue
		}
		name, err := s.providerOf(a.token, d.attributes, publicOf(drafts))
		if err != nil {
			return false // makeKey says why
		}
		if b, err := s.backend(name); err == nil && b.capabilities.Keeps {
			return true
		}
	}
	return false
}

// attempts is how often a request begins anew with another key because replicas got in each other's way.
const attempts = 5

// attempt is one try of bear.
func (s *Service) attempt(ctx context.Context, a *access, r *record, make maker, drafts []draft) (result []Object, err error) {
	if !anyToken(drafts) {
		// Nothing is kept, so nothing can be repeated: another attempt makes another session object.
		a.call.RequestID = ""
	}
	done, err := s.turns.take(ctx, a.owner, a.call.RequestID)
	if err != nil {
		return nil, err
	}
	defer done()
	if s.keeps(*a, drafts) {
		// Two replicas that are asked the same at the same time must not make two keys of one name: an HSM lets them.
		done, err := s.store.RequestTurn(ctx, a.owner, a.call.RequestID)
		if err != nil {
			return nil, err
		}
		defer done()
	}
	var known []born
	if replayed, err := s.replay(ctx, a.call, r, &known); err != nil {
		return nil, err
	} else if replayed {
		return s.reborn(ctx, a, r, known, drafts)
	}
	objects, key, err := s.prepare(ctx, *a, make, drafts)
	defer func() {
		if err != nil {
			s.orphaned(ctx, key, err)
		}
	}()
	if err != nil {
		return nil, err
	}
	named := false
	for _, o := range objects {
		if holdsSecret(o.Attributes) || !named {
			r.event.Object, named = o.UID, true
		}
	}
	known, result, err = s.session(ctx, *a, objects, drafts)
	if err != nil || !anyToken(drafts) {
		return result, err
	}
	replayed, err := s.change(ctx, a.call, r, &known, func(tx *keystore.Tx) error {
		for i := range objects {
			if !objects[i].Attributes.Bool(cryptoki.CKA_TOKEN) {
				continue
			}
			if err := tx.CreateObject(&objects[i]); err != nil {
				return err
			}
			known[i].ID = objects[i].ID
			a.reply.Revision = objects[i].Revision
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if replayed {
		return s.reborn(ctx, a, r, known, drafts)
	}
	for i, o := range objects {
		if o.ID == 0 {
			continue
		}
		if err := s.uncover(ctx, &o); err != nil {
			return nil, err
		}
		result[i] = s.shown(o)
	}
	return result, nil
}

// prepare makes the key and completes the objects. key is what the provider has made; it has no place if nothing.
func (s *Service) prepare(ctx context.Context, a access, make maker, drafts []draft) (objects []keystore.Object, key target, err error) {
	var generated cryptoki.Attributes
	for _, d := range drafts {
		uid, err := s.uid(ctx, a, d)
		if err != nil {
			return nil, key, err
		}
		o := keystore.Object{
			UID: uid, Token: a.token.UID, Attributes: d.attributes.Clone(),
			Provider: d.provider, Ref: d.ref, Adopted: d.provider != "",
		}
		o.Attributes.Set(cryptoki.String(cryptoki.CKA_UNIQUE_ID, o.UID))
		if holdsSecret(o.Attributes) && o.Provider == "" {
			public, err := s.makeKey(ctx, a, &o, publicOf(drafts), make, &key)
			if err != nil {
				return nil, key, err
			}
			generated = append(generated, public...)
		}
		objects = append(objects, o)
	}
	complete(objects, generated)
	if len(key.places) > 0 && key.places[0].capabilities.OneUse {
		pair(objects, key.Attributes)
	}
	for i := range objects {
		if objects[i].Attributes.Bool(cryptoki.CKA_TOKEN) {
			if err := s.cover(ctx, &objects[i]); err != nil {
				return nil, key, err
			}
		}
	}
	return objects, key, nil
}

// uid returns the uid of a draft: the first one of the request that was not abandoned.
func (s *Service) uid(ctx context.Context, a access, d draft) (string, error) {
	uid := identify(a.call, a.token.UID, d.role)
	if a.call.RequestID == "" || !holdsSecret(d.attributes) {
		return uid, nil
	}
	for n := 2; ; n++ {
		if given, err := s.store.Abandoned(ctx, uid); err != nil || !given {
			return uid, err
		}
		uid = identify(a.call, a.token.UID, d.role+" "+strconv.Itoa(n))
	}
}

// publicOf returns the public half among the drafts of a request; nil if there is none.
func publicOf(drafts []draft) cryptoki.Attributes {
	for _, d := range drafts {
		if class, _ := d.attributes.Class(); class == cryptoki.CKO_PUBLIC_KEY {
			return d.attributes
		}
	}
	return nil
}

// makeKey makes the key of one object, in the provider that the token's rules say.
func (s *Service) makeKey(ctx context.Context, a access, o *keystore.Object, half cryptoki.Attributes, make maker, key *target) (public cryptoki.Attributes, err error) {
	session := !o.Attributes.Bool(cryptoki.CKA_TOKEN)
	if o.Provider, err = s.providerOf(a.token, o.Attributes, half); err != nil {
		return nil, err
	}
	b, err := s.backend(o.Provider)
	if err != nil {
		return nil, err
	}
	generated, err := make(ctx, b, provider.Identity{UID: o.UID, Token: o.Token, Session: session})
	if err != nil {
		return nil, err
	}
	o.Ref, o.Mechanisms, o.Replicas = generated.Ref, generated.mechanisms, generated.replicas
	for _, granted := range generated.Private {
		o.Attributes.Set(granted)
	}
	*key = target{Object: *o, session: session}
	key.places, err = s.places(*o)
	return generated.Public, err
}

// complete merges what the provider has generated into both halves of a key pair, and into a lone half.
func complete(objects []keystore.Object, generated cryptoki.Attributes) {
	var public, private *cryptoki.Attributes
	for i := range objects {
		switch class, _ := objects[i].Attributes.Class(); class {
		case cryptoki.CKO_PUBLIC_KEY:
			public = &objects[i].Attributes
		case cryptoki.CKO_PRIVATE_KEY:
			private = &objects[i].Attributes
		}
	}
	switch {
	case public != nil && private != nil:
		*public, *private = object.Complete(*public, *private, generated)
	case private != nil:
		_, *private = object.Complete(nil, *private, generated)
	case public != nil:
		*public, _ = object.Complete(*public, nil, generated)
	}
}

// halves are the uses of a public key and of the private key that they need on the other side.
var halves = map[cryptoki.AttributeType]cryptoki.AttributeType{
	cryptoki.CKA_ENCRYPT: cryptoki.CKA_DECRYPT, cryptoki.CKA_VERIFY: cryptoki.CKA_SIGN, cryptoki.CKA_WRAP: cryptoki.CKA_UNWRAP,
	cryptoki.CKA_DERIVE: cryptoki.CKA_DERIVE,
}

// pair takes from the public key of a pair the uses whose other half the provider has not given to the private key:
// nobody could decrypt what it encrypts.
func pair(objects []keystore.Object, private cryptoki.Attributes) {
	for i := range objects {
		if class, _ := objects[i].Attributes.Class(); class != cryptoki.CKO_PUBLIC_KEY {
			continue
		}
		for own, other := range halves {
			if objects[i].Attributes.Bool(own) && !private.Bool(other) {
				objects[i].Attributes.Set(cryptoki.Bool(own, false))
			}
		}
	}
}

// session seals the session objects among the new ones.
func (s *Service) session(ctx context.Context, a access, objects []keystore.Object, drafts []draft) ([]born, []Object, error) {
	known, result := make([]born, len(objects)), make([]Object, len(objects))
	for i, o := range objects {
		known[i].Role = drafts[i].role
		if o.Attributes.Bool(cryptoki.CKA_TOKEN) {
			continue
		}
		var err error
		if result[i], err = s.sessionObject(ctx, a, o); err != nil {
			return nil, nil, err
		}
		known[i].Sealed = result[i].Sealed
		known[i].Attributes = wire.MarshalAttributes(o.Attributes)
	}
	return known, result, nil
}

func anyToken(drafts []draft) bool {
	for _, d := range drafts {
		if d.attributes.Bool(cryptoki.CKA_TOKEN) {
			return true
		}
	}
	return false
}

// reborn answers a repeated request: the objects as they are now. A request that made other objects is another one.
func (s *Service) reborn(ctx context.Context, a *access, r *record, known []born, drafts []draft) ([]Object, error) {
	same := slices.EqualFunc(known, drafts, func(k born, d draft) bool { return k.Role == d.role })
	if !same {
		return nil, errOtherRequest(a.call.RequestID)
	}
	result := make([]Object, len(known))
	for i, k := range known {
		o, err := s.remember(ctx, *a, k)
		if err != nil {
			return nil, err
		}
		if k.ID != 0 {
			result[i] = s.shown(o)
			a.reply.Revision = max(a.reply.Revision, o.Revision)
		} else if result[i], err = s.sessionObject(ctx, *a, o); err != nil {
			return nil, err
		}
	}
	r.written = true
	return result, nil
}

// remember finds one object of a repeated request.
func (s *Service) remember(ctx context.Context, a access, k born) (o keystore.Object, err error) {
	switch {
	case k.ID != 0:
		return s.load(ctx, a, k.ID)
	case len(k.Sealed) > 0:
		return s.unseal(ctx, a, k.Sealed)
	}
	o.Attributes, err = wire.UnmarshalAttributes(k.Attributes)
	return o, err
}

// orphaned destroys a new key again whose object the store has refused. A provider that does not keep keys has none.
// The store is asked first: the object may be there after all, because an error hid a commit or another replica has made
// it of the same request. If it is not, nobody can make it of this key from then on.
func (s *Service) orphaned(ctx context.Context, key target, cause error) {
	if key.session || !slices.ContainsFunc(key.places, func(p place) bool { return p.capabilities.Keeps }) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup)
	defer cancel()
	gone, err := s.store.Abandon(ctx, key.UID)
	if err == nil && !gone {
		return
	}
	for _, p := range key.places {
		if gone {
			err = destroyAt(ctx, key, p)
		}
		if err != nil {
			s.log.Error("a key was left behind in the provider; destroy it there, or adopt it", "provider", p.name,
				"uid", key.UID, "token", key.Token, "cause", cause, "error", err)
		}
	}
}
