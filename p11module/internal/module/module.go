// Package module is the state of the process between C_Initialize and C_Finalize: slots, tokens and the table of
// sessions.
package module

import (
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/p11module/internal/session"
)

// Module is an initialised library.
type Module struct{}

// Open is C_Initialize.
func Open(reserved string) (*Module, error) { return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED }

// Close is C_Finalize.
func (m *Module) Close() {}

// Info is C_GetInfo.
func (m *Module) Info() Info { return Info{} }

// SlotList is C_GetSlotList.
func (m *Module) SlotList(tokenPresent bool) ([]uint64, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// SlotInfo is C_GetSlotInfo.
func (m *Module) SlotInfo(slot uint64) (SlotInfo, error) {
	return SlotInfo{}, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// TokenInfo is C_GetTokenInfo.
func (m *Module) TokenInfo(slot uint64) (TokenInfo, error) {
	return TokenInfo{}, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// MechanismList is C_GetMechanismList.
func (m *Module) MechanismList(slot uint64) ([]cryptoki.MechanismType, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// MechanismInfo is C_GetMechanismInfo.
func (m *Module) MechanismInfo(slot uint64, t cryptoki.MechanismType) (MechanismInfo, error) {
	return MechanismInfo{}, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// InitToken is C_InitToken.
func (m *Module) InitToken(slot uint64, pin []byte, label string) error {
	return cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// WaitForSlotEvent is C_WaitForSlotEvent.
func (m *Module) WaitForSlotEvent(flags cryptoki.Flags) (uint64, error) {
	return 0, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// OpenSession is C_OpenSession.
func (m *Module) OpenSession(slot uint64, flags cryptoki.Flags) (uint64, error) {
	return 0, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// CloseSession is C_CloseSession.
func (m *Module) CloseSession(handle uint64) error { return cryptoki.CKR_FUNCTION_NOT_SUPPORTED }

// CloseAllSessions is C_CloseAllSessions.
func (m *Module) CloseAllSessions(slot uint64) error { return cryptoki.CKR_FUNCTION_NOT_SUPPORTED }

// Session finds a session by its handle: CKR_SESSION_HANDLE_INVALID if there is none.
func (m *Module) Session(handle uint64) (*session.Session, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}
