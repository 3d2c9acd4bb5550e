package keystore

import (
	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// ResealTokens replaces the sealed key of each token by what reseal makes of it. Revisions stay: nothing that an
// application sees has changed.
func (tx *Tx) ResealTokens(reseal func(token string, sealed []byte) ([]byte, error)) (count int, err error) {
	tx.touched, tx.stale = true, true
	tokens, err := tx.Tokens(tx.ctx)
	if err != nil {
		return 0, err
	}
	for _, t := range tokens {
		sealed, err := reseal(t.UID, t.SealedKey)
		if err != nil {
			return 0, err
		}
		if err := tx.exec(`UPDATE tokens SET sealed_key = ? WHERE uid = ?`, sealed, t.UID); err != nil {
			return 0, err
		}
	}
	return len(tokens), nil
}

// Reauthenticate gives the audit's head the MAC of another key, which also that of this transaction's event will have.
// A head that is not authentic under the key before is refused.
func (tx *Tx) Reauthenticate(next audit.Authenticator) error {
	head, err := tx.AuditHead(tx.ctx)
	if err != nil {
		return err
	}
	if tx.auth != nil && head.Sequence > 0 && !head.Authentic(tx.auth) {
		return fault.New(fault.StoreDamaged, "the head of the audit in the store %s was changed from outside; run: anyhsm audit verify, and restore the store from a backup", tx.engine.name())
	}
	tx.auth = next
	if head.Sequence == 0 {
		return nil
	}
	return tx.PutMeta(metaAuditHead, audit.Append(head, nil, tx.now, next).Encode())
}
