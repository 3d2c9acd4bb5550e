package keyservice

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// verifyAdopted is the name of keystore.VerifyAdopted.
const verifyAdopted = "adopted"

// SetVerification says which signatures of a token's keys are verified before they are answered: those of adopted keys, all
// or none. Nothing is changed if signatures is empty. It returns what holds.
func (s *Service) SetVerification(ctx context.Context, call Call, signatures string) (holds string, err error) {
	r := begin(call, "token.verify")
	defer func() {
		if r.event.Detail != "" || err != nil {
			s.end(ctx, r, &err)
		}
	}()
	a, err := s.admit(ctx, call, r)
	if err != nil {
		return "", err
	}
	switch holds = signatures; signatures {
	case "":
		if holds = a.token.VerifySignatures; holds == keystore.VerifyAdopted {
			holds = verifyAdopted
		}
		return holds, nil
	case verifyAdopted:
		signatures = keystore.VerifyAdopted
	case keystore.VerifyAll, keystore.VerifyNone:
	default:
		return "", fault.New(fault.InvalidInput, "%q says not what to verify; choose adopted, all or none", signatures)
	}
	r.event.Detail = "signatures " + holds
	_, err = s.change(ctx, call, r, &holds, func(tx *keystore.Tx) error {
		t, err := tx.Token(ctx, a.token.UID)
		if err != nil {
			return err
		}
		t.VerifySignatures = signatures
		return tx.UpdateToken(t)
	})
	return holds, err
}
