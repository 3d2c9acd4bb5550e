package keystore

import (
	"context"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Tx is a transaction in Change. It is not for concurrent use and ends with the function that got it.
type Tx struct {
	Reader
	// Event is the event that Change will write; complete it with what is known only now, such as the object's uid.
	Event *audit.Event
}

// Change runs do in one transaction with the record of the request and the audit event. It returns do's response,
// which is kept for 24 hours: a RequestID seen before returns it again, with replayed true, and does not call do. Nothing has
// changed if there is an error. Do must not call the Store's changing methods, nor wait for anything slow.
func (s *Store) Change(ctx context.Context, c Change, do func(tx *Tx) (response []byte, err error)) (response []byte, replayed bool, err error) {
	return nil, false, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// TryPIN checks a PIN. The try is counted, durably, before check is called with the PIN's hash, and the count is set back when
// check returns true: a crash gives no free try. Errors: fault.PINIncorrect, fault.PINLocked after maxFailed tries,
// fault.UserPINNotInitialized.
func (s *Store) TryPIN(ctx context.Context, token string, user bool, maxFailed int, check func(hash string) bool) (Token, error) {
	return Token{}, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// CreateToken adds a token; it sets ID, Revision and Created, UID and Serial where empty.
func (tx *Tx) CreateToken(t *Token) error { return cryptoki.CKR_FUNCTION_NOT_SUPPORTED }

// UpdateToken writes a token that was read in this transaction, and raises its revision.
func (tx *Tx) UpdateToken(t Token) error { return cryptoki.CKR_FUNCTION_NOT_SUPPORTED }

// DeleteToken deletes a token with its key, its objects and the grants on it; it returns how many objects went.
func (tx *Tx) DeleteToken(uid string) (objects int, err error) {
	return 0, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// CreateObject adds an object; it sets ID, Revision and Created, UID where empty, and raises the token's revision.
func (tx *Tx) CreateObject(o *Object) error { return cryptoki.CKR_FUNCTION_NOT_SUPPORTED }

// UpdateObject writes an object's attributes and key reference; it sets Revision and raises the token's.
func (tx *Tx) UpdateObject(o *Object) error { return cryptoki.CKR_FUNCTION_NOT_SUPPORTED }

// DeleteObject deletes an object; fault.ObjectHandleInvalid if it is not there.
func (tx *Tx) DeleteObject(token string, id uint64) error {
	return cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// PutApplication adds or replaces an application with its identities and grants.
func (tx *Tx) PutApplication(a Application) error { return cryptoki.CKR_FUNCTION_NOT_SUPPORTED }

// DeleteApplication deletes an application; fault.NotFound if there is none.
func (tx *Tx) DeleteApplication(name string) error { return cryptoki.CKR_FUNCTION_NOT_SUPPORTED }

// PutEnrollmentCode keeps the hash of a one-time code.
func (tx *Tx) PutEnrollmentCode(hash []byte, application string, expires time.Time) error {
	return cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// TakeEnrollmentCode uses a code up and returns its application; fault.Unauthenticated if it is unknown, used or
// expired.
func (tx *Tx) TakeEnrollmentCode(hash []byte) (application string, err error) {
	return "", cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// UseTicket uses a single-use ticket up; fault.Conflict if it was used before.
func (tx *Tx) UseTicket(id string, expires time.Time) error {
	return cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// PutMeta stores a value of meta; nil deletes it.
func (tx *Tx) PutMeta(key string, value []byte) error { return cryptoki.CKR_FUNCTION_NOT_SUPPORTED }
