package keyservice

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/anyhsm/anyhsm/daemon/internal/breaker"
	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Place is one of the places where a key is, for an administrator.
type Place struct {
	Provider string
	// Mechanisms are those that the key there is for; empty for all that its provider does.
	Mechanisms []cryptoki.MechanismType
	// State is that of the provider's breaker, "absent" where the provider cannot be used at all; Detail says why it is
	// not closed.
	State, Detail string
}

// KeyRouting is by which policy and where a key is used.
type KeyRouting struct {
	// Own is the key's own policy, empty for its token's; Effective is what holds.
	Own, Effective Routing
	Places         []Place
}

// SetRules gives a token its rules, the first that matches a new key first; none takes them away.
func (s *Service) SetRules(ctx context.Context, call Call, rules []Rule) (err error) {
	r := begin(call, "token.rules")
	defer s.end(ctx, r, &err)

	a, err := s.admit(ctx, call, r)
	if err != nil {
		return err
	}
	if err := s.checkRules(rules); err != nil {
		return err
	}
	text := ""
	if len(rules) > 0 {
		encoded, err := json.Marshal(rules)
		if err != nil {
			return err
		}
		text = string(encoded)
	}
	r.event.Detail = cmp.Or(text, "none")
	return s.changeToken(ctx, call, r, a.token.UID, func(t *keystore.Token) { t.Rules = text })
}

// Rules returns a token's rules and the provider that gets the keys which none of them matches.
func (s *Service) Rules(ctx context.Context, call Call) (rules []Rule, otherwise string, err error) {
	a, err := s.admit(ctx, call, begin(call, "token.rules"))
	if err != nil {
		return nil, "", settle(err)
	}
	rules, err = parseRules(a.token)
	return rules, a.token.Provider, err
}

// SetTokenRouting says by which policy the keys of a token are used that have none of their own.
func (s *Service) SetTokenRouting(ctx context.Context, call Call, name string) (err error) {
	r := begin(call, "token.route")
	defer s.end(ctx, r, &err)

	a, err := s.admit(ctx, call, r)
	if err != nil {
		return err
	}
	routing, err := parseRouting(name)
	if err != nil {
		return err
	}
	r.event.Detail = string(cmp.Or(routing, Prefer))
	return s.changeToken(ctx, call, r, a.token.UID, func(t *keystore.Token) { t.Routing = string(routing) })
}

// TokenRouting returns the policy of a token.
func (s *Service) TokenRouting(ctx context.Context, call Call) (Routing, error) {
	a, err := s.admit(ctx, call, begin(call, "token.route"))
	if err != nil {
		return "", settle(err)
	}
	return cmp.Or(Routing(a.token.Routing), Prefer), nil
}

func (s *Service) changeToken(ctx context.Context, call Call, r *record, uid string, edit func(*keystore.Token)) error {
	done := true
	_, err := s.change(ctx, call, r, &done, func(tx *keystore.Tx) error {
		t, err := tx.Token(ctx, uid)
		if err != nil {
			return err
		}
		edit(&t)
		return tx.UpdateToken(t)
	})
	return err
}

// RouteKey says by which policy a key is used ("token" for its token's, empty to leave it) and in which order its places
// are: those of the providers named come first, in their order.
func (s *Service) RouteKey(ctx context.Context, call Call, key, name string, order []string) (routing KeyRouting, err error) {
	r := begin(call, "key.route")
	defer s.end(ctx, r, &err)

	a, o, err := s.placedKey(ctx, call, r, key)
	if err != nil {
		return KeyRouting{}, err
	}
	policy := o.Routing
	switch {
	case name == "token":
		policy = ""
	case name != "":
		chosen, err := parseRouting(name)
		if err != nil {
			return KeyRouting{}, err
		}
		policy = string(chosen)
	}
	for _, provider := range order {
		if !slices.ContainsFunc(o.References(), func(k keystore.KeyReference) bool { return k.Provider == provider }) {
			return KeyRouting{}, fault.New(fault.NotFound, "the key is not in provider %q; see anyhsm key route %s", provider, key)
		}
	}
	r.event.Detail = strings.TrimSpace(policy + " " + strings.Join(order, ","))
	number := o.ID
	_, err = s.change(ctx, call, r, &number, func(tx *keystore.Tx) error {
		now, err := tx.Object(ctx, a.token.UID, o.ID)
		if err != nil {
			return err
		}
		if len(order) > 0 {
			references := now.References()
			slices.SortStableFunc(references, func(x, y keystore.KeyReference) int { return cmp.Compare(position(order, x), position(order, y)) })
			if err := tx.PutReferences(&now, references...); err != nil {
				return err
			}
		}
		return tx.SetRouting(&now, policy)
	})
	if err != nil {
		return KeyRouting{}, err
	}
	return s.keyRouting(ctx, a, o.ID)
}

