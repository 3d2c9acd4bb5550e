package keystore

import (
	"context"
	"database/sql"
)

// A reference that is retired is not used, but its key is still where it was, and with provider software that is the
// store itself. It has a negative rank, so that all that looks for references to use passes it by, and all that asks
// whether a provider's key is known finds it.

// Retired returns the references of an object that are not used any more, the one retired last first.
func (r *Reader) Retired(ctx context.Context, object uint64) ([]KeyReference, error) {
	return all(ctx, r, `SELECT provider, ref, mechanisms FROM key_references WHERE object_id = ? AND rank < 0 ORDER BY rank`, []any{object},
		func(rows *sql.Rows) (one KeyReference, err error) {
			var mechanisms []byte
			err = rows.Scan(&one.Provider, &one.Ref, &mechanisms)
			one.Mechanisms = parseMechanisms(mechanisms)
			return one, err
		})
}

// Retire makes these the references that an object does not use any more, the one retired last first. Those among them
// that it uses it keeps using: take them out with PutReferences or RemoveReference.
func (tx *Tx) Retire(object uint64, references ...KeyReference) error {
	if err := tx.exec(`DELETE FROM key_references WHERE object_id = ? AND rank < 0`, object); err != nil {
		return err
	}
	for i, one := range references {
		if err := tx.insertReference(object, i-len(references), one); err != nil {
			return err
		}
	}
	return nil
}
