package keyservice

import (
	"context"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

const pending = cryptoki.CKR_FUNCTION_NOT_SUPPORTED

// ListSlots returns the slots that the caller may see.
func (s *Service) ListSlots(ctx context.Context, call Call, moduleVersion string) (Slots, error) {
	return Slots{}, pending
}

// InitToken makes the token of the free slot, or wipes and renames an existing one with its SO PIN.
func (s *Service) InitToken(ctx context.Context, call Call, slot uint64, soPIN []byte, label string) (Slot, error) {
	return Slot{}, pending
}

// InitPIN sets the user PIN; the ticket must be the SO's.
func (s *Service) InitPIN(ctx context.Context, call Call, pin []byte) (Token, Reply, error) {
	return Token{}, Reply{}, pending
}

// SetPIN changes the PIN of the role that is logged in, or the user's in a public session.
func (s *Service) SetPIN(ctx context.Context, call Call, oldPIN, newPIN []byte) (Token, Reply, error) {
	return Token{}, Reply{}, pending
}

// Login checks a PIN and returns a ticket that any replica accepts.
func (s *Service) Login(ctx context.Context, call Call, user cryptoki.UserType, pin []byte) (Login, Reply, error) {
	return Login{}, Reply{}, pending
}

// RenewTicket exchanges a ticket that is still valid for a fresh one.
func (s *Service) RenewTicket(ctx context.Context, call Call) (Login, Reply, error) {
	return Login{}, Reply{}, pending
}