// position is where a provider stands in an order; those that are not named come after it.
func position(order []string, k keystore.KeyReference) int {
	if i := slices.Index(order, k.Provider); i >= 0 {
		return i
	}
	return len(order)
}

// KeyRouting tells where a key is and by which policy it is used.
func (s *Service) KeyRouting(ctx context.Context, call Call, key string) (KeyRouting, error) {
	a, o, err := s.placedKey(ctx, call, begin(call, "key.route"), key)
	if err != nil {
		return KeyRouting{}, settle(err)
	}
	return s.keyRouting(ctx, a, o.ID)
}

func (s *Service) keyRouting(ctx context.Context, a access, id uint64) (KeyRouting, error) {
	o, err := s.store.Object(ctx, a.token.UID, id)
	if err != nil {
		return KeyRouting{}, settle(err)
	}
	routing := KeyRouting{Own: Routing(o.Routing), Effective: cmp.Or(Routing(o.Routing), Routing(a.token.Routing), Prefer)}
	for _, k := range o.References() {
		p := Place{Provider: k.Provider, Mechanisms: k.Mechanisms, State: "absent"}
		if b, err := s.backend(k.Provider); err != nil {
			p.Detail = err.Error()
		} else if p.State = string(b.breaker.Status().State); p.State != string(breaker.Closed) {
			p.Detail = b.brokenFault().Error()
		}
		routing.Places = append(routing.Places, p)
	}
	return routing, nil
}

// placedKey finds the half of a key that is in a provider.
func (s *Service) placedKey(ctx context.Context, call Call, r *record, key string) (access, keystore.Object, error) {
	a, err := s.admit(ctx, call, r)
	if err != nil {
		return a, keystore.Object{}, err
	}
	found, err := s.find(ctx, a.token.UID, key)
	if err != nil {
		return a, keystore.Object{}, err
	}
	var placed []keystore.Object
	for _, o := range found.objects {
		if holdsSecret(o.Attributes) {
			placed = append(placed, o)
		}
	}
	if len(placed) != 1 {
		return a, keystore.Object{}, fault.New(fault.NotFound, "%q is %d private or secret keys; name one by its uid or number, see anyhsm key list", key, len(placed))
	}
	r.event.Object = placed[0].UID
	return a, placed[0], nil
}

// JoinKey takes a key that already is in a provider as another place of a key: the same key once more, or its twin that
// is for other mechanisms. That it is the same key is known from the public halves, so a secret key cannot be joined.
func (s *Service) JoinKey(ctx context.Context, call Call, key, providerName, name string) (routing KeyRouting, err error) {
	r := begin(call, "key.join")
	r.event.Detail = providerName + " " + name
	defer s.end(ctx, r, &err)

	a, o, err := s.placedKey(ctx, call, r, key)
	if err != nil {
		return KeyRouting{}, err
	}
	number := o.ID
	if replayed, err := s.replay(ctx, call, r, &number); err != nil {
		return KeyRouting{}, err
	} else if replayed {
		return s.keyRouting(ctx, a, number)
	}
	b, err := s.lister(providerName)
	if err != nil {
		return KeyRouting{}, err
	}
	found, err := findOne(ctx, b, name)
	if err != nil {
		return KeyRouting{}, err
	}
	if err := sameKey(o, found); err != nil {
		return KeyRouting{}, err
	}
	if known, err := s.store.ObjectByRef(ctx, b.name, found.Ref); err == nil && known.ID != o.ID {
		return KeyRouting{}, fault.New(fault.AlreadyExists, "%s of provider %s is object %d already; delete that first, or leave it as it is", name, b.name, known.ID)
	}
	_, err = s.change(ctx, call, r, &number, func(tx *keystore.Tx) error {
		now, err := tx.Object(ctx, a.token.UID, o.ID)
		if err != nil {
			return err
		}
		return join(tx, now, keystore.KeyReference{Provider: b.name, Ref: found.Ref, Mechanisms: allowed(found.Objects[0])})
	})
	if err != nil {
		return KeyRouting{}, err
	}
	return s.keyRouting(ctx, a, number)
}

