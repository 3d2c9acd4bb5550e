package keyservice

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/ticket"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// confirm wants a login for this one operation where the key is CKA_ALWAYS_AUTHENTICATE, and uses it up before the key
// is used: a ticket lost with a crash costs a PIN entry, a ticket used twice would cost the point of it. The standard
// asks for it at each signature and decryption.
//
// A retry of the same request with the same input is the same operation and is let through; the same request id with
// other input is not.
func (s *Service) confirm(ctx context.Context, a access, t target, m cryptoki.Mechanism, data []byte) error {
	if !t.Attributes.Bool(cryptoki.CKA_ALWAYS_AUTHENTICATE) {
		return nil
	}
	if len(a.call.ContextTicket) == 0 {
		return fault.New(fault.UserNotLoggedIn, "the key wants the PIN for each use; call C_Login with CKU_CONTEXT_SPECIFIC after the init call")
	}
	once, err := s.tickets.Open(a.call.ContextTicket, a.token.UID, a.owner)
	if err != nil {
		return err
	}
	if once.Role != ticket.Context || once.Epoch != a.token.User.Epoch {
		return fault.New(fault.UserNotLoggedIn, "this login is not one for a single operation, or the PIN was changed since; call C_Login with CKU_CONTEXT_SPECIFIC")
	}
	operation := fingerprint(once.ID, t.UID, m, data)
	change := keystore.Change{RequestID: a.call.RequestID, Application: a.owner}
	before, replayed, err := s.store.Change(ctx, change, func(tx *keystore.Tx) ([]byte, error) {
		return operation, tx.UseTicket(once.ID, once.Expires)
	})
	if err != nil && !fault.Is(err, fault.Conflict) {
		return err
	}
	if err != nil || replayed && subtle.ConstantTimeCompare(before, operation) != 1 {
		return fault.New(fault.UserNotLoggedIn, "the login for this operation was used already; call C_Login with CKU_CONTEXT_SPECIFIC for each use")
	}
	return nil
}

// fingerprint stands for one operation: ticket, key, mechanism and input.
func fingerprint(ticketID, object string, m cryptoki.Mechanism, data []byte) []byte {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(ticketID), []byte(object), fmt.Appendf(nil, "%d %#v", uint64(m.Type), m.Params), data} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	return h.Sum(nil)
}
