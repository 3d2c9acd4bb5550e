// Package fault is the one error of AnyHSM: a kind, a sentence for people, and through the kind's row in the table
// the CK_RV and the gRPC code that it means.
package fault

import (
	"errors"
	"fmt"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Error is a failure with a cause that people can act on. Message names the cause and then the next step; it never
// holds a secret.
type Error struct {
	Kind    Kind
	Message string
	cause   error
}

// New makes an error of a kind. A %w in the format keeps the cause for errors.Is.
func New(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Message: err.Error(), cause: errors.Unwrap(err)}
}

// Error returns the sentence.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause that was given with %w.
func (e *Error) Unwrap() error { return e.cause }

// RV returns the CK_RV of the error's kind.
func (e *Error) RV() cryptoki.RV { return e.Kind.Row().RV }

// From finds the *Error in an error's chain, or makes one: a bare cryptoki.RV becomes the kind of that CK_RV, anything
// else an Internal one. From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var rv cryptoki.RV
	if errors.As(err, &rv) {
		return &Error{Kind: KindOf(rv), Message: err.Error(), cause: err}
	}
	return &Error{Kind: Internal, Message: err.Error(), cause: err}
}

// RV returns the CK_RV that an error means; CKR_OK for nil.
func RV(err error) cryptoki.RV {
	if err == nil {
		return cryptoki.CKR_OK
	}
	var rv cryptoki.RV
	var e *Error
	if !errors.As(err, &e) && errors.As(err, &rv) {
		return rv
	}
	return From(err).RV()
}

// Is tells whether an error is of a kind.
func Is(err error, kind Kind) bool { return err != nil && From(err).Kind == kind }
