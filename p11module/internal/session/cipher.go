package session

import (
	"context"
	"runtime"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// cipher is an active encryption or decryption.
type cipher struct {
	key     *Object
	chain   chain
	updated bool
	result  result
	auth    authentication
}

// EncryptInit is C_EncryptInit.
func (s *Session) EncryptInit(m cryptoki.Mechanism, key uint64) error {
	return s.cipherInit(&s.encrypt, m, cryptoki.CKF_ENCRYPT, key)
}

// Encrypt is C_Encrypt.
func (s *Session) Encrypt(data []byte, room int) (out []byte, n int, err error) {
	return s.cipherOnce(&s.encrypt, data, room)
}

// EncryptUpdate is C_EncryptUpdate.
func (s *Session) EncryptUpdate(data []byte, room int) (out []byte, n int, err error) {
	return s.cipherUpdate(&s.encrypt, data, room)
}

// EncryptFinal is C_EncryptFinal.
func (s *Session) EncryptFinal(room int) (out []byte, n int, err error) {
	return s.cipherFinal(&s.encrypt, room)
}

// DecryptInit is C_DecryptInit.
func (s *Session) DecryptInit(m cryptoki.Mechanism, key uint64) error {
	return s.cipherInit(&s.decrypt, m, cryptoki.CKF_DECRYPT, key)
}

// Decrypt is C_Decrypt.
func (s *Session) Decrypt(data []byte, room int) (out []byte, n int, err error) {
	return s.cipherOnce(&s.decrypt, data, room)
}

// DecryptUpdate is C_DecryptUpdate.
func (s *Session) DecryptUpdate(data []byte, room int) (out []byte, n int, err error) {
	return s.cipherUpdate(&s.decrypt, data, room)
}

// DecryptFinal is C_DecryptFinal.
func (s *Session) DecryptFinal(room int) (out []byte, n int, err error) {
	return s.cipherFinal(&s.decrypt, room)
}

// keyFor does what all Init functions do: find the key, and check that token, mechanism and key go together.
func (s *Session) keyFor(m cryptoki.Mechanism, use cryptoki.Flags, handle uint64) (*Object, error) {
	ctx, cancel := s.token.context()
	defer cancel()
	key, err := s.token.useKey(ctx, handle)
	if err != nil {
		return nil, s.remember(err)
	}
	if err := s.token.check(m, use); err != nil {
		return nil, err
	}
	if err := mechanism.CheckKey(m, use, key.Attributes); err != nil {
		return nil, err
	}
	if key.isLocal() {
		return key, nil
	}
	// The providers' limits are no secret of C_Sign: the application can still choose another parameter.
	return key, s.remember(mechanism.CheckLimits(m, key.limits))
}

// authenticates tells whether each use of a key needs a login of its own.
func authenticates(key *Object) authentication {
	return authentication{needed: key.class() == cryptoki.CKO_PRIVATE_KEY && key.Attributes.Bool(cryptoki.CKA_ALWAYS_AUTHENTICATE)}
}

// authenticated takes the ticket for the one use of a key that needs a login of its own.
func (s *Session) authenticated(a *authentication) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.waits() {
		return nil, fault.New(fault.UserNotLoggedIn,
			"the key has CKA_ALWAYS_AUTHENTICATE; call C_Login with CKU_CONTEXT_SPECIFIC after the Init function")
	}
	ticket := a.ticket
	a.ticket = nil
	return ticket, nil
}

func (s *Session) cipherInit(x *slot[cipher], m cryptoki.Mechanism, use cryptoki.Flags, handle uint64) error {
	if err := vacant(&s.mu, x); err != nil {
		return err
	}
	key, err := s.keyFor(m, use, handle)
	if err != nil {
		return err
	}
	limit := mechanism.MaxInput(m, use, key.Attributes)
	return start(s, x, &cipher{key: key, chain: chain{m: m, use: use, limit: limit}, auth: authenticates(key)})
}

