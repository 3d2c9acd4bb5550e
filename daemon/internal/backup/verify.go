package backup

import (
	"bytes"
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// page is how many objects are looked at together.
const page = 1000

// Verify looks at a whole store: that it is one of this root key, that each token's key and the certificate authority
// open and each object can be read, and that the audit's chain holds up to an authentic head.
func Verify(ctx context.Context, r *keystore.Reader, root *seal.Root) error {
	check, err := r.Meta(ctx, seal.MetaCheck)
	if err != nil {
		return err
	}
	if !bytes.Equal(check, root.Check()) {
		return fault.New(fault.StoreDamaged, "the store is not one of the root key %s; nothing was changed", seal.Fingerprint(root.Check()))
	}
	tokens, err := r.Tokens(ctx)
	if err != nil {
		return err
	}
	for _, token := range tokens {
		if err := verifyToken(ctx, r, root, token); err != nil {
			return fault.New(fault.StoreDamaged, "token %q: %w", token.Label, err)
		}
	}
	if _, err := r.Applications(ctx); err != nil {
		return err
	}
	if err := authn.Verify(ctx, r, root); err != nil {
		return err
	}
	report, err := audit.Verify(ctx, r, root)
	if err != nil {
		return err
	}
	if b := report.Break; b != nil {
		return fault.New(fault.StoreDamaged, "the audit is damaged at event %d: %s; nothing was changed", b.Sequence, b.Reason)
	}
	return nil
}

func verifyToken(ctx context.Context, r *keystore.Reader, root *seal.Root, token keystore.Token) error {
	if err := seal.VerifyToken(root, token.UID, token.SealedKey); err != nil {
		return err
	}
	query := keystore.ObjectQuery{Token: token.UID, Limit: page}
	for {
		objects, err := r.Objects(ctx, query)
		if err != nil || len(objects) == 0 {
			return err
		}
		query.AfterID = objects[len(objects)-1].ID
	}
}
