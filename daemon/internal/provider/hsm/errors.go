package hsm

import (
	"context"
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// interrupted is the error of a call whose context has ended.
func interrupted(ctx context.Context, doing string) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fault.New(fault.DeadlineExceeded, "%s took longer than the call may: %w", doing, ctx.Err())
	}
	return fault.New(fault.FunctionCanceled, "%s was cancelled by the caller: %w", doing, ctx.Err())
}

// returned finds the CK_RV that the library returned in an error.
func returned(err error) (cryptoki.RV, bool) {
	var e pkcs11.Error
	if errors.As(err, &e) {
		return cryptoki.RV(e), true
	}
	return 0, false
}

// is tells whether the library returned one of some CK_RV.
func is(err error, values ...cryptoki.RV) bool {
	rv, ok := returned(err)
	for _, v := range values {
		if ok && v == rv {
			return true
		}
	}
	return false
}

// sessionLost tells that the session, or the login that it relies on, is gone, or was left in a state that we did not
// leave it in. A new one may well work.
func sessionLost(err error) bool {
	return is(err, cryptoki.CKR_SESSION_HANDLE_INVALID, cryptoki.CKR_SESSION_CLOSED, cryptoki.CKR_USER_NOT_LOGGED_IN,
		cryptoki.CKR_OPERATION_ACTIVE, cryptoki.CKR_OPERATION_NOT_INITIALIZED) || deviceLost(err)
}

// deviceLost tells that the library does not reach its device any more, or was finalised by somebody else.
func deviceLost(err error) bool {
	return is(err, cryptoki.CKR_DEVICE_ERROR, cryptoki.CKR_DEVICE_REMOVED, cryptoki.CKR_TOKEN_NOT_PRESENT,
		cryptoki.CKR_CRYPTOKI_NOT_INITIALIZED, cryptoki.CKR_SLOT_ID_INVALID)
}

// hints are next steps for what an HSM's refusal usually means.
var hints = map[cryptoki.RV]string{
	cryptoki.CKR_PIN_INCORRECT:         "correct `pin`; it is not tried again before a restart, so that the token does not lock",
	cryptoki.CKR_PIN_LOCKED:            "unlock the user's PIN with the HSM's own tool",
	cryptoki.CKR_PIN_EXPIRED:           "set a new PIN with the HSM's own tool",
	cryptoki.CKR_SESSION_COUNT:         "lower `sessions`, or let other programs use fewer",
	cryptoki.CKR_DEVICE_MEMORY:         "delete keys or extend the HSM's partition",
	cryptoki.CKR_DEVICE_REMOVED:        "see whether the HSM is connected and its client service runs",
	cryptoki.CKR_DEVICE_ERROR:          "see the HSM's own log",
	cryptoki.CKR_TOKEN_NOT_PRESENT:     "see whether the HSM is connected and its client service runs",
	cryptoki.CKR_TEMPLATE_INCONSISTENT: "the HSM does not allow this combination of attributes; CKA_SENSITIVE false and CKA_EXTRACTABLE true are often forbidden",
	cryptoki.CKR_TOKEN_WRITE_PROTECTED: "the HSM or its partition is read-only",
	cryptoki.CKR_GENERAL_ERROR:         "the library gives no reason; see its own log",
}

// connection are the return values that speak of our own connection to the HSM. The application's session, login and
// PIN are others, so it must not be told them: to it the device does not work.
var connection = map[cryptoki.RV]bool{
	cryptoki.CKR_SLOT_ID_INVALID: true, cryptoki.CKR_TOKEN_NOT_PRESENT: true, cryptoki.CKR_TOKEN_NOT_RECOGNIZED: true,
	cryptoki.CKR_SESSION_CLOSED: true, cryptoki.CKR_SESSION_COUNT: true, cryptoki.CKR_SESSION_HANDLE_INVALID: true,
	cryptoki.CKR_SESSION_READ_ONLY: true, cryptoki.CKR_USER_NOT_LOGGED_IN: true, cryptoki.CKR_OPERATION_ACTIVE: true,
	cryptoki.CKR_OPERATION_NOT_INITIALIZED: true, cryptoki.CKR_CRYPTOKI_NOT_INITIALIZED: true,
	cryptoki.CKR_PIN_INCORRECT: true, cryptoki.CKR_PIN_LOCKED: true, cryptoki.CKR_PIN_EXPIRED: true,
	cryptoki.CKR_USER_ANOTHER_ALREADY_LOGGED_IN: true, cryptoki.CKR_USER_TYPE_INVALID: true,
	cryptoki.CKR_USER_PIN_NOT_INITIALIZED: true, cryptoki.CKR_USER_TOO_MANY_TYPES: true,
}

// kindOf maps a CK_RV to the kind that has it, one to one.
func kindOf(rv cryptoki.RV) fault.Kind {
	kind := fault.KindOf(rv)
	if kind == fault.Internal && rv != cryptoki.CKR_GENERAL_ERROR {
		// The table has no row for it: vendors' own values, wrapping. The sentence still names it.
		return fault.FunctionFailed
	}
	return kind
}

// explain makes a fault of an error of ours: a CK_RV of the library becomes the kind of its own, but for those that
// speak of our connection.
func (p *Provider) explain(operation string, err error) error {
	if err == nil {
		return nil
	}
	var known *fault.Error
	var own cryptoki.RV
	rv, ok := returned(err)
	switch {
	case errors.As(err, &known):
		kind := known.Kind
		if connection[kind.Row().RV] {
			kind = fault.DeviceError
		}
		return fault.New(kind, "provider %s: %w", p.config.Name, known)
	case ok:
	case errors.As(err, &own):
		return fault.New(fault.KindOf(own), "provider %s: %s: %w", p.config.Name, operation, err)
	default:
		return fault.New(fault.Internal, "provider %s: %s: %w", p.config.Name, operation, err)
	}
	kind := kindOf(rv)
	if connection[rv] {
		kind = fault.DeviceError
	}
	return fault.New(kind, "%w", &refusal{provider: p.config.Name, operation: operation, rv: rv, cause: err})
}

// refusal is what a library returned. Its sentence uses the standard's names.
type refusal struct {
	provider, operation string
	rv                  cryptoki.RV
	cause               error
}

func (r *refusal) Error() string {
	text := fmt.Sprintf("the HSM of provider %s refused to %s with %s", r.provider, r.operation, r.rv)
	if hint, ok := hints[r.rv]; ok {
		text += "; " + hint
	}
	return text
}

func (r *refusal) Unwrap() error { return r.cause }
