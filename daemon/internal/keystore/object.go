package keystore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"strings"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/wire"
)

const selectObjects = `SELECT o.id, o.uid, t.uid, o.attributes, o.revision, o.created, COALESCE(k.provider, ''), k.ref, k.mechanisms,
	o.routing, o.adopted, EXISTS (SELECT 1 FROM key_references m WHERE m.object_id = o.id AND m.rank > 0)
	FROM objects o JOIN tokens t ON t.id = o.token_id LEFT JOIN key_references k ON k.object_id = o.id AND k.rank = 0 `

// longest is the longest value that is indexed as it is.
const longest = 128

// searchable is what stands in the columns for searching: a long value's hash, because an index takes no long ones.
func searchable(value []byte, ok bool) any {
	switch {
	case !ok:
		return nil
	case len(value) > longest:
		sum := sha256.Sum256(value)
		return sum[:]
	}
	return present(value)
}

func (r *Reader) objects(ctx context.Context, where string, args ...any) ([]Object, error) {
	replicated := false
	objects, err := all(ctx, r, selectObjects+where, args, func(row *sql.Rows) (o Object, err error) {
		var attributes, mechanisms sql.RawBytes
		var created int64
		var more bool
		if err := row.Scan(&o.ID, &o.UID, &o.Token, &attributes, &o.Revision, &created, &o.Provider, &o.Ref, &mechanisms, &o.Routing, &o.Adopted, &more); err != nil {
			return o, err
		}
		o.Created, o.Mechanisms = moment(created), parseMechanisms(mechanisms)
		replicated = replicated || more
		if o.Attributes, err = wire.UnmarshalAttributes(attributes); err != nil {
			return o, fault.New(fault.StoreDamaged, "the attributes of object %d in the store %s are damaged: %w; restore the store from a backup",
				o.ID, r.engine.name(), err)
		}
		return o, nil
	})
	if err != nil || !replicated {
		return objects, err
	}
	// Few objects have more than one reference: the others cost no second query.
	replicas, err := r.replicas(ctx, where, args)
	for i := range objects {
		objects[i].Replicas = replicas[objects[i].ID]
	}
	return objects, err
}

func (r *Reader) object(ctx context.Context, where string, args ...any) (Object, error) {
	objects, err := r.objects(ctx, where, args...)
	if err != nil {
		return Object{}, err
	}
	if len(objects) == 0 {
		return Object{}, errNoObject
	}
	return objects[0], nil
}

var errNoObject = fault.New(fault.ObjectHandleInvalid, "there is no such object, or it was deleted; look for it again")

// Object returns an object of a token; fault.ObjectHandleInvalid if there is none.
func (r *Reader) Object(ctx context.Context, token string, id uint64) (Object, error) {
	if id >= maxID {
		return Object{}, errNoObject
	}
	return r.object(ctx, `WHERE o.id = ? AND t.uid = ?`, id, token)
}

// ObjectByUID returns an object by its uid; fault.ObjectHandleInvalid if there is none.
func (r *Reader) ObjectByUID(ctx context.Context, uid string) (Object, error) {
	return r.object(ctx, `WHERE o.uid = ?`, uid)
}

// ObjectByRef returns the object that has a key reference; fault.ObjectHandleInvalid if none has it.
func (r *Reader) ObjectByRef(ctx context.Context, provider string, ref []byte) (Object, error) {
	return r.ObjectByRefHash(ctx, provider, RefHash(ref))
}

// Objects returns the objects that a query selects.
func (r *Reader) Objects(ctx context.Context, query ObjectQuery) ([]Object, error) {
	var where strings.Builder
	where.WriteString(`WHERE o.token_id = (SELECT id FROM tokens WHERE uid = ?)`)
	args := []any{query.Token}
	also := func(condition string, arg any) {
		where.WriteString(" AND ")
		where.WriteString(condition)
		args = append(args, arg)
	}
	if query.AfterID > 0 {
		also("o.id > ?", min(query.AfterID, maxID-1))
	}
	if query.Since > 0 {
		also("o.revision > ?", signed(query.Since))
	}
	if query.Public {
		also("o.private = ?", false)
	}
	if query.Class != nil {
		also("o.class = ?", int64(*query.Class))
	}
	if query.KeyType != nil {
		also("o.key_type = ?", int64(*query.KeyType))
	}
	if query.Label != nil {
		also("o.label = ?", searchable([]byte(*query.Label), true))
	}
	if query.KeyID != nil {
		also("o.cka_id = ?", searchable(query.KeyID, true))
	}
	where.WriteString(" ORDER BY o.id")
	if query.Limit > 0 {
		where.WriteString(" LIMIT ?")
		args = append(args, query.Limit)
	}
	return r.objects(ctx, where.String(), args...)
}

// signed keeps numbers that come from outside within what a database holds.
func signed(n uint64) int64 { return int64(min(n, 1<<63-1)) }

// Removed returns the ids of objects that were deleted after a revision. It is not complete if the revision is so old
// that some were forgotten: then read all objects anew.
func (r *Reader) Removed(ctx context.Context, token string, since uint64) (ids []uint64, complete bool, err error) {
	var id, forgotten uint64
	found, err := r.one(ctx, `SELECT id, forgotten FROM tokens WHERE uid = ?`, []any{token}, &id, &forgotten)
	if err != nil {
		return nil, false, err
	}
	if !found {
		return nil, false, notFound("token", token)
	}
	ids, err = all(ctx, r, `SELECT object_id FROM removed WHERE token_id = ? AND revision > ? ORDER BY object_id`, []any{id, signed(since)},
		func(row *sql.Rows) (id uint64, err error) {
			err = row.Scan(&id)
			return id, err
		})
	return ids, since >= forgotten, err
}

