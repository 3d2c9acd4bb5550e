package session

import (
	"sync"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/softkey"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// firstHeld is the handle of the first session object. Those of token objects, the daemon's ids, lie below.
const firstHeld = 0x80000000

// Object is one object as the application sees it. It never changes: another version takes its place.
type Object struct {
	Handle uint64
	// Attributes are all that are not secret.
	Attributes cryptoki.Attributes
	// limits are what the places where the key is take in parameters of mechanisms.
	limits []mechanism.Limit
	// seen is when the object was asked for alone; zero for one of a listing.
	seen time.Time
	// owner is the session that a session object dies with; nil for a token object.
	owner *Session
	// sealed is a session object's secret as only the daemon can open it.
	sealed []byte
	// secret are the secret attributes of a session object whose value the application gave or may read.
	secret cryptoki.Attributes

	once  sync.Once
	key   *softkey.Key
	error error
}

// tokenObject makes a token object of what the daemon sent.
func tokenObject(m *anyhsmv1.Object) *Object {
	return &Object{Handle: m.GetId(), Attributes: wire.AttributesFromProto(m.GetAttributes()), limits: limitsOf(m.GetLimits())}
}

func limitsOf(messages []*anyhsmv1.MechanismLimit) (limits []mechanism.Limit) {
	for _, m := range messages {
		l := mechanism.Limit{
			Type: cryptoki.MechanismType(m.GetType()), SameMGF: m.GetSameMgf(), NoLabel: m.GetNoLabel(), SaltIsHash: m.GetSaltIsHash(),
			MinSalt: m.GetMinSalt(), IVSize: int(m.GetIvSize()), TagSize: int(m.GetTagSize()),
		}
		if !m.GetAnyHash() {
			l.Hashes = []cryptoki.MechanismType{}
		}
		for _, h := range m.GetHashes() {
			l.Hashes = append(l.Hashes, cryptoki.MechanismType(h))
		}
		limits = append(limits, l)
	}
	return limits
}

func (o *Object) class() cryptoki.ObjectClass {
	class, _ := o.Attributes.Class()
	return class
}

func (o *Object) private() bool { return o.Attributes.Bool(cryptoki.CKA_PRIVATE) }

// isKey tells whether the object is a key.
func (o *Object) isKey() bool {
	switch o.class() {
	case cryptoki.CKO_PUBLIC_KEY, cryptoki.CKO_PRIVATE_KEY, cryptoki.CKO_SECRET_KEY:
		return true
	}
	return false
}

// reference names the key in a call.
func (o *Object) reference() *anyhsmv1.KeyReference {
	if o.sealed != nil {
		return &anyhsmv1.KeyReference{Key: &anyhsmv1.KeyReference_Sealed{Sealed: o.sealed}}
	}
	return &anyhsmv1.KeyReference{Key: &anyhsmv1.KeyReference_Object{Object: o.Handle}}
}

// isLocal tells whether the module has the key's value: public keys, and secret keys whose value the application gave
// or may read. Private keys stay with the daemon.
func (o *Object) isLocal() bool {
	switch o.class() {
	case cryptoki.CKO_PUBLIC_KEY:
		return true
	case cryptoki.CKO_SECRET_KEY:
		return len(o.secret) > 0
	}
	return false
}

// local returns the key of an object that isLocal.
func (o *Object) local() (*softkey.Key, error) {
	o.once.Do(func() {
		all := append(o.Attributes[:len(o.Attributes):len(o.Attributes)], o.secret...)
		o.key, o.error = softkey.FromAttributes(all)
		o.guardKey()
	})
	return o.key, o.error
}
