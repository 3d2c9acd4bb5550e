package session

import (
	"bytes"
	"hash"
	"runtime"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/object"
)

// digestion is an active digest. All of it happens in the module.
type digestion struct {
	hash      hash.Hash
	mechanism cryptoki.MechanismType
	updated   bool
	result    result
}

// DigestInit is C_DigestInit.
func (s *Session) DigestInit(m cryptoki.Mechanism) error {
	if err := vacant(&s.mu, &s.digest); err != nil {
		return err
	}
	if err := s.token.check(m, cryptoki.CKF_DIGEST); err != nil {
		return err
	}
	h, ok := mechanism.NewHash(m.Type)
	if !ok {
		return cryptoki.CKR_MECHANISM_INVALID
	}
	return start(s, &s.digest, &digestion{hash: h, mechanism: m.Type})
}

// Digest is C_Digest.
func (s *Session) Digest(data []byte, room int) (out []byte, n int, err error) {
	op, err := claim(s, &s.digest)
	if err != nil {
		return nil, 0, err
	}
	if op.updated {
		release(s, &s.digest, false)
		return nil, 0, cryptoki.CKR_OPERATION_ACTIVE
	}
	out, n, ended, err := op.result.deliver(room, data, op.hash.Size(), true, func() ([]byte, error) {
		op.hash.Reset()
		op.hash.Write(data)
		return op.hash.Sum(nil), nil
	})
	release(s, &s.digest, !ended)
	return out, n, err
}

// DigestUpdate is C_DigestUpdate.
func (s *Session) DigestUpdate(data []byte) error {
	op, err := claim(s, &s.digest)
	if err != nil {
		return err
	}
	op.updated = true
	op.hash.Write(data)
	release(s, &s.digest, true)
	return nil
}

// DigestKey is C_DigestKey: the value of a secret key that may be read goes into the digest.
func (s *Session) DigestKey(handle uint64) error {
	op, err := claim(s, &s.digest)
	if err != nil {
		return err
	}
	value, err := s.digestible(handle)
	if err == nil {
		op.updated = true
		op.hash.Write(value)
		clear(value)
	}
	release(s, &s.digest, err == nil)
	return err
}

func (s *Session) digestible(handle uint64) ([]byte, error) {
	ctx, cancel := s.token.context()
	defer cancel()
	key, err := s.token.useKey(ctx, handle)
	if err != nil {
		return nil, s.remember(err)
	}
	if key.class() != cryptoki.CKO_SECRET_KEY || !object.Readable(key.Attributes) {
		return nil, cryptoki.CKR_KEY_INDIGESTIBLE
	}
	secret := key.secret
	if len(secret) == 0 {
		if secret, err = s.secretValue(ctx, key); err != nil {
			return nil, s.remember(err)
		}
	}
	value := bytes.Clone(secret.Bytes(cryptoki.CKA_VALUE))
	runtime.KeepAlive(key)
	return value, nil
}

// DigestFinal is C_DigestFinal.
func (s *Session) DigestFinal(room int) (out []byte, n int, err error) {
	op, err := claim(s, &s.digest)
	if err != nil {
		return nil, 0, err
	}
	out, n, ended, err := op.result.deliver(room, nil, op.hash.Size(), true, func() ([]byte, error) {
		return op.hash.Sum(nil), nil
	})
	release(s, &s.digest, !ended)
	return out, n, err
}
