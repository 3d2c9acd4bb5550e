package session

import (
	"context"
	"fmt"
	"runtime"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/object"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// CreateObject is C_CreateObject. Token objects and private keys go to the daemon; session objects of the other classes
// stay here.
func (s *Session) CreateObject(template cryptoki.Attributes) (uint64, error) {
	template = s.token.publicByDefault(template)
	complete, err := object.New(object.Create, 0, template)
	if err != nil {
		return 0, err
	}
	if err := s.mayMake(complete); err != nil {
		return 0, err
	}
	if class, _ := complete.Class(); !complete.Bool(cryptoki.CKA_TOKEN) && class != cryptoki.CKO_PRIVATE_KEY {
		open, secret := object.Split(complete)
		return s.hold(&Object{Attributes: open, secret: secret})
	}
	ctx, cancel := s.token.context()
	defer cancel()
	return s.store(ctx, template)
}

// store has the daemon make an object of a template.
func (s *Session) store(ctx context.Context, template cryptoki.Attributes) (uint64, error) {
	answer, at, err := call(s.token, func(header *anyhsmv1.CallHeader) (*anyhsmv1.CreateObjectResponse, error) {
		return s.token.client.Objects.CreateObject(ctx, &anyhsmv1.CreateObjectRequest{
			Header: header, Template: wire.AttributesToProto(template),
		})
	})
	if err != nil {
		return 0, s.remember(err)
	}
	return first(s.receive(at, answer, answer.GetObject()))
}

// CopyObject is C_CopyObject.
func (s *Session) CopyObject(handle uint64, template cryptoki.Attributes) (uint64, error) {
	ctx, cancel := s.token.context()
	defer cancel()
	source, err := s.token.object(ctx, handle)
	if err != nil {
		return 0, s.remember(err)
	}
	complete, err := object.Copy(source.Attributes, template)
	if err != nil {
		return 0, err
	}
	if err := s.mayMake(complete); err != nil {
		return 0, err
	}
	defer runtime.KeepAlive(source)
	// What has no secret, or one that is here, is copied here.
	here := source.sealed == nil && (source.owner != nil || !secretive(source.class()))
	switch stays := !complete.Bool(cryptoki.CKA_TOKEN); {
	case here && stays:
		return s.hold(&Object{Attributes: complete, secret: source.secret.Clone()})
	case here && source.owner != nil:
		return s.store(ctx, creatable(append(complete, source.secret...)))
	}
	answer, at, err := call(s.token, func(header *anyhsmv1.CallHeader) (*anyhsmv1.CopyObjectResponse, error) {
		return s.token.client.Objects.CopyObject(ctx, &anyhsmv1.CopyObjectRequest{
			Header: header, Source: source.reference(), Template: wire.AttributesToProto(template),
		})
	})
	if err != nil {
		return 0, s.remember(err)
	}
	return first(s.receive(at, answer, answer.GetObject()))
}

// secretive tells whether objects of a class hold secrets.
func secretive(class cryptoki.ObjectClass) bool {
	return class == cryptoki.CKO_PRIVATE_KEY || class == cryptoki.CKO_SECRET_KEY
}

// creatable takes out what C_CreateObject must not be given: the daemon says it anew.
func creatable(attributes cryptoki.Attributes) cryptoki.Attributes {
	template := make(cryptoki.Attributes, 0, len(attributes))
	for _, a := range attributes {
		switch a.Type {
		case cryptoki.CKA_UNIQUE_ID, cryptoki.CKA_LOCAL, cryptoki.CKA_KEY_GEN_MECHANISM, cryptoki.CKA_ALWAYS_SENSITIVE,
			cryptoki.CKA_NEVER_EXTRACTABLE, cryptoki.CKA_TRUSTED:
		default:
			template = append(template, a)
		}
	}
	return template
}

// DestroyObject is C_DestroyObject.
func (s *Session) DestroyObject(handle uint64) error {
	ctx, cancel := s.token.context()
	defer cancel()
	t := s.token
	o, err := t.object(ctx, handle)
	if err != nil {
		return s.remember(err)
	}
	if err := s.mayWrite(o.Attributes); err != nil {
		return err
	}
	if o.Attributes.Has(cryptoki.CKA_DESTROYABLE) && !o.Attributes.Bool(cryptoki.CKA_DESTROYABLE) {
		return cryptoki.CKR_ACTION_PROHIBITED
	}
	if o.owner != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.held.get(handle) == nil {
			return cryptoki.CKR_OBJECT_HANDLE_INVALID
		}
		t.held.remove(handle)
		return nil
	}
	answer, at, err := call(t, func(header *anyhsmv1.CallHeader) (*anyhsmv1.DestroyObjectResponse, error) {
		return t.client.Objects.DestroyObject(ctx, &anyhsmv1.DestroyObjectRequest{Header: header, Object: handle})
	})
	if err != nil {
		t.cache.markStale()
		return s.remember(err)
	}
	t.cache.apply(at, answer.GetHeader().GetRevision(), nil, handle)
	return nil
}

