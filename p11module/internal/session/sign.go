package session

import (
	"runtime"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// signature is an active signature or MAC.
type signature struct {
	key       *Object
	mechanism cryptoki.Mechanism
	message   message
	updated   bool
	result    result
	auth      authentication
}

// SignInit is C_SignInit. It checks everything that can be checked without the daemon, and asks it nothing.
func (s *Session) SignInit(m cryptoki.Mechanism, handle uint64) error {
	if err := vacant(&s.mu, &s.sign); err != nil {
		return err
	}
	key, err := s.keyFor(m, cryptoki.CKF_SIGN, handle)
	if err != nil {
		return err
	}
	return start(s, &s.sign, &signature{
		key: key, mechanism: m, message: newMessage(m, cryptoki.CKF_SIGN, key.Attributes), auth: authenticates(key),
	})
}

// Sign is C_Sign: one call to the daemon.
func (s *Session) Sign(data []byte, room int) (out []byte, n int, err error) {
	op, err := claim(s, &s.sign)
	if err != nil {
		return nil, 0, err
	}
	if op.updated {
		release(s, &s.sign, false)
		return nil, 0, cryptoki.CKR_OPERATION_ACTIVE
	}
	size, exact := mechanism.OutputSize(op.mechanism, cryptoki.CKF_SIGN, op.key.Attributes, len(data))
	out, n, ended, err := op.result.deliver(room, data, size, exact, func() ([]byte, error) {
		// A result for other data may have been kept before.
		op.message = newMessage(op.mechanism, cryptoki.CKF_SIGN, op.key.Attributes)
		if err := op.message.add(data); err != nil {
			return nil, err
		}
		return s.signMessage(op)
	})
	release(s, &s.sign, !ended)
	return out, n, err
}

// SignUpdate is C_SignUpdate.
func (s *Session) SignUpdate(data []byte) error {
	op, err := claim(s, &s.sign)
	if err != nil {
		return err
	}
	op.updated = true
	op.result.drop()
	err = op.message.add(data)
	release(s, &s.sign, err == nil)
	return err
}

// SignFinal is C_SignFinal: one call to the daemon.
func (s *Session) SignFinal(room int) (out []byte, n int, err error) {
	op, err := claim(s, &s.sign)
	if err != nil {
		return nil, 0, err
	}
	size, exact := mechanism.OutputSize(op.mechanism, cryptoki.CKF_SIGN, op.key.Attributes, len(op.message.data))
	out, n, ended, err := op.result.deliver(room, nil, size, exact, func() ([]byte, error) { return s.signMessage(op) })
	release(s, &s.sign, !ended)
	return out, n, err
}

// signMessage signs what was gathered, where the key is.
func (s *Session) signMessage(op *signature) ([]byte, error) {
	if op.key.isLocal() {
		key, err := op.key.local()
		if err != nil {
			return nil, err
		}
		defer runtime.KeepAlive(op.key)
		return key.Sign(op.mechanism, op.message.sum())
	}
	m, err := wire.MechanismToProto(op.mechanism)
	if err != nil {
		return nil, err
	}
	ticket, err := s.authenticated(&op.auth)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.token.context()
	defer cancel()
	answer, err := read(s.token, func(header *anyhsmv1.CallHeader) (*anyhsmv1.SignResponse, error) {
		header.ContextTicket = ticket
		return s.token.client.Crypto.Sign(ctx, &anyhsmv1.SignRequest{
			Header: header, Key: op.key.reference(), Mechanism: m, Data: op.message.sum(), Hashed: op.message.hashed(),
		})
	})
	return s.used(answer.GetSignature(), err)
}
