package keyservice

import (
	"context"
	"encoding/binary"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/wire"
)

// A session object that holds a secret is kept by the module as a blob: one byte of version and the class in clear,
// then {uid, reference, attributes} under the token's key, bound to token, application and class. The daemon keeps
// nothing of it, so every replica can use it, and it dies with the application's session.
const (
	blobVersion = 1
	blobHeader  = 1 + 8
	// maxBlob is far above what the largest RSA key needs.
	maxBlob = 256 << 10
)

// seal makes the blob of a session object.
func (s *Service) seal(ctx context.Context, a access, o keystore.Object) ([]byte, error) {
	class, _ := o.Attributes.Class()
	plain := appendField(nil, []byte(o.UID))
	plain = appendField(plain, o.Ref)
	plain = appendField(plain, wire.MarshalAttributes(o.Attributes))
	sealed, err := s.keyring.Seal(ctx, a.token.UID, plain, blobAAD(a, class))
	if err != nil {
		return nil, err
	}
	blob := binary.LittleEndian.AppendUint64([]byte{blobVersion}, uint64(class))
	return append(blob, sealed...), nil
}

// unseal opens a blob: CKR_OBJECT_HANDLE_INVALID for everything that is not one of this token and application.
func (s *Service) unseal(ctx context.Context, a access, blob []byte) (keystore.Object, error) {
	foreign := fault.New(fault.ObjectHandleInvalid, "the session object was not made for this token and application; make it again")
	if len(blob) < blobHeader || len(blob) > maxBlob || blob[0] != blobVersion {
		return keystore.Object{}, foreign
	}
	if known, ok := s.blobs.Get(blob); ok && known.token == a.token.UID && known.owner == a.owner {
		return known.object, nil
	}
	class := cryptoki.ObjectClass(binary.LittleEndian.Uint64(blob[1:]))
	plain, err := s.keyring.Open(ctx, a.token.UID, blob[blobHeader:], blobAAD(a, class))
	if fault.Is(err, fault.StoreDamaged) {
		return keystore.Object{}, foreign
	}
	if err != nil {
		return keystore.Object{}, err
	}
	uid, plain, ok1 := cutField(plain)
	ref, plain, ok2 := cutField(plain)
	encoded, _, ok3 := cutField(plain)
	if !ok1 || !ok2 || !ok3 {
		return keystore.Object{}, foreign
	}
	attributes, err := wire.UnmarshalAttributes(encoded)
	if err != nil {
		return keystore.Object{}, foreign
	}
	o := keystore.Object{UID: string(uid), Token: a.token.UID, Attributes: attributes, Provider: Software, Ref: ref}
	if len(blob) <= maxKnownBlob {
		s.blobs.Put(blob, openedBlob{token: a.token.UID, owner: a.owner, object: o})
	}
	return o, nil
}

// openedBlob is what a blob holds, and to whom it was opened. The reference in it is sealed once more: no secret stays
// in memory here.
type openedBlob struct {
	token, owner string
	object       keystore.Object
}

// The blobs that are remembered: so many, and none longer than those of most RSA keys.
const maxBlobs, maxKnownBlob = 2048, 4 << 10

func blobAAD(a access, class cryptoki.ObjectClass) []byte {
	aad := appendField(nil, []byte("session object"))
	aad = appendField(aad, []byte(a.token.UID))
	aad = appendField(aad, []byte(a.owner))
	return binary.LittleEndian.AppendUint64(aad, uint64(class))
}

func appendField(b, field []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(field)))
	return append(b, field...)
}

func cutField(b []byte) (field, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := uint64(binary.LittleEndian.Uint32(b))
	if uint64(len(b)-4) < n {
		return nil, nil, false
	}
	return b[4 : 4+n], b[4+n:], true
}

// sessionObject hands a session object out: with its values where the application may read them, so that the module
// can answer and compute without us.
func (s *Service) sessionObject(ctx context.Context, a access, o keystore.Object) (Object, error) {
	if !holdsSecret(o.Attributes) {
		return Object{Attributes: o.Attributes}, nil
	}
	sealed, err := s.seal(ctx, a, o)
	if err != nil {
		return Object{}, err
	}
	handed := Object{Attributes: o.Attributes, Sealed: sealed}
	if !readable(o.Attributes) {
		return handed, nil
	}
	places, err := s.places(o)
	if err != nil {
		return Object{}, err
	}
	handed.Secret, err = s.export(ctx, target{Object: o, session: true, places: places})
	return handed, err
}

// holdsSecret tells whether an object of these attributes has a provider's key behind it.
func holdsSecret(attributes cryptoki.Attributes) bool {
	class, _ := attributes.Class()
	return class == cryptoki.CKO_PRIVATE_KEY || class == cryptoki.CKO_SECRET_KEY
}

// readable tells whether the application may read a key's value: section 4.2 hides it where CKA_SENSITIVE is true or
// CKA_EXTRACTABLE false.
func readable(attributes cryptoki.Attributes) bool {
	return !attributes.Bool(cryptoki.CKA_SENSITIVE) && attributes.Bool(cryptoki.CKA_EXTRACTABLE)
}
