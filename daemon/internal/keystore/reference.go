package keystore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"slices"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// KeyReference says where a key is: in which provider and under which name of the provider's own.
type KeyReference struct {
	Provider string
	Ref      []byte
	// Mechanisms are those that this reference is for, where the provider's key does less than the object: a key that
	// does PSS alone. Nil for all that the provider does.
	Mechanisms []cryptoki.MechanismType
}

// Same tells whether two references name one key.
func (k KeyReference) Same(other KeyReference) bool {
	return k.Provider == other.Provider && bytes.Equal(k.Ref, other.Ref)
}

// References returns where the key of an object is, the one of rank 0 first; none for objects that are no private or
// secret keys.
func (o *Object) References() []KeyReference {
	if o.Provider == "" {
		return nil
	}
	return append([]KeyReference{{Provider: o.Provider, Ref: o.Ref, Mechanisms: o.Mechanisms}}, o.Replicas...)
}

func (o *Object) setReferences(references []KeyReference) {
	o.Provider, o.Ref, o.Mechanisms, o.Replicas = "", nil, nil, nil
	if len(references) > 0 {
		first := references[0]
		o.Provider, o.Ref, o.Mechanisms = first.Provider, first.Ref, first.Mechanisms
		o.Replicas = slices.Clone(references[1:])
	}
}

// replicas reads the references from rank 1 on of the objects that a condition selects, by the objects' ids.
func (r *Reader) replicas(ctx context.Context, where string, args []any) (map[uint64][]KeyReference, error) {
	type row struct {
		object    uint64
		reference KeyReference
	}
	rows, err := all(ctx, r, `SELECT object_id, provider, ref, mechanisms FROM key_references WHERE rank > 0 AND object_id IN (
		SELECT o.id FROM objects o JOIN tokens t ON t.id = o.token_id `+where+`) ORDER BY object_id, rank`, args,
		func(rows *sql.Rows) (found row, err error) {
			var mechanisms []byte
			err = rows.Scan(&found.object, &found.reference.Provider, &found.reference.Ref, &mechanisms)
			found.reference.Mechanisms = parseMechanisms(mechanisms)
			return found, err
		})
	found := map[uint64][]KeyReference{}
	for _, one := range rows {
		found[one.object] = append(found[one.object], one.reference)
	}
	return found, err
}

// RefHash is what a key reference is found by.
func RefHash(ref []byte) []byte {
	sum := sha256.Sum256(ref)
	return sum[:]
}

// ObjectByRefHash returns the object that has a key reference, by RefHash; fault.ObjectHandleInvalid if none has it.
func (r *Reader) ObjectByRefHash(ctx context.Context, provider string, hash []byte) (Object, error) {
	return r.object(ctx, `WHERE o.id = (SELECT MIN(object_id) FROM key_references WHERE provider = ? AND ref_hash = ?)`, provider, hash)
}

// ObjectsIn returns objects that have a key in a provider, ascending by id, after one of them.
func (r *Reader) ObjectsIn(ctx context.Context, provider string, after uint64, limit int) ([]Object, error) {
	return r.objects(ctx, `WHERE o.id > ? AND EXISTS (SELECT 1 FROM key_references x WHERE x.object_id = o.id AND x.provider = ?) ORDER BY o.id LIMIT ?`,
		min(after, maxID-1), provider, limit)
}

// RefHashes returns the RefHash of the keys that objects have in a provider, each once and in order, after one of them.
func (r *Reader) RefHashes(ctx context.Context, provider string, after []byte, limit int) ([][]byte, error) {
	return all(ctx, r, `SELECT DISTINCT ref_hash FROM key_references WHERE provider = ? AND ref_hash > ? ORDER BY ref_hash LIMIT ?`,
		[]any{provider, present(after), limit}, func(row *sql.Rows) (hash []byte, err error) {
			err = row.Scan(&hash)
			return hash, err
		})
}

