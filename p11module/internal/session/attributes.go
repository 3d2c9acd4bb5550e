package session

import (
	"bytes"
	"context"
	"runtime"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/object"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// Value is one attribute's value, or why there is none: CKR_ATTRIBUTE_SENSITIVE or CKR_ATTRIBUTE_TYPE_INVALID.
type Value struct {
	Data []byte
	Err  error
}

// Attributes is C_GetAttributeValue. Secret values of a token key that may be read come from the daemon, all in one
// call.
func (s *Session) Attributes(handle uint64, types []cryptoki.AttributeType) ([]Value, error) {
	ctx, cancel := s.token.context()
	defer cancel()
	o, err := s.token.current(ctx, handle)
	if err != nil {
		return nil, s.remember(err)
	}
	values := make([]Value, len(types))
	secret, asked := o.secret, false
	for i, t := range types {
		switch {
		case !secretOf(o, t):
			data, ok := o.Attributes.Get(t)
			if !ok {
				values[i].Err = cryptoki.CKR_ATTRIBUTE_TYPE_INVALID
			}
			values[i].Data = data
		case !object.Readable(o.Attributes):
			values[i].Err = cryptoki.CKR_ATTRIBUTE_SENSITIVE
		default:
			if !asked && len(secret) == 0 {
				if secret, err = s.secretValue(ctx, o); err != nil {
					return nil, s.remember(err)
				}
			}
			asked = true
			data, ok := secret.Get(t)
			if !ok {
				values[i].Err = cryptoki.CKR_ATTRIBUTE_TYPE_INVALID
			}
			values[i].Data = bytes.Clone(data)
		}
	}
	runtime.KeepAlive(o)
	return values, nil
}

// secretOf tells whether an attribute is a secret that the object has: an RSA key has no CKA_VALUE, an EC key no primes.
func secretOf(o *Object, t cryptoki.AttributeType) bool {
	if !object.Secret(o.class(), t) {
		return false
	}
	switch keyType, _ := o.Attributes.KeyType(); keyType {
	case cryptoki.CKK_RSA:
		return t != cryptoki.CKA_VALUE && t != cryptoki.CKA_SEED
	case cryptoki.CKK_ML_DSA:
		return t == cryptoki.CKA_SEED || t == cryptoki.CKA_VALUE
	default:
		return t == cryptoki.CKA_VALUE
	}
}

// secretValue asks for the secret attributes of a key that may be read.
func (s *Session) secretValue(ctx context.Context, o *Object) (cryptoki.Attributes, error) {
	answer, err := read(s.token, func(header *anyhsmv1.CallHeader) (*anyhsmv1.GetSecretValueResponse, error) {
		return s.token.client.Objects.GetSecretValue(ctx, &anyhsmv1.GetSecretValueRequest{Header: header, Key: o.reference()})
	})
	if err != nil {
		return nil, err
	}
	return wire.AttributesFromProto(answer.GetAttributes()), nil
}

// current finds an object whose attributes were right a moment ago.
func (t *Token) current(ctx context.Context, handle uint64) (*Object, error) {
	o, err := t.object(ctx, handle)
	if err != nil || o.owner != nil || o == profileObject {
		return o, err
	}
	_, confirmed := t.cache.get(handle)
	if !o.seen.IsZero() {
		confirmed = o.seen
	}
	if time.Since(confirmed) <= validity {
		return o, nil
	}
	wanted := &anyhsmv1.Wanted{Object: handle}
	if err := t.ensure(ctx, validity, wanted); err != nil {
		return nil, err
	}
	if _, _, err := t.narrow(ctx, wanted); err != nil {
		return nil, err
	}
	return t.object(ctx, handle)
}

// SetAttributes is C_SetAttributeValue.
func (s *Session) SetAttributes(handle uint64, changes cryptoki.Attributes) error {
	ctx, cancel := s.token.context()
	defer cancel()
	t := s.token
	o, err := t.current(ctx, handle)
	if err != nil {
		return s.remember(err)
	}
	if err := s.mayWrite(o.Attributes); err != nil {
		return err
	}
	changed, err := object.Set(o.Attributes, changes)
	if err != nil {
		return err
	}
	if o.owner != nil && o.sealed == nil {
		return t.replace(o, &Object{Attributes: changed, secret: o.secret.Clone()})
	}
	answer, at, err := call(t, func(header *anyhsmv1.CallHeader) (*anyhsmv1.SetAttributesResponse, error) {
		return t.client.Objects.SetAttributes(ctx, &anyhsmv1.SetAttributesRequest{
			Header: header, Object: o.reference(), Template: wire.AttributesToProto(changes),
		})
	})
	if err != nil {
		t.cache.markStale()
		return s.remember(err)
	}
	m := answer.GetObject()
	if o.owner != nil {
		t.cache.notice(at, answer.GetHeader().GetRevision())
		attributes := wire.AttributesFromProto(m.GetAttributes())
		return t.replace(o, &Object{Attributes: attributes, sealed: m.GetSealed(), secret: wire.AttributesFromProto(m.GetSecret())})
	}
	if m.GetId() != o.Handle {
		return fault.New(fault.Internal, "the daemon answered for object %d instead of %d; upgrade module and daemon together", m.GetId(), o.Handle)
	}
	t.cache.apply(at, answer.GetHeader().GetRevision(), []*Object{tokenObject(m)})
	return nil
}

// replace puts another version of a session object in its place.
func (t *Token) replace(old, changed *Object) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held.get(old.Handle) == nil {
		return cryptoki.CKR_OBJECT_HANDLE_INVALID
	}
	changed.Handle, changed.owner = old.Handle, old.owner
	if id, ok := old.Attributes.Get(cryptoki.CKA_UNIQUE_ID); ok {
		changed.Attributes.Set(cryptoki.Bytes(cryptoki.CKA_UNIQUE_ID, id))
	}
	changed.guard()
	t.held.put(changed)
	runtime.KeepAlive(old)
	return nil
}

// ObjectSize is C_GetObjectSize.
func (s *Session) ObjectSize(handle uint64) (uint64, error) {
	ctx, cancel := s.token.context()
	defer cancel()
	o, err := s.token.current(ctx, handle)
	if err != nil {
		return 0, s.remember(err)
	}
	return object.Size(o.Attributes), nil
}
