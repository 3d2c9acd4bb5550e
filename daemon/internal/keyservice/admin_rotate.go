package keyservice

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/object"
)

// Rotation asks for a new version of a key. An empty Provider is the old one's.
type Rotation struct {
	Key, Provider string
	// Now ends signing and encrypting with the old version at once, Finish with all older ones and makes no key.
	Now, Finish bool
}

// Rotated is what a rotation has done.
type Rotated struct {
	// Key is the version that has the label, Older are those that were changed, with their certificates.
	Key                 KeySummary
	Older, Certificates []KeySummary
}

// RotateKey makes a new key of the same kind under the label of an old one. The old one becomes "LABEL (v1)" and keeps
// its CKA_ID, its handle and its certificate, so that a program that has it open, or finds it by its id, goes on. It also
// keeps the right to sign until Finish, because its certificate is in use until there is one for the new key.
func (s *Service) RotateKey(ctx context.Context, call Call, rotation Rotation) (done Rotated, err error) {
	r := begin(call, "key.rotate")
	defer s.end(ctx, r, &err)

	a, err := s.admit(ctx, call, r)
	if err != nil {
		return Rotated{}, err
	}
	finished, err := s.turns.take(ctx, a.owner, call.RequestID)
	if err != nil {
		return Rotated{}, err
	}
	defer finished()
	if replayed, err := s.replay(ctx, call, r, &done); err != nil || replayed {
		return done, err
	}
	found, err := s.find(ctx, a.token.UID, rotation.Key)
	if err != nil {
		return Rotated{}, err
	}
	secrets := found.of(cryptoki.CKO_PRIVATE_KEY, cryptoki.CKO_SECRET_KEY)
	if len(secrets) == 0 {
		return Rotated{}, fault.New(fault.NotFound, "%q has no private or secret key; see anyhsm key list", rotation.Key)
	}
	old := secrets[0]
	label := string(old.Attributes.Bytes(cryptoki.CKA_LABEL))
	if label == "" {
		return Rotated{}, fault.New(fault.InvalidInput, "the key has no label under which there could be a new version; give it one with anyhsm key label")
	}
	versions, err := s.versions(ctx, a.token.UID, label)
	if err != nil {
		return Rotated{}, err
	}
	r.event.Detail = label
	if rotation.Finish {
		r.event.Detail += ", finished"
		return s.finishRotation(ctx, call, r, old, label, versions)
	}
	if rotation.Provider == "" {
		rotation.Provider = old.Provider
	}
	if _, ok := s.providers[rotation.Provider]; !ok {
		return Rotated{}, fault.New(fault.NotFound, "there is no provider %q; see anyhsm provider list", rotation.Provider)
	}
	make, drafts, err := s.successor(old, found.of(cryptoki.CKO_PUBLIC_KEY))
	if err != nil {
		return Rotated{}, err
	}
	// The new key's name follows from the old one's, so that a rotation that was cut off finds, when it is repeated, the key
	// that it has made.
	there := access{token: a.token, call: Call{RequestID: "rotation of " + old.UID}}
	there.token.Provider, there.token.Rules = rotation.Provider, ""
	if newer, err := s.store.ObjectByUID(ctx, identify(there.call, a.token.UID, drafts[0].role)); err == nil {
		return Rotated{}, fault.New(fault.Conflict, "this key has a newer version, object %d (%s); rotate that one", newer.ID, newer.Attributes.Bytes(cryptoki.CKA_LABEL))
	} else if !fault.Is(err, fault.ObjectHandleInvalid) {
		return Rotated{}, err
	}
	objects, key, err := s.prepare(ctx, there, make, drafts)
	defer func() {
		if err != nil {
			s.orphaned(ctx, key, err)
		}
	}()
	if err != nil {
		return Rotated{}, err
	}
	version := 1
	if len(versions) > 0 {
		version = slices.Max(numbersOf(versions)) + 1
	}
	r.event.Object = objects[0].UID
	_, err = s.change(ctx, call, r, &done, func(tx *keystore.Tx) error {
		done = Rotated{Certificates: summaries(certificatesOf(found.of(cryptoki.CKO_CERTIFICATE), old))}
		for i := range objects {
			if err := tx.CreateObject(&objects[i]); err != nil {
				return err
			}
		}
		done.Key = summary(objects[0])
		for _, o := range found.of(cryptoki.CKO_PRIVATE_KEY, cryptoki.CKO_SECRET_KEY, cryptoki.CKO_PUBLIC_KEY) {
			now, err := tx.Object(ctx, o.Token, o.ID)
			if err != nil {
				return err
			}
			now.Attributes = now.Attributes.Clone()
			now.Attributes.Set(cryptoki.String(cryptoki.CKA_LABEL, versionLabel(label, version)))
			if rotation.Now {
				weaken(&now.Attributes)
			}
			if err := tx.UpdateObject(&now); err != nil {
				return err
			}
			done.Older = append(done.Older, summary(now))
		}
		return nil
	})
	return done, err
}

