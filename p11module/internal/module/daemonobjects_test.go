package module_test

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"strconv"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/object"
	"github.com/anyhsm/anyhsm/internal/softkey"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// keep stores a token object, or seals a session object that holds a secret.
func (d *daemon) keep(k *fakeToken, open, secret cryptoki.Attributes, private bool) (*anyhsmv1.Object, error) {
	if open.Bool(cryptoki.CKA_PRIVATE) && !private {
		return nil, fault.New(fault.UserNotLoggedIn, "a private object needs a user")
	}
	o := &fakeObject{open: open, secret: secret}
	if !open.Bool(cryptoki.CKA_TOKEN) {
		m := &anyhsmv1.Object{Attributes: wire.AttributesToProto(open)}
		if len(secret) > 0 {
			m.Sealed = random(24)
			d.sealed[string(m.Sealed)] = o
			if object.Readable(open) {
				m.Secret = wire.AttributesToProto(secret)
			}
		}
		return m, nil
	}
	o.id = k.next
	k.next++
	o.open.Set(cryptoki.String(cryptoki.CKA_UNIQUE_ID, "object-"+strconv.FormatUint(o.id, 10)))
	k.revision++
	o.revision = k.revision
	k.objects[o.id] = o
	return o.message(), nil
}

func (o *fakeObject) message() *anyhsmv1.Object {
	return &anyhsmv1.Object{Id: o.id, Attributes: wire.AttributesToProto(o.open.Clone())}
}

// named finds the object of a reference that the caller may see.
func (d *daemon) named(k *fakeToken, r *anyhsmv1.KeyReference, private bool) (*fakeObject, error) {
	o := k.objects[r.GetObject()]
	if sealed := r.GetSealed(); sealed != nil {
		o = d.sealed[string(sealed)]
	}
	if o == nil || o.open.Bool(cryptoki.CKA_PRIVATE) && !private {
		return nil, fault.New(fault.KeyHandleInvalid, "no such key")
	}
	return o, nil
}