// mayWrite refuses changes of token objects in a read-only session.
func (s *Session) mayWrite(attributes cryptoki.Attributes) error {
	if attributes.Bool(cryptoki.CKA_TOKEN) && !s.writes {
		return cryptoki.CKR_SESSION_READ_ONLY
	}
	return nil
}

// mayMake tells whether the session may make such an object.
func (s *Session) mayMake(attributes cryptoki.Attributes) error {
	if err := s.mayWrite(attributes); err != nil {
		return err
	}
	if attributes.Bool(cryptoki.CKA_PRIVATE) && !s.token.privateVisible() {
		return cryptoki.CKR_USER_NOT_LOGGED_IN
	}
	return nil
}

// publicByDefault completes the template of a session object that nobody logged in for: its CKA_PRIVATE, whose default
// the standard leaves to the token, is then false. SunPKCS11 makes HMAC keys before any login and says nothing of it.
func (t *Token) publicByDefault(template cryptoki.Attributes) cryptoki.Attributes {
	if template.Bool(cryptoki.CKA_TOKEN) || template.Has(cryptoki.CKA_PRIVATE) || t.privateVisible() {
		return template
	}
	return append(template[:len(template):len(template)], cryptoki.Bool(cryptoki.CKA_PRIVATE, false))
}

// hold makes an object a session object of this session.
func (s *Session) hold(o *Object) (uint64, error) {
	t := s.token
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, open := t.sessions[s]; !open {
		return 0, cryptoki.CKR_SESSION_CLOSED
	}
	o.Handle = firstHeld + t.nextHandle
	t.nextHandle++
	o.owner = s
	if !o.Attributes.Has(cryptoki.CKA_UNIQUE_ID) {
		o.Attributes = append(o.Attributes, cryptoki.String(cryptoki.CKA_UNIQUE_ID, fmt.Sprintf("session-%x", o.Handle)))
	}
	o.guard()
	t.held.put(o)
	return o.Handle, nil
}

// receive takes in the objects that the daemon made: token objects into the cache, session objects into the session.
func (s *Session) receive(at moment, answer reply, made ...*anyhsmv1.Object) ([]uint64, error) {
	handles := make([]uint64, len(made))
	var stored []*Object
	for i, m := range made {
		o := tokenObject(m)
		if o.Handle != 0 {
			stored = append(stored, o)
			handles[i] = o.Handle
			continue
		}
		o.sealed, o.secret = m.GetSealed(), wire.AttributesFromProto(m.GetSecret())
		handle, err := s.hold(o)
		if err != nil {
			return nil, err
		}
		handles[i] = handle
	}
	if len(stored) > 0 {
		s.token.cache.apply(at, answer.GetHeader().GetRevision(), stored)
	} else {
		s.token.cache.notice(at, answer.GetHeader().GetRevision())
	}
	return handles, nil
}

func first(handles []uint64, err error) (uint64, error) {
	if err != nil {
		return 0, err
	}
	return handles[0], nil
}
