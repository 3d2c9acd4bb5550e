package session

import (
	"bytes"
	"crypto/sha256"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Query is the room of a caller that only asks for the size (a NULL buffer).
const Query = -1

// result is the one place for the rule of section 5.2 on functions that return a variable amount of output. An
// operation keeps a result that did not fit, for the call that comes again with more room.
type result struct {
	kept  []byte
	input [sha256.Size]byte
}

// deliver answers a call that has room for `room` bytes, or Query. Beforehand only `size` is known: exactly what
// produce will give, or a bound. A query and a buffer that is surely too small cost nothing; a buffer smaller than a
// bound may still do, so the result is made, and kept if it does not.
//
// n is what *pulLen gets when there is no error or it is CKR_BUFFER_TOO_SMALL. ended tells whether the operation is
// over: after success and after any other error.
func (r *result) deliver(room int, input []byte, size int, exact bool, produce func() ([]byte, error)) (out []byte, n int, ended bool, err error) {
	if r.kept != nil && r.input != sha256.Sum256(input) {
		// Another input is another call, not the repetition of the one whose result is here.
		r.drop()
	}
	if r.kept != nil {
		size, exact = len(r.kept), true
	}
	switch {
	case room == Query:
		return nil, size, false, nil
	case exact && room < size:
		return nil, size, false, cryptoki.CKR_BUFFER_TOO_SMALL
	}
	out = r.kept
	if out == nil {
		if out, err = produce(); err != nil {
			return nil, 0, true, err
		}
	}
	if room < len(out) {
		r.kept, r.input = bytes.Clone(out), sha256.Sum256(input)
		return nil, len(out), false, cryptoki.CKR_BUFFER_TOO_SMALL
	}
	r.kept = nil
	return out, len(out), true, nil
}

// drop forgets a kept result, which may be a plaintext.
func (r *result) drop() {
	clear(r.kept)
	r.kept = nil
}
