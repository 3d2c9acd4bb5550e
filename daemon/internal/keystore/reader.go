package keystore

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Reader reads: a Store what is committed, a Tx also what it has changed itself.
type Reader struct{}

// Tokens returns all tokens by id.
func (r *Reader) Tokens(ctx context.Context) ([]Token, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Token returns a token by its uid; fault.NotFound if there is none.
func (r *Reader) Token(ctx context.Context, uid string) (Token, error) {
	return Token{}, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// TokenBySlot returns a token by its slot id; fault.NotFound if there is none.
func (r *Reader) TokenBySlot(ctx context.Context, slot uint64) (Token, error) {
	return Token{}, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// TokenByName returns a token by its uid or label: fault.NotFound if there is none, fault.Conflict if two have the label.
func (r *Reader) TokenByName(ctx context.Context, name string) (Token, error) {
	return Token{}, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// FreeSlot returns the slot id that the next token gets.
func (r *Reader) FreeSlot(ctx context.Context) (uint64, error) {
	return 0, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Revision returns a token's revision.
func (r *Reader) Revision(ctx context.Context, token string) (uint64, error) {
	return 0, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Object returns an object of a token; fault.ObjectHandleInvalid if there is none.
func (r *Reader) Object(ctx context.Context, token string, id uint64) (Object, error) {
	return Object{}, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// ObjectByUID returns an object by its uid; fault.ObjectHandleInvalid if there is none.
func (r *Reader) ObjectByUID(ctx context.Context, uid string) (Object, error) {
	return Object{}, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// ObjectByRef returns the object that has a key reference; fault.ObjectHandleInvalid if none has it.
func (r *Reader) ObjectByRef(ctx context.Context, provider string, ref []byte) (Object, error) {
	return Object{}, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Objects returns the objects that a query selects.
func (r *Reader) Objects(ctx context.Context, query ObjectQuery) ([]Object, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Removed returns the ids of objects that were deleted after a revision. It is not complete if the revision is so old
// that some were forgotten: then read all objects anew.
func (r *Reader) Removed(ctx context.Context, token string, since uint64) (ids []uint64, complete bool, err error) {
	return nil, false, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// CountObjects counts a token's objects, all objects if token is empty.
func (r *Reader) CountObjects(ctx context.Context, token string) (uint64, error) {
	return 0, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Applications returns all applications by name.
func (r *Reader) Applications(ctx context.Context) ([]Application, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Application returns an application; fault.NotFound if there is none.
func (r *Reader) Application(ctx context.Context, name string) (Application, error) {
	return Application{}, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Meta returns a value of meta, nil if it is not there.
func (r *Reader) Meta(ctx context.Context, key string) ([]byte, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Events returns audit events after a sequence number, ascending; all if limit is 0.
func (r *Reader) Events(ctx context.Context, after uint64, limit int) ([]audit.Event, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// NewestEvents returns the last audit events, ascending.
func (r *Reader) NewestEvents(ctx context.Context, limit int) ([]audit.Event, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// AuditHead returns the end of the audit's chain.
func (r *Reader) AuditHead(ctx context.Context) (audit.Head, error) {
	return audit.Head{}, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}