// HoldsMore tells whether a token has more objects than so many, in a time that depends on that number alone.
func (r *Reader) HoldsMore(ctx context.Context, token string, objects int) (bool, error) {
	var id uint64
	return r.one(ctx, `SELECT id FROM objects WHERE token_id = (SELECT id FROM tokens WHERE uid = ?) ORDER BY id LIMIT 1 OFFSET ?`,
		[]any{token, objects}, &id)
}

// CountObjects counts a token's objects, all objects if token is empty.
func (r *Reader) CountObjects(ctx context.Context, token string) (uint64, error) {
	query, args := `SELECT COUNT(*) FROM objects`, []any(nil)
	if token != "" {
		query, args = `SELECT COUNT(*) FROM objects WHERE token_id = (SELECT id FROM tokens WHERE uid = ?)`, []any{token}
	}
	var count uint64
	_, err := r.one(ctx, query, args, &count)
	return count, err
}

// CreateObject adds an object; it sets ID, Revision and Created, UID where empty, and raises the token's revision.
func (tx *Tx) CreateObject(o *Object) error {
	if o.UID != "" {
		if given, err := tx.Abandoned(tx.ctx, o.UID); err != nil {
			return err
		} else if given {
			return ErrAbandoned
		}
	}
	token, revision, err := tx.raise(o.Token)
	if err != nil {
		return err
	}
	id, err := tx.number("object")
	if err != nil {
		return err
	}
	o.ID, o.Revision, o.Created = id, revision, tx.now
	if o.UID == "" {
		o.UID = newUID()
	}
	if err := tx.exec(`INSERT INTO objects (private, class, key_type, label, cka_id, attributes, revision, id, uid, token_id, created)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, append(o.columns(), o.ID, o.UID, token, micro(o.Created))...); err != nil {
		return err
	}
	if o.Routing != "" {
		if err := tx.exec(`UPDATE objects SET routing = ? WHERE id = ?`, o.Routing, o.ID); err != nil {
			return err
		}
	}
	if o.Adopted {
		if err := tx.exec(`UPDATE objects SET adopted = ? WHERE id = ?`, true, o.ID); err != nil {
			return err
		}
	}
	return tx.insertReferences(o.ID, o.References())
}

// UpdateObject writes an object's attributes and its key reference of rank 0; it sets Revision and raises the token's.
func (tx *Tx) UpdateObject(o *Object) error {
	if o.ID >= maxID {
		return errNoObject
	}
	token, revision, err := tx.raise(o.Token)
	if err != nil {
		return err
	}
	o.Revision = revision
	n, err := tx.run(`UPDATE objects SET private = ?, class = ?, key_type = ?, label = ?, cka_id = ?, attributes = ?, revision = ?
		WHERE id = ? AND token_id = ?`, append(o.columns(), o.ID, token)...)
	if err != nil {
		return err
	}
	if n == 0 {
		return errNoObject
	}
	return tx.putReference(o)
}

// DeleteObject deletes an object; fault.ObjectHandleInvalid if it is not there.
func (tx *Tx) DeleteObject(token string, id uint64) error {
	if id >= maxID {
		return errNoObject
	}
	tokenID, revision, err := tx.raise(token)
	if err != nil {
		return err
	}
	n, err := tx.run(`DELETE FROM objects WHERE id = ? AND token_id = ?`, id, tokenID)
	if err != nil {
		return err
	}
	if n == 0 {
		return errNoObject
	}
	return tx.exec(`INSERT INTO removed (object_id, token_id, revision) VALUES (?, ?, ?)`, id, tokenID, revision)
}

// columns are the values of the columns that follow from the attributes, and the revision.
func (o *Object) columns() []any {
	var class, keyType any
	if c, ok := o.Attributes.Class(); ok {
		class = int64(c)
	}
	if k, ok := o.Attributes.KeyType(); ok {
		keyType = int64(k)
	}
	return []any{
		o.Attributes.Bool(cryptoki.CKA_PRIVATE), class, keyType, searchable(o.Attributes.Get(cryptoki.CKA_LABEL)),
		searchable(o.Attributes.Get(cryptoki.CKA_ID)), present(wire.MarshalAttributes(o.Attributes)), o.Revision,
	}
}

func (tx *Tx) putReference(o *Object) error {
	if o.Provider == "" {
		return tx.exec(`DELETE FROM key_references WHERE object_id = ? AND rank = 0`, o.ID)
	}
	sum := sha256.Sum256(o.Ref)
	return tx.exec(`INSERT INTO key_references (object_id, rank, provider, ref, ref_hash, mechanisms) VALUES (?, 0, ?, ?, ?, ?)
		ON CONFLICT (object_id, rank) DO UPDATE SET provider = excluded.provider, ref = excluded.ref, ref_hash = excluded.ref_hash,
		mechanisms = excluded.mechanisms`, o.ID, o.Provider, present(o.Ref), sum[:], formatMechanisms(o.Mechanisms))
}