// successor makes the drafts of a key like another one, the secret half first, and what makes it.
func (s *Service) successor(old keystore.Object, public []keystore.Object) (maker, []draft, error) {
	generation := map[cryptoki.KeyType]cryptoki.MechanismType{
		cryptoki.CKK_RSA: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN, cryptoki.CKK_EC: cryptoki.CKM_EC_KEY_PAIR_GEN,
		cryptoki.CKK_EC_EDWARDS: cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN, cryptoki.CKK_AES: cryptoki.CKM_AES_KEY_GEN,
		cryptoki.CKK_ML_DSA: cryptoki.CKM_ML_DSA_KEY_PAIR_GEN,
	}
	keyType, _ := old.Attributes.KeyType()
	m := cryptoki.Mechanism{Type: cryptoki.CKM_GENERIC_SECRET_KEY_GEN}
	if t, ok := generation[keyType]; ok {
		m.Type = t
	}
	private := picked(old.Attributes, inherited...)
	var open cryptoki.Attributes
	var err error
	drafts := []draft{{role: "rotate secret"}}
	if class, _ := old.Attributes.Class(); class == cryptoki.CKO_SECRET_KEY {
		private = append(private, picked(old.Attributes, cryptoki.CKA_VALUE_LEN)...)
		if private, err = object.New(object.Generate, m.Type, private); err != nil {
			return nil, nil, err
		}
	} else {
		template := picked(old.Attributes, cryptoki.CKA_TOKEN, cryptoki.CKA_LABEL)
		if len(public) > 0 {
			template = picked(public[0].Attributes, inherited...)
		}
		if keyType == cryptoki.CKK_RSA {
			template = append(template, cryptoki.Ulong(cryptoki.CKA_MODULUS_BITS, uint64(mechanism.Bits(old.Attributes))))
			template = append(template, picked(old.Attributes, cryptoki.CKA_PUBLIC_EXPONENT)...)
		} else {
			template = append(template, picked(old.Attributes, cryptoki.CKA_EC_PARAMS, cryptoki.CKA_PARAMETER_SET)...)
		}
		if open, private, err = object.NewKeyPair(m, template, private); err != nil {
			return nil, nil, err
		}
		drafts = append(drafts, draft{role: "rotate public", attributes: open})
	}
	drafts[0].attributes = private
	return s.generating(m, open, private), drafts, nil
}

// inherited are the attributes that a new version has from the old one. CKA_ID is not among them: it belongs to one key.
var inherited = []cryptoki.AttributeType{
	cryptoki.CKA_TOKEN, cryptoki.CKA_PRIVATE, cryptoki.CKA_LABEL, cryptoki.CKA_MODIFIABLE, cryptoki.CKA_COPYABLE, cryptoki.CKA_DESTROYABLE,
	cryptoki.CKA_SENSITIVE, cryptoki.CKA_EXTRACTABLE, cryptoki.CKA_WRAP_WITH_TRUSTED, cryptoki.CKA_ALWAYS_AUTHENTICATE, cryptoki.CKA_ALLOWED_MECHANISMS,
	cryptoki.CKA_SIGN, cryptoki.CKA_SIGN_RECOVER, cryptoki.CKA_VERIFY, cryptoki.CKA_VERIFY_RECOVER, cryptoki.CKA_ENCRYPT, cryptoki.CKA_DECRYPT,
	cryptoki.CKA_WRAP, cryptoki.CKA_UNWRAP, cryptoki.CKA_DERIVE,
}