func (s *Session) cipherOnce(x *slot[cipher], data []byte, room int) ([]byte, int, error) {
	op, err := claim(s, x)
	if err != nil {
		return nil, 0, err
	}
	if op.updated {
		release(s, x, false)
		return nil, 0, cryptoki.CKR_OPERATION_ACTIVE
	}
	size, exact := mechanism.OutputSize(op.chain.m, op.chain.use, op.key.Attributes, len(data))
	out, n, ended, err := op.result.deliver(room, data, size, exact, func() ([]byte, error) {
		if len(data) > op.chain.limit {
			return nil, op.chain.lengthError()
		}
		return s.process(op)(op.chain.m, data, false)
	})
	release(s, x, !ended)
	return out, n, err
}

func (s *Session) cipherUpdate(x *slot[cipher], data []byte, room int) ([]byte, int, error) {
	op, err := claim(s, x)
	if err != nil {
		return nil, 0, err
	}
	op.result.drop()
	out, n, ended, err := op.result.deliver(room, data, op.chain.ready(len(data)), true, func() ([]byte, error) {
		op.updated = true
		return op.chain.update(data, s.process(op))
	})
	// A part that was delivered ends nothing.
	release(s, x, !ended || err == nil)
	return out, n, err
}

func (s *Session) cipherFinal(x *slot[cipher], room int) ([]byte, int, error) {
	op, err := claim(s, x)
	if err != nil {
		return nil, 0, err
	}
	size, exact := op.chain.rest(op.key.Attributes)
	out, n, ended, err := op.result.deliver(room, nil, size, exact, func() ([]byte, error) {
		return op.chain.final(s.process(op))
	})
	release(s, x, !ended)
	return out, n, err
}

// process performs the mechanism where the key is.
func (s *Session) process(op *cipher) process {
	if op.key.isLocal() {
		return func(m cryptoki.Mechanism, data []byte, more bool) ([]byte, error) {
			key, err := op.key.local()
			if err != nil {
				return nil, err
			}
			defer runtime.KeepAlive(op.key)
			if more && m.Type == cryptoki.CKM_AES_CBC_PAD {
				m.Type = cryptoki.CKM_AES_CBC
			}
			if op.chain.use == cryptoki.CKF_ENCRYPT {
				return key.Encrypt(m, data)
			}
			return key.Decrypt(m, data)
		}
	}
	return func(m cryptoki.Mechanism, data []byte, more bool) ([]byte, error) {
		message, err := wire.MechanismToProto(m)
		if err != nil {
			return nil, err
		}
		ticket, err := s.authenticated(&op.auth)
		if err != nil {
			return nil, err
		}
		ctx, cancel := s.token.context()
		defer cancel()
		if op.chain.use == cryptoki.CKF_ENCRYPT {
			return s.used(s.askEncrypt(ctx, &anyhsmv1.EncryptRequest{Key: op.key.reference(), Mechanism: message, Data: data, More: more}))
		}
		return s.used(s.askDecrypt(ctx, ticket, &anyhsmv1.DecryptRequest{Key: op.key.reference(), Mechanism: message, Data: data, More: more}))
	}
}

func (s *Session) askEncrypt(ctx context.Context, request *anyhsmv1.EncryptRequest) ([]byte, error) {
	answer, err := read(s.token, func(header *anyhsmv1.CallHeader) (*anyhsmv1.EncryptResponse, error) {
		request.Header = header
		return s.token.client.Crypto.Encrypt(ctx, request)
	})
	return answer.GetData(), err
}

func (s *Session) askDecrypt(ctx context.Context, ticket []byte, request *anyhsmv1.DecryptRequest) ([]byte, error) {
	answer, err := read(s.token, func(header *anyhsmv1.CallHeader) (*anyhsmv1.DecryptResponse, error) {
		header.ContextTicket = ticket
		request.Header = header
		return s.token.client.Crypto.Decrypt(ctx, request)
	})
	return answer.GetData(), err
}

// used learns from a failed use of a key: one that the daemon no longer has is no longer in the cache either.
func (s *Session) used(output []byte, err error) ([]byte, error) {
	if err == nil {
		if output == nil {
			output = []byte{}
		}
		return output, nil
	}
	if fault.Is(err, fault.KeyHandleInvalid) || fault.Is(err, fault.ObjectHandleInvalid) {
		s.token.cache.markStale()
	}
	return nil, s.remember(err)
}