func (d *daemon) ListObjects(_ context.Context, r *anyhsmv1.ListObjectsRequest) (*anyhsmv1.ListObjectsResponse, error) {
	k, user, in, err := d.caller(r.GetHeader())
	if err != nil {
		return nil, err
	}
	answer := &anyhsmv1.ListObjectsResponse{Header: k.reply(), Complete: r.GetSinceRevision() == 0}
	if w := r.GetWanted(); w != nil && d.large > 0 && len(k.objects) > d.large && answer.Complete && r.GetPage() == "" {
		return d.narrowed(k, w, k.private(user, in)), nil
	}
	after, _ := strconv.ParseUint(r.GetPage(), 10, 64)
	if !answer.Complete && r.GetPage() == "" {
		for id, revision := range k.removed {
			if revision > r.GetSinceRevision() {
				answer.Removed = append(answer.Removed, id)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(k.objects)) {
		o := k.objects[id]
		if id <= after || o.revision <= r.GetSinceRevision() || o.open.Bool(cryptoki.CKA_PRIVATE) && !k.private(user, in) {
			continue
		}
		if len(answer.Objects) == d.pageSize {
			answer.NextPage = strconv.FormatUint(answer.Objects[d.pageSize-1].Id, 10)
			break
		}
		answer.Objects = append(answer.Objects, o.message())
	}
	return answer, nil
}

// narrowed is the answer of a token that is large.
func (d *daemon) narrowed(k *fakeToken, w *anyhsmv1.Wanted, private bool) *anyhsmv1.ListObjectsResponse {
	answer := &anyhsmv1.ListObjectsResponse{Header: k.reply(), Narrowed: true}
	var template cryptoki.Attributes
	if w.Label != nil {
		template = append(template, cryptoki.Bytes(cryptoki.CKA_LABEL, w.Label))
	}
	if w.Id != nil {
		template = append(template, cryptoki.Bytes(cryptoki.CKA_ID, w.Id))
	}
	for _, id := range slices.Sorted(maps.Keys(k.objects)) {
		o := k.objects[id]
		if (w.GetObject() == 0 || w.GetObject() == id) && object.Match(o.open, template) && (private || !o.open.Bool(cryptoki.CKA_PRIVATE)) {
			answer.Objects = append(answer.Objects, o.message())
		}
	}
	return answer
}

func (d *daemon) GetSecretValue(_ context.Context, r *anyhsmv1.GetSecretValueRequest) (*anyhsmv1.GetSecretValueResponse, error) {
	k, user, in, err := d.caller(r.GetHeader())
	if err != nil {
		return nil, err
	}
	o, err := d.named(k, r.GetKey(), k.private(user, in))
	if err != nil {
		return nil, err
	}
	if !object.Readable(o.open) {
		d.t.Error("the module asked for a secret that may not be read")
		return nil, cryptoki.CKR_ATTRIBUTE_SENSITIVE
	}
	return &anyhsmv1.GetSecretValueResponse{Header: k.reply(), Attributes: wire.AttributesToProto(o.secret)}, nil
}

func (d *daemon) CreateObject(_ context.Context, r *anyhsmv1.CreateObjectRequest) (*anyhsmv1.CreateObjectResponse, error) {
	k, user, in, err := d.caller(r.GetHeader())
	if err != nil {
		return nil, err
	}
	complete, err := object.New(object.Create, 0, wire.AttributesFromProto(r.GetTemplate()))
	if err != nil {
		return nil, err
	}
	open, secret := object.Split(complete)
	if class, _ := open.Class(); !open.Bool(cryptoki.CKA_TOKEN) && class != cryptoki.CKO_PRIVATE_KEY {
		d.t.Errorf("a session object of class %v came to the daemon", class)
	}
	m, err := d.keep(k, open, secret, k.private(user, in))
	return &anyhsmv1.CreateObjectResponse{Header: k.reply(), Object: m}, err
}

func (d *daemon) CopyObject(_ context.Context, r *anyhsmv1.CopyObjectRequest) (*anyhsmv1.CopyObjectResponse, error) {
	k, user, in, err := d.caller(r.GetHeader())
	if err != nil {
		return nil, err
	}
	source, err := d.named(k, r.GetSource(), k.private(user, in))
	if err != nil {
		return nil, err
	}
	open, err := object.Copy(source.open, wire.AttributesFromProto(r.GetTemplate()))
	if err != nil {
		return nil, err
	}
	m, err := d.keep(k, open, source.secret.Clone(), k.private(user, in))
	return &anyhsmv1.CopyObjectResponse{Header: k.reply(), Object: m}, err
}

func (d *daemon) SetAttributes(_ context.Context, r *anyhsmv1.SetAttributesRequest) (*anyhsmv1.SetAttributesResponse, error) {
	k, user, in, err := d.caller(r.GetHeader())
	if err != nil {
		return nil, err
	}
	o, err := d.named(k, r.GetObject(), k.private(user, in))
	if err != nil {
		return nil, err
	}
	open, err := object.Set(o.open, wire.AttributesFromProto(r.GetTemplate()))
	if err != nil {
		return nil, err
	}
	if o.id == 0 {
		m, err := d.keep(k, open, o.secret, true)
		return &anyhsmv1.SetAttributesResponse{Header: k.reply(), Object: m}, err
	}
	k.revision++
	o.open, o.revision = open, k.revision
	return &anyhsmv1.SetAttributesResponse{Header: k.reply(), Object: o.message()}, nil
}

func (d *daemon) DestroyObject(_ context.Context, r *anyhsmv1.DestroyObjectRequest) (*anyhsmv1.DestroyObjectResponse, error) {
	k, user, in, err := d.caller(r.GetHeader())
	if err != nil {
		return nil, err
	}
	if o := k.objects[r.GetObject()]; o == nil || o.open.Bool(cryptoki.CKA_PRIVATE) && !k.private(user, in) {
		return nil, cryptoki.CKR_OBJECT_HANDLE_INVALID
	}
	delete(k.objects, r.GetObject())
	k.revision++
	k.removed[r.GetObject()] = k.revision
	return &anyhsmv1.DestroyObjectResponse{Header: k.reply()}, nil
}

func (d *daemon) GenerateKey(_ context.Context, r *anyhsmv1.GenerateKeyRequest) (*anyhsmv1.GenerateKeyResponse, error) {
	k, user, in, err := d.caller(r.GetHeader())
	if err != nil {
		return nil, err
	}
	m, err := wire.MechanismFromProto(r.GetMechanism())
	if err != nil {
		return nil, err
	}
	open, err := object.New(object.Generate, m.Type, wire.AttributesFromProto(r.GetTemplate()))
	if err != nil {
		return nil, err
	}
	secret, err := softkey.GenerateSecret(m, open)
	if err != nil {
		return nil, err
	}
	made, err := d.keep(k, open, secret, k.private(user, in))
	return &anyhsmv1.GenerateKeyResponse{Header: k.reply(), Key: made}, err
}

func (d *daemon) GenerateKeyPair(_ context.Context, r *anyhsmv1.GenerateKeyPairRequest) (*anyhsmv1.GenerateKeyPairResponse, error) {
	k, user, in, err := d.caller(r.GetHeader())
	if err != nil {
		return nil, err
	}
	m, err := wire.MechanismFromProto(r.GetMechanism())
	if err != nil {
		return nil, err
	}
	pub, priv, err := object.NewKeyPair(m, wire.AttributesFromProto(r.GetPublicTemplate()), wire.AttributesFromProto(r.GetPrivateTemplate()))
	if err != nil {
		return nil, err
	}
	open, secret, err := softkey.GenerateKeyPair(m, pub, priv)
	if err != nil {
		return nil, err
	}
	pub, priv = object.Complete(pub, priv, open)
	publicKey, err := d.keep(k, pub, nil, k.private(user, in))
	if err != nil {
		return nil, err
	}
	privateKey, err := d.keep(k, priv, secret, k.private(user, in))
	return &anyhsmv1.GenerateKeyPairResponse{Header: k.reply(), PublicKey: publicKey, PrivateKey: privateKey}, err
}

func (d *daemon) DeriveKey(_ context.Context, r *anyhsmv1.DeriveKeyRequest) (*anyhsmv1.DeriveKeyResponse, error) {
	k, user, in, err := d.caller(r.GetHeader())
	if err != nil {
		return nil, err
	}
	base, err := d.named(k, r.GetBaseKey(), k.private(user, in))
	if err != nil {
		return nil, err
	}
	m, err := wire.MechanismFromProto(r.GetMechanism())
	if err != nil {
		return nil, err
	}
	open, err := object.New(object.Derive, m.Type, wire.AttributesFromProto(r.GetTemplate()))
	if err != nil {
		return nil, err
	}
	length, _ := open.Ulong(cryptoki.CKA_VALUE_LEN)
	key, err := base.softkey()
	if err != nil {
		return nil, err
	}
	value, err := key.Derive(m, int(length))
	if err != nil {
		return nil, err
	}
	open.Set(cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, uint64(len(value))))
	made, err := d.keep(k, open, cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_VALUE, value)}, k.private(user, in))
	return &anyhsmv1.DeriveKeyResponse{Header: k.reply(), Key: made}, err
}

func (o *fakeObject) softkey() (*softkey.Key, error) {
	return softkey.FromAttributes(append(o.open.Clone(), o.secret...))
}