// PutReferences makes these the references of an object, in their order; it sets Revision and raises the token's. The
// keys themselves are the caller's affair.
func (tx *Tx) PutReferences(o *Object, references ...KeyReference) error {
	if o.ID >= maxID {
		return errNoObject
	}
	for i, one := range references {
		if one.Provider == "" || slices.ContainsFunc(references[:i], one.Same) {
			return fault.New(fault.AlreadyExists, "the object has this key of provider %q already; give each key once", one.Provider)
		}
	}
	token, revision, err := tx.raise(o.Token)
	if err != nil {
		return err
	}
	n, err := tx.run(`UPDATE objects SET revision = ? WHERE id = ? AND token_id = ?`, revision, o.ID, token)
	if err == nil && n == 0 {
		err = errNoObject
	}
	if err != nil {
		return err
	}
	o.Revision = revision
	o.setReferences(references)
	if err := tx.exec(`DELETE FROM key_references WHERE object_id = ? AND rank >= 0`, o.ID); err != nil {
		return err
	}
	return tx.insertReferences(o.ID, references)
}

// AddReference gives an object another reference, after those that it has; fault.AlreadyExists if it has it. It sets
// the object's references and Revision and raises the token's.
func (tx *Tx) AddReference(o *Object, reference KeyReference) error {
	now, err := tx.Object(tx.ctx, o.Token, o.ID)
	if err != nil {
		return err
	}
	return tx.PutReferences(o, append(now.References(), reference)...)
}

// RemoveReference takes a reference from an object, and leaves the key where it is; fault.NotFound if the object does
// not have it, fault.Conflict if it is the only one. The next one moves up where it was the first.
func (tx *Tx) RemoveReference(o *Object, reference KeyReference) error {
	now, err := tx.Object(tx.ctx, o.Token, o.ID)
	if err != nil {
		return err
	}
	before := now.References()
	left := slices.DeleteFunc(slices.Clone(before), reference.Same)
	switch {
	case len(left) == len(before):
		return fault.New(fault.NotFound, "object %d has no such key in provider %s; look at its references", o.ID, reference.Provider)
	case len(left) == 0:
		return fault.New(fault.Conflict, "the key in provider %s is the only one of object %d; add another first, or destroy the object", reference.Provider, o.ID)
	}
	return tx.PutReferences(o, left...)
}

func (tx *Tx) insertReferences(object uint64, references []KeyReference) error {
	for rank, one := range references {
		if err := tx.insertReference(object, rank, one); err != nil {
			return err
		}
	}
	return nil
}

func (tx *Tx) insertReference(object uint64, rank int, one KeyReference) error {
	sum := sha256.Sum256(one.Ref)
	return tx.exec(`INSERT INTO key_references (object_id, rank, provider, ref, ref_hash, mechanisms) VALUES (?, ?, ?, ?, ?, ?)`,
		object, rank, one.Provider, present(one.Ref), sum[:], formatMechanisms(one.Mechanisms))
}

// SetRouting says by which policy one of an object's references is chosen, empty for the token's; it sets Revision and
// raises the token's.
func (tx *Tx) SetRouting(o *Object, routing string) error {
	if o.ID >= maxID {
		return errNoObject
	}
	token, revision, err := tx.raise(o.Token)
	if err != nil {
		return err
	}
	n, err := tx.run(`UPDATE objects SET routing = ?, revision = ? WHERE id = ? AND token_id = ?`, routing, revision, o.ID, token)
	if err == nil && n == 0 {
		err = errNoObject
	}
	o.Routing, o.Revision = routing, revision
	return err
}

// formatMechanisms writes mechanisms as CKA_ALLOWED_MECHANISMS does on the wire; nil for none.
func formatMechanisms(mechanisms []cryptoki.MechanismType) []byte {
	var b []byte
	for _, m := range mechanisms {
		b = binary.LittleEndian.AppendUint64(b, uint64(m))
	}
	return b
}

func parseMechanisms(b []byte) (mechanisms []cryptoki.MechanismType) {
	for ; len(b) >= 8; b = b[8:] {
		mechanisms = append(mechanisms, cryptoki.MechanismType(binary.LittleEndian.Uint64(b)))
	}
	return mechanisms
}
