package session

import (
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// InitPIN is C_InitPIN: the SO sets the user's PIN.
func (s *Session) InitPIN(pin []byte) error {
	if s.state() != cryptoki.CKS_RW_SO_FUNCTIONS {
		return cryptoki.CKR_USER_NOT_LOGGED_IN
	}
	ctx, cancel := s.token.context()
	defer cancel()
	_, err := read(s.token, func(header *anyhsmv1.CallHeader) (*anyhsmv1.InitPinResponse, error) {
		return s.token.client.Tokens.InitPin(ctx, &anyhsmv1.InitPinRequest{Header: header, Pin: pin})
	})
	s.token.ForgetPINs()
	s.token.changed()
	return s.remember(err)
}

// SetPIN is C_SetPIN: the SO's PIN if the SO is logged in, else the user's.
func (s *Session) SetPIN(old, pin []byte) error {
	if !s.writes {
		return cryptoki.CKR_SESSION_READ_ONLY
	}
	ctx, cancel := s.token.context()
	defer cancel()
	_, err := read(s.token, func(header *anyhsmv1.CallHeader) (*anyhsmv1.SetPinResponse, error) {
		return s.token.client.Tokens.SetPin(ctx, &anyhsmv1.SetPinRequest{Header: header, OldPin: old, NewPin: pin})
	})
	s.token.ForgetPINs()
	s.token.changed()
	return s.remember(err)
}
