package keystore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"

	"github.com/anyhsm/anyhsm/internal/fault"
)

const tokenColumns = `id, uid, label, serial, provider, no_login, sealed_key, so_hash, so_failed, so_epoch, user_hash, user_failed, user_epoch, revision, created, routing, rules, verify_signatures`

func (t *Token) columns(created *int64) []any {
	return []any{
		&t.ID, &t.UID, &t.Label, &t.Serial, &t.Provider, &t.NoLogin, &t.SealedKey, &t.SO.Hash, &t.SO.Failed, &t.SO.Epoch,
		&t.User.Hash, &t.User.Failed, &t.User.Epoch, &t.Revision, created, &t.Routing, &t.Rules, &t.VerifySignatures,
	}
}

func (r *Reader) tokens(ctx context.Context, where string, args ...any) ([]Token, error) {
	return all(ctx, r, `SELECT `+tokenColumns+` FROM tokens `+where+` ORDER BY id`, args, func(row *sql.Rows) (t Token, err error) {
		var created int64
		err = row.Scan(t.columns(&created)...)
		t.Created = moment(created)
		return t, err
	})
}

func (r *Reader) token(ctx context.Context, name, where string, args ...any) (Token, error) {
	tokens, err := r.tokens(ctx, where, args...)
	switch {
	case err != nil:
		return Token{}, err
	case len(tokens) == 0:
		return Token{}, notFound("token", name)
	case len(tokens) > 1:
		return Token{}, fault.New(fault.Conflict, "%d tokens are called %q; name the one that you mean by its uid", len(tokens), name)
	}
	return tokens[0], nil
}

// Tokens returns all tokens by id.
func (r *Reader) Tokens(ctx context.Context) ([]Token, error) { return r.tokens(ctx, "") }

// Token returns a token by its uid; fault.NotFound if there is none.
func (r *Reader) Token(ctx context.Context, uid string) (Token, error) {
	return r.token(ctx, uid, `WHERE uid = ?`, uid)
}

// TokenBySlot returns a token by its slot id; fault.NotFound if there is none.
func (r *Reader) TokenBySlot(ctx context.Context, slot uint64) (Token, error) {
	if slot >= maxID {
		return Token{}, fault.New(fault.NotFound, "there is no slot %d", slot)
	}
	t, err := r.token(ctx, "", `WHERE id = ?`, slot)
	if fault.Is(err, fault.NotFound) {
		return t, fault.New(fault.NotFound, "there is no slot %d", slot)
	}
	return t, err
}

// TokenByName returns a token by its uid or label: fault.NotFound if there is none, fault.Conflict if two have the label.
func (r *Reader) TokenByName(ctx context.Context, name string) (Token, error) {
	t, err := r.Token(ctx, name)
	if fault.Is(err, fault.NotFound) {
		return r.token(ctx, name, `WHERE label = ?`, name)
	}
	return t, err
}

// FreeSlot returns the slot id that the next token gets.
func (r *Reader) FreeSlot(ctx context.Context) (uint64, error) {
	var next uint64
	_, err := r.one(ctx, `SELECT next FROM counters WHERE name = 'token'`, nil, &next)
	return next, err
}

// Revision returns a token's revision.
func (r *Reader) Revision(ctx context.Context, token string) (uint64, error) {
	var revision uint64
	found, err := r.one(ctx, `SELECT revision FROM tokens WHERE uid = ?`, []any{token}, &revision)
	if err == nil && !found {
		err = notFound("token", token)
	}
	return revision, err
}

// CreateToken adds a token; it sets ID, Revision and Created, UID and Serial where empty.
func (tx *Tx) CreateToken(t *Token) error {
	tx.touched = true
	id, err := tx.number("token")
	if err != nil {
		return err
	}
	t.ID, t.Revision, t.Created = id, 1, tx.now
	if t.UID == "" {
		t.UID = newUID()
	}
	if t.Serial == "" {
		t.Serial = t.UID[:min(16, len(t.UID))] // CK_TOKEN_INFO has room for 16
	}
	return tx.exec(`INSERT INTO tokens (`+tokenColumns+`, forgotten) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)`,
		t.ID, t.UID, t.Label, t.Serial, t.Provider, t.NoLogin, present(t.SealedKey), t.SO.Hash, t.SO.Failed, t.SO.Epoch,
		t.User.Hash, t.User.Failed, t.User.Epoch, t.Revision, micro(t.Created), t.Routing, t.Rules, t.VerifySignatures)
}

// UpdateToken writes a token that was read in this transaction, and raises its revision.
func (tx *Tx) UpdateToken(t Token) error {
	tx.touched = true
	n, err := tx.run(`UPDATE tokens SET label = ?, serial = ?, provider = ?, no_login = ?, sealed_key = ?, so_hash = ?, so_failed = ?, so_epoch = ?,
		user_hash = ?, user_failed = ?, user_epoch = ?, routing = ?, rules = ?, verify_signatures = ?, revision = revision + 1 WHERE uid = ?`,
		t.Label, t.Serial, t.Provider, t.NoLogin, present(t.SealedKey), t.SO.Hash, t.SO.Failed, t.SO.Epoch, t.User.Hash, t.User.Failed, t.User.Epoch,
		t.Routing, t.Rules, t.VerifySignatures, t.UID)
	if err == nil && n == 0 {
		err = notFound("token", t.UID)
	}
	return err
}

// DeleteToken deletes a token with its key, its objects and the grants on it; it returns how many objects went.
func (tx *Tx) DeleteToken(uid string) (objects int, err error) {
	tx.touched = true
	count, err := tx.CountObjects(tx.ctx, uid)
	if err != nil {
		return 0, err
	}
	if err := tx.exec(`DELETE FROM grants WHERE token = ?`, uid); err != nil {
		return 0, err
	}
	n, err := tx.run(`DELETE FROM tokens WHERE uid = ?`, uid)
	if err == nil && n == 0 {
		err = notFound("token", uid)
	}
	return int(count), err
}

// raise raises a token's revision and returns it with the token's id.
func (tx *Tx) raise(uid string) (id, revision uint64, err error) {
	tx.stale = true
	found, err := tx.one(tx.ctx, `UPDATE tokens SET revision = revision + 1 WHERE uid = ? RETURNING id, revision`, []any{uid}, &id, &revision)
	if err == nil && !found {
		err = notFound("token", uid)
	}
	return id, revision, err
}

// newUID returns a uid that is unique for ever.
func newUID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// present makes an empty value of a nil one: a driver would write NULL.
func present(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
