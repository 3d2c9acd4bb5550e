package module

import (
	"strings"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// InitToken is C_InitToken: it makes the token of the free slot, or wipes and renames one with its SO's PIN. The label
// may be padded with blanks, as CK_TOKEN_INFO has it.
func (m *Module) InitToken(id uint64, pin []byte, label string) error {
	found, err := m.slot(id)
	if err != nil {
		return err
	}
	if all, _ := found.token.Sessions(); all > 0 {
		return cryptoki.CKR_SESSION_EXISTS
	}
	found.token.ForgetPINs()
	ctx, cancel := m.client.Call()
	defer cancel()
	answer, err := m.client.Tokens.InitToken(ctx, &anyhsmv1.InitTokenRequest{
		SlotId: id, SoPin: pin, Label: strings.TrimRight(label, " "),
	})
	if err != nil {
		// A wrong PIN shows in the token's flags.
		m.slots.stale()
		return err
	}
	if s := answer.GetSlot(); s.GetId() == id {
		m.slots.mu.Lock()
		m.slots.known[id] = m.merge(s, found.facts.Mechanisms)
		m.slots.mu.Unlock()
	}
	// There is another free slot now.
	m.slots.stale()
	return nil
}
