package session

import (
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/object"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// check tells whether the token has a mechanism for a use, with this parameter.
func (t *Token) check(m cryptoki.Mechanism, use cryptoki.Flags) error {
	if err := t.mechanism(m.Type, use); err != nil {
		return err
	}
	return mechanism.CheckParams(m, use)
}

// GenerateKey is C_GenerateKey.
func (s *Session) GenerateKey(m cryptoki.Mechanism, template cryptoki.Attributes) (uint64, error) {
	t := s.token
	if err := t.check(m, cryptoki.CKF_GENERATE); err != nil {
		return 0, err
	}
	template = t.publicByDefault(template)
	complete, err := object.New(object.Generate, m.Type, template)
	if err != nil {
		return 0, err
	}
	if err := s.mayMake(complete); err != nil {
		return 0, err
	}
	message, err := wire.MechanismToProto(m)
	if err != nil {
		return 0, err
	}
	ctx, cancel := t.context()
	defer cancel()
	answer, at, err := call(t, func(header *anyhsmv1.CallHeader) (*anyhsmv1.GenerateKeyResponse, error) {
		return t.client.Objects.GenerateKey(ctx, &anyhsmv1.GenerateKeyRequest{
			Header: header, Mechanism: message, Template: wire.AttributesToProto(template),
		})
	})
	if err != nil {
		return 0, s.remember(err)
	}
	return first(s.receive(at, answer, answer.GetKey()))
}

// GenerateKeyPair is C_GenerateKeyPair.
func (s *Session) GenerateKeyPair(m cryptoki.Mechanism, public, private cryptoki.Attributes) (pub, priv uint64, err error) {
	t := s.token
	if err := t.check(m, cryptoki.CKF_GENERATE_KEY_PAIR); err != nil {
		return 0, 0, err
	}
	private = t.publicByDefault(private)
	completePublic, completePrivate, err := object.NewKeyPair(m, public, private)
	if err != nil {
		return 0, 0, err
	}
	if err := s.mayMake(completePublic); err != nil {
		return 0, 0, err
	}
	if err := s.mayMake(completePrivate); err != nil {
		return 0, 0, err
	}
	message, err := wire.MechanismToProto(m)
	if err != nil {
		return 0, 0, err
	}
	ctx, cancel := t.context()
	defer cancel()
	answer, at, err := call(t, func(header *anyhsmv1.CallHeader) (*anyhsmv1.GenerateKeyPairResponse, error) {
		return t.client.Objects.GenerateKeyPair(ctx, &anyhsmv1.GenerateKeyPairRequest{
			Header: header, Mechanism: message,
			PublicTemplate: wire.AttributesToProto(public), PrivateTemplate: wire.AttributesToProto(private),
		})
	})
	if err != nil {
		return 0, 0, s.remember(err)
	}
	handles, err := s.receive(at, answer, answer.GetPublicKey(), answer.GetPrivateKey())
	if err != nil {
		return 0, 0, err
	}
	return handles[0], handles[1], nil
}

// DeriveKey is C_DeriveKey.
func (s *Session) DeriveKey(m cryptoki.Mechanism, base uint64, template cryptoki.Attributes) (uint64, error) {
	t := s.token
	ctx, cancel := t.context()
	defer cancel()
	key, err := t.useKey(ctx, base)
	if err != nil {
		return 0, s.remember(err)
	}
	if err := t.check(m, cryptoki.CKF_DERIVE); err != nil {
		return 0, err
	}
	if err := mechanism.CheckKey(m, cryptoki.CKF_DERIVE, key.Attributes); err != nil {
		return 0, err
	}
	template = t.publicByDefault(template)
	complete, err := object.New(object.Derive, m.Type, template)
	if err != nil {
		return 0, err
	}
	if err := s.mayMake(complete); err != nil {
		return 0, err
	}
	message, err := wire.MechanismToProto(m)
	if err != nil {
		return 0, err
	}
	answer, at, err := call(t, func(header *anyhsmv1.CallHeader) (*anyhsmv1.DeriveKeyResponse, error) {
		return t.client.Objects.DeriveKey(ctx, &anyhsmv1.DeriveKeyRequest{
			Header: header, Mechanism: message, BaseKey: key.reference(), Template: wire.AttributesToProto(template),
		})
	})
	if err != nil {
		return 0, s.remember(err)
	}
	return first(s.receive(at, answer, answer.GetKey()))
}
