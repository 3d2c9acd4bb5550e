package cryptoki

import (
	"bytes"
	"encoding/binary"
)

// Attribute is a CK_ATTRIBUTE with its value in the canonical encoding: a CK_ULONG is 8 bytes little endian whatever
// the client's word size, a CK_BBOOL one byte 0 or 1, an array of CK_ULONG 8 bytes each, a nested template what
// internal/wire makes of it, all else the bytes of the standard.
type Attribute struct {
	Type  AttributeType
	Value []byte
}

// Attributes is an ordered template. No type appears twice in a valid one.
type Attributes []Attribute

// Ulong makes an attribute that holds a CK_ULONG.
func Ulong[T ~uint64](t AttributeType, value T) Attribute {
	return Attribute{t, binary.LittleEndian.AppendUint64(nil, uint64(value))}
}

// Bool makes an attribute that holds a CK_BBOOL.
func Bool(t AttributeType, value bool) Attribute {
	if value {
		return Attribute{t, []byte{1}}
	}
	return Attribute{t, []byte{0}}
}

// Bytes makes an attribute that holds a byte string.
func Bytes(t AttributeType, value []byte) Attribute { return Attribute{t, value} }

// String makes an attribute that holds UTF-8 text.
func String(t AttributeType, value string) Attribute { return Attribute{t, []byte(value)} }

// Ulongs makes an attribute that holds an array of CK_ULONG, as CKA_ALLOWED_MECHANISMS does.
func Ulongs[T ~uint64](t AttributeType, values []T) Attribute {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	return Attribute{t, b}
}

// Get returns the value of an attribute and whether it is there.
func (as Attributes) Get(t AttributeType) ([]byte, bool) {
	for i := range as {
		if as[i].Type == t {
			return as[i].Value, true
		}
	}
	return nil, false
}

// Has tells whether an attribute is there.
func (as Attributes) Has(t AttributeType) bool {
	_, ok := as.Get(t)
	return ok
}

// Bytes returns the value of an attribute, nil if it is not there.
func (as Attributes) Bytes(t AttributeType) []byte {
	v, _ := as.Get(t)
	return v
}

// Bool returns a CK_BBOOL; false if it is not there or not one byte.
func (as Attributes) Bool(t AttributeType) bool {
	v, _ := as.Get(t)
	return len(v) == 1 && v[0] != 0
}

// Ulong returns a CK_ULONG and whether it is there and well formed.
func (as Attributes) Ulong(t AttributeType) (uint64, bool) {
	v, ok := as.Get(t)
	if !ok || len(v) != 8 {
		return 0, false
	}
	return binary.LittleEndian.Uint64(v), true
}

// Ulongs returns an array of CK_ULONG and whether it is there and well formed.
func (as Attributes) Ulongs(t AttributeType) ([]uint64, bool) {
	v, ok := as.Get(t)
	if !ok || len(v)%8 != 0 {
		return nil, false
	}
	values := make([]uint64, len(v)/8)
	for i := range values {
		values[i] = binary.LittleEndian.Uint64(v[8*i:])
	}
	return values, true
}

// Class returns CKA_CLASS.
func (as Attributes) Class() (ObjectClass, bool) {
	v, ok := as.Ulong(CKA_CLASS)
	return ObjectClass(v), ok
}

// KeyType returns CKA_KEY_TYPE.
func (as Attributes) KeyType() (KeyType, bool) {
	v, ok := as.Ulong(CKA_KEY_TYPE)
	return KeyType(v), ok
}

// Set replaces an attribute or appends it.
func (as *Attributes) Set(a Attribute) {
	for i := range *as {
		if (*as)[i].Type == a.Type {
			(*as)[i].Value = a.Value
			return
		}
	}
	*as = append(*as, a)
}

// Remove takes an attribute out.
func (as *Attributes) Remove(t AttributeType) {
	for i := range *as {
		if (*as)[i].Type == t {
			*as = append((*as)[:i], (*as)[i+1:]...)
			return
		}
	}
}

// Clone returns a deep copy.
func (as Attributes) Clone() Attributes {
	c := make(Attributes, len(as))
	for i, a := range as {
		c[i] = Attribute{a.Type, bytes.Clone(a.Value)}
	}
	return c
}
