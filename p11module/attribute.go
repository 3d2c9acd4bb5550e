package main

/*
#include "pkcs11.h"
*/
import "C"

import (
	"encoding/binary"
	"unsafe"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/object"
	"github.com/anyhsm/anyhsm/internal/wire"
	"github.com/anyhsm/anyhsm/p11module/internal/session"
)

const (
	// maxAttributes is more than any template has; a larger count is a mistake.
	maxAttributes = 4096
	// maxValue bounds one value: certificates and data objects are far below.
	maxValue = 16 << 20
	// maxDepth bounds templates in templates, which the standard does not nest twice.
	maxDepth = 2
)

// attributeList is the caller's array of CK_ATTRIBUTE.
func attributeList(p C.CK_ATTRIBUTE_PTR, count C.CK_ULONG) ([]C.CK_ATTRIBUTE, error) {
	if count == 0 {
		return nil, nil
	}
	if p == nil || count > maxAttributes {
		return nil, errArguments
	}
	return unsafe.Slice(p, int(count)), nil
}

// value is where an attribute's value lies.
func value(a *C.CK_ATTRIBUTE) unsafe.Pointer { return pointer(unsafe.Pointer(&a.pValue)) }

// readTemplate reads a template into the canonical encoding. All values are copied, into one piece of memory.
func readTemplate(p C.CK_ATTRIBUTE_PTR, count C.CK_ULONG) (cryptoki.Attributes, error) {
	return readNested(p, count, 0)
}

func readNested(p C.CK_ATTRIBUTE_PTR, count C.CK_ULONG, depth int) (cryptoki.Attributes, error) {
	list, err := attributeList(p, count)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	total := 0
	for i := range list {
		n := list[i].ulValueLen
		if n > 0 && value(&list[i]) == nil || n > maxLength {
			return nil, errArguments
		}
		if n > maxValue {
			return nil, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID
		}
		// A CK_ULONG of 4 bytes grows to 8.
		total += int(n) * (8 / ulongSize)
	}
	if total > 4*maxValue {
		return nil, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID
	}
	template := make(cryptoki.Attributes, len(list))
	values := make([]byte, 0, total)
	for i := range list {
		a := &list[i]
		start := len(values)
		values, err = appendCanonical(values, a, depth)
		if err != nil {
			return nil, err
		}
		template[i] = cryptoki.Attribute{
			Type:  cryptoki.AttributeType(a._type),
			Value: values[start:len(values):len(values)],
		}
	}
	return template, nil
}

// appendCanonical appends the canonical encoding of one attribute's value.
func appendCanonical(to []byte, a *C.CK_ATTRIBUTE, depth int) ([]byte, error) {
	in, err := view(C.CK_BYTE_PTR(value(a)), a.ulValueLen)
	if err != nil {
		return nil, err
	}
	switch object.Kind(cryptoki.AttributeType(a._type)) {
	case object.Ulong:
		if len(in) != ulongSize {
			return nil, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID
		}
		return binary.LittleEndian.AppendUint64(to, readUlong(in)), nil
	case object.Ulongs:
		if len(in)%ulongSize != 0 {
			return nil, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID
		}
		for ; len(in) > 0; in = in[ulongSize:] {
			to = binary.LittleEndian.AppendUint64(to, readUlong(in))
		}
		return to, nil
	case object.Bool:
		if len(in) != 1 {
			return nil, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID
		}
		if in[0] != 0 {
			return append(to, 1), nil
		}
		return append(to, 0), nil
	case object.Template:
		if len(in)%C.sizeof_CK_ATTRIBUTE != 0 || depth == maxDepth {
			return nil, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID
		}
		nested, err := readNested(
			C.CK_ATTRIBUTE_PTR(value(a)), C.CK_ULONG(len(in)/C.sizeof_CK_ATTRIBUTE), depth+1)
		if err != nil {
			return nil, err
		}
		return append(to, wire.MarshalAttributes(nested)...), nil
	default:
		return append(to, in...), nil
	}
}

// writeAttributes answers C_GetAttributeValue: every attribute gets its value, its length, or
// CK_UNAVAILABLE_INFORMATION; the first that has none decides the return value.
func writeAttributes(list []C.CK_ATTRIBUTE, values []session.Value) error {
	var first error
	for i := range list {
		err := values[i].Err
		if err != nil {
			list[i].ulValueLen = C.CK_UNAVAILABLE_INFORMATION
		} else {
			err = writeValue(&list[i], values[i].Data)
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// writeValue turns a canonical value into C's.
func writeValue(a *C.CK_ATTRIBUTE, from []byte) error {
	kind := object.Kind(cryptoki.AttributeType(a._type))
	if kind == object.Template {
		return writeNested(a, from)
	}
	size := len(from)
	ulongs := kind == object.Ulong || kind == object.Ulongs
	if ulongs {
		size = len(from) / 8 * ulongSize
	}
	to, err := claim(a, size)
	if err != nil || to == nil {
		return err
	}
	if !ulongs {
		copy(to, from)
		return nil
	}
	for ; len(from) >= 8; from, to = from[8:], to[ulongSize:] {
		writeUlong(to, binary.LittleEndian.Uint64(from))
	}
	return nil
}

// claim puts the size of a value into the attribute and returns the caller's memory for it: nil for a size query.
func claim(a *C.CK_ATTRIBUTE, size int) ([]byte, error) {
	to := value(a)
	if to != nil && a.ulValueLen < C.CK_ULONG(size) {
		a.ulValueLen = C.CK_UNAVAILABLE_INFORMATION
		return nil, cryptoki.CKR_BUFFER_TOO_SMALL
	}
	a.ulValueLen = C.CK_ULONG(size)
	if to == nil || size == 0 {
		return nil, nil
	}
	return unsafe.Slice((*byte)(to), size), nil
}

// writeNested answers for a template in an attribute: the caller's array gets the types, and for each the value or the
// length by the same rule.
func writeNested(a *C.CK_ATTRIBUTE, from []byte) error {
	nested, err := wire.UnmarshalAttributes(from)
	if err != nil {
		return err
	}
	to, err := claim(a, len(nested)*C.sizeof_CK_ATTRIBUTE)
	if err != nil || to == nil {
		return err
	}
	list := unsafe.Slice(C.CK_ATTRIBUTE_PTR(value(a)), len(nested))
	var first error
	for i := range nested {
		list[i]._type = C.CK_ATTRIBUTE_TYPE(nested[i].Type)
		if err := writeValue(&list[i], nested[i].Value); first == nil {
			first = err
		}
	}
	return first
}