// join gives an object another reference. What the object was for until now becomes what its other references are for,
// and the object is for both.
func join(tx *keystore.Tx, o keystore.Object, added keystore.KeyReference) error {
	before := allowed(o.Attributes)
	references := o.References()
	for i := range references {
		if len(references[i].Mechanisms) == 0 {
			references[i].Mechanisms = before
		}
	}
	if len(before) > 0 {
		if len(added.Mechanisms) == 0 {
			o.Attributes.Remove(cryptoki.CKA_ALLOWED_MECHANISMS)
		} else {
			o.Attributes.Set(allowing(append(slices.Clone(before), added.Mechanisms...)))
		}
		if err := tx.UpdateObject(&o); err != nil {
			return err
		}
	}
	return tx.PutReferences(&o, append(references, added)...)
}

// allowed returns CKA_ALLOWED_MECHANISMS; nil for all.
func allowed(attributes cryptoki.Attributes) (mechanisms []cryptoki.MechanismType) {
	list, _ := attributes.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS)
	for _, m := range list {
		mechanisms = append(mechanisms, cryptoki.MechanismType(m))
	}
	return mechanisms
}

func allowing(mechanisms []cryptoki.MechanismType) cryptoki.Attribute {
	var list []uint64
	for _, m := range mechanisms {
		if !slices.Contains(list, uint64(m)) {
			list = append(list, uint64(m))
		}
	}
	return cryptoki.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS, list)
}

// findOne finds a key in a provider by the name that its list shows.
func findOne(ctx context.Context, b *backend, name string) (found provider.Found, err error) {
	if finder, ok := b.Provider.(provider.Finder); ok {
		return finder.Find(ctx, name)
	}
	there := false
	err = eachFound(ctx, b, func(f provider.Found) error {
		if f.Name == name {
			found, there = f, true
		}
		return nil
	})
	if err == nil && !there {
		err = fault.New(fault.NotFound, "provider %s has no key %s; see anyhsm provider keys %s", b.name, name, b.name)
	}
	return found, err
}

// sameKey tells why what was found in a provider is not the private key that an object is.
func sameKey(o keystore.Object, found provider.Found) error {
	if class, _ := o.Attributes.Class(); class != cryptoki.CKO_PRIVATE_KEY || len(found.Objects) == 0 {
		return fault.New(fault.InvalidInput, "only private keys can be joined, whose public halves tell that they are the same; copy a secret key instead")
	}
	theirs := found.Objects[0]
	if class, _ := theirs.Class(); class != cryptoki.CKO_PRIVATE_KEY {
		return fault.New(fault.InvalidInput, "%s is no private key in its provider; choose another", found.Name)
	}
	for _, half := range found.Objects[1:] {
		// Some providers tell the public key with the public half alone.
		for _, t := range material {
			if value := half.Bytes(t); len(value) > 0 && len(theirs.Bytes(t)) == 0 {
				theirs = append(theirs.Clone(), cryptoki.Bytes(t, value))
			}
		}
	}
	ours, theirKey := publicValue(o.Attributes), publicValue(theirs)
	if len(ours) == 0 || !bytes.Equal(ours, theirKey) {
		return fault.New(fault.InvalidInput, "%s is another key than %q: the public keys differ, or one is not known; join only the same key", found.Name, o.Attributes.Bytes(cryptoki.CKA_LABEL))
	}
	return nil
}

// publicValue is what tells keys apart: the modulus, the curve with the point, or the ML-DSA key as X.509 writes it; nil if the attributes lack it.
func publicValue(key cryptoki.Attributes) []byte {
	if n := bytes.TrimLeft(key.Bytes(cryptoki.CKA_MODULUS), "\x00"); len(n) > 0 {
		return n
	}
	if keyType, _ := key.KeyType(); keyType == cryptoki.CKK_ML_DSA {
		return key.Bytes(cryptoki.CKA_PUBLIC_KEY_INFO)
	}
	c, err := curve.Of(key)
	if err != nil {
		return nil
	}
	point, ok := c.Point(key.Bytes(cryptoki.CKA_EC_POINT))
	if !ok {
		return nil
	}
	return append([]byte(c.Name+" "), point...)
}
