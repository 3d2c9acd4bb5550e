package session

import (
	"encoding"
	"encoding/binary"
	"hash"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// A saved state is a version, the mechanism, whether data went in, and the hash's own state.
const (
	stateVersion = 1
	stateHeader  = 1 + 8 + 1
)

// SaveState is C_GetOperationState. Digests can be saved: Java clones its digests so, and with our provider in the
// first place its TLS cannot do without. What a key works on stays where the key is.
func (s *Session) SaveState(room int) (out []byte, n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keyed := s.encrypt.op != nil || s.decrypt.op != nil || s.sign.op != nil || s.verify.op != nil
	op := s.digest.op
	switch {
	case keyed:
		return nil, 0, cryptoki.CKR_STATE_UNSAVEABLE
	case op == nil:
		return nil, 0, cryptoki.CKR_OPERATION_NOT_INITIALIZED
	case s.digest.busy:
		return nil, 0, cryptoki.CKR_OPERATION_ACTIVE
	}
	state, ok := op.save()
	switch {
	case !ok:
		return nil, 0, cryptoki.CKR_STATE_UNSAVEABLE
	case room == Query:
		return nil, len(state), nil
	case room < len(state):
		return nil, len(state), cryptoki.CKR_BUFFER_TOO_SMALL
	}
	return state, len(state), nil
}

// RestoreState is C_SetOperationState. Operations that are active end.
func (s *Session) RestoreState(state []byte, encryptionKey, authenticationKey uint64) error {
	op, ok := restore(state)
	switch {
	case !ok:
		return cryptoki.CKR_SAVED_STATE_INVALID
	case encryptionKey != 0 || authenticationKey != 0:
		return cryptoki.CKR_KEY_NOT_NEEDED
	}
	if err := s.token.check(cryptoki.Mechanism{Type: op.mechanism}, cryptoki.CKF_DIGEST); err != nil {
		return cryptoki.CKR_SAVED_STATE_INVALID
	}
	if err := s.Cancel(^cryptoki.Flags(0)); err != nil {
		return err
	}
	return start(s, &s.digest, op)
}

func (op *digestion) save() ([]byte, bool) {
	saver, ok := op.hash.(encoding.BinaryAppender)
	if !ok {
		return nil, false
	}
	state := binary.LittleEndian.AppendUint64([]byte{stateVersion}, uint64(op.mechanism))
	updated := byte(0)
	if op.updated {
		updated = 1
	}
	state, err := saver.AppendBinary(append(state, updated))
	return state, err == nil
}

func restore(state []byte) (*digestion, bool) {
	if len(state) < stateHeader || state[0] != stateVersion || state[stateHeader-1] > 1 {
		return nil, false
	}
	m := cryptoki.MechanismType(binary.LittleEndian.Uint64(state[1:]))
	h, ok := mechanism.NewHash(m)
	if !ok {
		return nil, false
	}
	loader, ok := h.(interface {
		hash.Hash
		encoding.BinaryUnmarshaler
	})
	if !ok || loader.UnmarshalBinary(state[stateHeader:]) != nil {
		return nil, false
	}
	return &digestion{hash: h, mechanism: m, updated: state[stateHeader-1] == 1}, true
}
