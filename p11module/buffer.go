package main

/*
#include "front.h"
*/
import "C"

import (
	"bytes"
	"unicode/utf8"
	"unsafe"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/p11module/internal/session"
)

// errArguments is what pointers and lengths that make no sense get.
const errArguments = cryptoki.CKR_ARGUMENTS_BAD

// maxLength is the longest that anything can be: longer lengths are a mistake (a negative number, an uninitialised
// variable) and nothing is read.
const maxLength = 1<<31 - 1

// maxPIN is far beyond the longest PIN of a token.
const maxPIN = 4096

// view is the caller's memory as a slice, without a copy: good only during the call. Who keeps bytes copies them.
func view[P ~*C.CK_BYTE](p P, n C.CK_ULONG) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	if p == nil || n > maxLength {
		return nil, errArguments
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(p)), int(n)), nil
}

// viewPIN is a PIN as a slice. Those that no token takes go on, up to a length that cannot be meant.
func viewPIN(p C.CK_UTF8CHAR_PTR, n C.CK_ULONG) ([]byte, error) {
	if n > maxPIN {
		return nil, errArguments
	}
	return view(p, n)
}

// pointer reads a pointer that a structure of the caller holds; front.h says why not every one may be seen in Go.
func pointer(field unsafe.Pointer) unsafe.Pointer {
	if address := *(*uintptr)(field); address != 0 && address < C.ANYHSM_FIRST_PAGE {
		return unsafe.Pointer(C.anyhsm_nowhere)
	}
	return *(*unsafe.Pointer)(field)
}

// writeBytes does the C side of section 5.2's rule for functions that return bytes: what the session makes of `room`
// (session.Query for a NULL buffer) goes into the buffer, its size to *length. The session never gives more than room.
func writeBytes(p C.CK_BYTE_PTR, length C.CK_ULONG_PTR, produce func(room int) ([]byte, int, error)) error {
	if length == nil {
		return errArguments
	}
	room := session.Query
	if p != nil {
		room = int(min(*length, maxLength))
	}
	out, n, err := produce(room)
	if err != nil && fault.RV(err) != cryptoki.CKR_BUFFER_TOO_SMALL {
		return err
	}
	*length = C.CK_ULONG(n)
	if err == nil && p != nil {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(p)), room), out)
	}
	return err
}

// writeUlongs does the same for functions that return an array of CK_ULONG. The list is taken first: what it fails
// with comes before a buffer that is too small.
func writeUlongs[T ~uint64](p *C.CK_ULONG, count C.CK_ULONG_PTR, list func() ([]T, error)) error {
	if count == nil {
		return errArguments
	}
	values, err := list()
	if err != nil {
		return err
	}
	room := *count
	*count = C.CK_ULONG(len(values))
	if p == nil {
		return nil
	}
	if room < C.CK_ULONG(len(values)) {
		return cryptoki.CKR_BUFFER_TOO_SMALL
	}
	out := unsafe.Slice(p, len(values))
	for i, v := range values {
		out[i] = C.CK_ULONG(v)
	}
	return nil
}

// writeText fills a field of fixed width with UTF-8 text and blanks; text that is too long ends at a character.
func writeText[T ~uint8](field []T, text string) {
	for len(text) > len(field) {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	for i := range field {
		if i < len(text) {
			field[i] = T(text[i])
		} else {
			field[i] = ' '
		}
	}
}

// readText reads such a field.
func readText(field []byte) string { return string(bytes.TrimRight(field, " \x00")) }

// readUlong and writeUlong convert between C's CK_ULONG, wherever it lies, and a number.
func readUlong(from []byte) uint64 {
	var v C.CK_ULONG
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&v)), ulongSize), from)
	return uint64(v)
}

func writeUlong(to []byte, value uint64) {
	v := C.CK_ULONG(value)
	copy(to, unsafe.Slice((*byte)(unsafe.Pointer(&v)), ulongSize))
}

const ulongSize = C.sizeof_CK_ULONG
