package keyservice

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// A change that is asked for twice with one request id is done once: calls of one id take turns, a call looks first
// whether its id is on record and answers what is recorded there. The provider's work comes before the one transaction
// that makes the change, records the id and writes the audit.

// answer is what the store keeps of a change, so that a repeated request gets the same answer.
type answer struct {
	// Operation is that of the audit event: a request id is not good for another one.
	Operation string
	Result    json.RawMessage
}

// replay returns the answer that is on record for the request id, into result, and whether there is one. It needs no
// token, so that a change which took the token or the PIN away can be asked for again as well.
func (s *Service) replay(ctx context.Context, call Call, r *record, result any) (bool, error) {
	if call.RequestID == "" {
		return false, nil
	}
	response, replayed, err := s.store.Request(ctx, call.RequestID, owner(call.Caller))
	if err != nil || !replayed {
		return false, err
	}
	r.written = true
	return true, recall(response, r.event.Operation, call.RequestID, result)
}

// change makes a change in one transaction with its audit event and its answer. replayed: another call of the same
// request, through another replica perhaps, was faster, and result is its answer.
func (s *Service) change(ctx context.Context, call Call, r *record, result any, do func(tx *keystore.Tx) error) (replayed bool, err error) {
	event := r.event
	event.Outcome = outcomeOK
	change := keystore.Change{RequestID: call.RequestID, Application: owner(call.Caller), Event: event}
	response, replayed, err := s.store.Change(ctx, change, func(tx *keystore.Tx) ([]byte, error) {
		if err := do(tx); err != nil {
			return nil, err
		}
		encoded, err := json.Marshal(result)
		if err != nil {
			return nil, err
		}
		return json.Marshal(answer{Operation: event.Operation, Result: encoded})
	})
	if err != nil {
		return false, err
	}
	r.written = true
	if !replayed {
		return false, nil
	}
	return true, recall(response, event.Operation, call.RequestID, result)
}

func recall(response []byte, operation, requestID string, result any) error {
	var a answer
	if err := json.Unmarshal(response, &a); err != nil || a.Operation != operation {
		return errOtherRequest(requestID)
	}
	if err := json.Unmarshal(a.Result, result); err != nil {
		return fault.New(fault.StoreDamaged, "the answer on record for request %s cannot be read: %w; ask again with a new request id", requestID, err)
	}
	return nil
}

func errOtherRequest(requestID string) error {
	return fault.New(fault.InvalidInput, "the request id %s was used for another request; use a new one for each", requestID)
}

// identify gives a new object or token its uid. It follows from the request, so that a repeated one makes the same key
// in a provider that keeps keys by this name; without a request id it is random.
func identify(call Call, token, role string) string {
	if call.RequestID == "" {
		var uid [16]byte
		rand.Read(uid[:]) // never fails: the runtime ends the process instead
		return hex.EncodeToString(uid[:])
	}
	h := sha256.New()
	for _, part := range []string{owner(call.Caller), token, call.RequestID, role} {
		h.Write(appendField(nil, []byte(part)))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
