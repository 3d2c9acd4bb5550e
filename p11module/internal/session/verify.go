package session

import (
	"runtime"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// verification is an active verification of a signature or MAC.
type verification struct {
	key       *Object
	mechanism cryptoki.Mechanism
	message   message
	updated   bool
}

// VerifyInit is C_VerifyInit.
func (s *Session) VerifyInit(m cryptoki.Mechanism, handle uint64) error {
	if err := vacant(&s.mu, &s.verify); err != nil {
		return err
	}
	key, err := s.keyFor(m, cryptoki.CKF_VERIFY, handle)
	if err != nil {
		return err
	}
	return start(s, &s.verify, &verification{
		key: key, mechanism: m, message: newMessage(m, cryptoki.CKF_VERIFY, key.Attributes),
	})
}

// Verify is C_Verify. It ends the operation whatever comes out.
func (s *Session) Verify(data, signature []byte) error {
	op, err := claim(s, &s.verify)
	if err != nil {
		return err
	}
	defer release(s, &s.verify, false)
	if op.updated {
		return cryptoki.CKR_OPERATION_ACTIVE
	}
	if err := op.message.add(data); err != nil {
		return err
	}
	return s.verifyMessage(op, signature)
}

// VerifyUpdate is C_VerifyUpdate.
func (s *Session) VerifyUpdate(data []byte) error {
	op, err := claim(s, &s.verify)
	if err != nil {
		return err
	}
	op.updated = true
	err = op.message.add(data)
	release(s, &s.verify, err == nil)
	return err
}

// VerifyFinal is C_VerifyFinal. It ends the operation whatever comes out.
func (s *Session) VerifyFinal(signature []byte) error {
	op, err := claim(s, &s.verify)
	if err != nil {
		return err
	}
	defer release(s, &s.verify, false)
	return s.verifyMessage(op, signature)
}

// verifyMessage verifies what was gathered: with public keys here, only MACs of secret keys that the module does not
// have at the daemon.
func (s *Session) verifyMessage(op *verification, signature []byte) error {
	if op.key.isLocal() {
		key, err := op.key.local()
		if err != nil {
			return err
		}
		defer runtime.KeepAlive(op.key)
		m, data := op.mechanism, op.message.sum()
		if op.message.hashed() {
			if m, data, err = mechanism.Reduce(m, data); err != nil {
				return err
			}
		}
		return key.Verify(m, data, signature)
	}
	m, err := wire.MechanismToProto(op.mechanism)
	if err != nil {
		return err
	}
	ctx, cancel := s.token.context()
	defer cancel()
	_, err = read(s.token, func(header *anyhsmv1.CallHeader) (*anyhsmv1.VerifyResponse, error) {
		return s.token.client.Crypto.Verify(ctx, &anyhsmv1.VerifyRequest{
			Header: header, Key: op.key.reference(), Mechanism: m, Data: op.message.sum(), Signature: signature,
		})
	})
	_, err = s.used(nil, err)
	return err
}