func picked(from cryptoki.Attributes, types ...cryptoki.AttributeType) (some cryptoki.Attributes) {
	for _, t := range types {
		if value, ok := from.Get(t); ok {
			some = append(some, cryptoki.Bytes(t, value))
		}
	}
	return some
}

// weaken leaves a key what its old data and signatures need.
func weaken(attributes *cryptoki.Attributes) {
	ended := []cryptoki.AttributeType{cryptoki.CKA_SIGN, cryptoki.CKA_SIGN_RECOVER, cryptoki.CKA_ENCRYPT, cryptoki.CKA_WRAP}
	for _, t := range ended {
		if attributes.Bool(t) {
			attributes.Set(cryptoki.Bool(t, false))
		}
	}
}

// version is an object of an older version of a key.
type version struct {
	keystore.Object
	number int
}

func versionLabel(label string, number int) string { return fmt.Sprintf("%s (v%d)", label, number) }

// versions finds the objects of older versions of a key by their labels.
func (s *Service) versions(ctx context.Context, token, label string) (found []version, err error) {
	for _, class := range []cryptoki.ObjectClass{cryptoki.CKO_PRIVATE_KEY, cryptoki.CKO_SECRET_KEY, cryptoki.CKO_PUBLIC_KEY} {
		objects, err := s.store.Objects(ctx, keystore.ObjectQuery{Token: token, Class: &class})
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			rest, ok := strings.CutPrefix(string(o.Attributes.Bytes(cryptoki.CKA_LABEL)), label+" (v")
			number, err := strconv.Atoi(strings.TrimSuffix(rest, ")"))
			if ok && err == nil && number > 0 && strings.HasSuffix(rest, ")") {
				found = append(found, version{o, number})
			}
		}
	}
	return found, nil
}

func numbersOf(versions []version) (numbers []int) {
	for _, v := range versions {
		numbers = append(numbers, v.number)
	}
	return numbers
}

// certificatesOf are those certificates that are for a key.
func certificatesOf(certificates []keystore.Object, key keystore.Object) (own []keystore.Object) {
	for _, c := range certificates {
		if spki := summary(c).PublicKey; len(spki) > 0 && bytes.Equal(spki, key.Attributes.Bytes(cryptoki.CKA_PUBLIC_KEY_INFO)) {
			own = append(own, c)
		}
	}
	return own
}

// finishRotation ends signing and encrypting with the older versions, and gives their certificates their labels.
func (s *Service) finishRotation(ctx context.Context, call Call, r *record, current keystore.Object, label string, versions []version) (done Rotated, err error) {
	if len(versions) == 0 {
		return Rotated{}, fault.New(fault.NotFound, "there is no older version of %q to finish with; anyhsm key rotate without --finish makes a new one", label)
	}
	r.event.Object = current.UID
	labels := map[uint64]string{}
	for _, v := range versions {
		id := v.Attributes.Bytes(cryptoki.CKA_ID)
		if class, _ := v.Attributes.Class(); class != cryptoki.CKO_PRIVATE_KEY || len(id) == 0 {
			continue
		}
		certificate := cryptoki.CKO_CERTIFICATE
		objects, err := s.store.Objects(ctx, keystore.ObjectQuery{Token: v.Token, KeyID: id, Class: &certificate})
		if err != nil {
			return Rotated{}, err
		}
		for _, c := range certificatesOf(objects, v.Object) {
			labels[c.ID] = versionLabel(label, v.number)
		}
	}
	_, err = s.change(ctx, call, r, &done, func(tx *keystore.Tx) error {
		done = Rotated{Key: summary(current)}
		for _, v := range versions {
			now, err := tx.Object(ctx, v.Token, v.ID)
			if err != nil {
				return err
			}
			now.Attributes = now.Attributes.Clone()
			weaken(&now.Attributes)
			if err := tx.UpdateObject(&now); err != nil {
				return err
			}
			done.Older = append(done.Older, summary(now))
		}
		for id, named := range labels {
			now, err := tx.Object(ctx, current.Token, id)
			if err != nil {
				return err
			}
			now.Attributes = now.Attributes.Clone()
			now.Attributes.Set(cryptoki.String(cryptoki.CKA_LABEL, named))
			if err := tx.UpdateObject(&now); err != nil {
				return err
			}
			done.Certificates = append(done.Certificates, summary(now))
		}
		return nil
	})
	return done, err
}
