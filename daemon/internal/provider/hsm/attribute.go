package hsm

import (
	"encoding/binary"
	"strconv"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// numbers are the attributes whose value is a CK_ULONG, which the library writes in the machine's own way.
var numbers = map[cryptoki.AttributeType]bool{
	cryptoki.CKA_CLASS: true, cryptoki.CKA_KEY_TYPE: true, cryptoki.CKA_CERTIFICATE_TYPE: true,
	cryptoki.CKA_CERTIFICATE_CATEGORY: true, cryptoki.CKA_MODULUS_BITS: true, cryptoki.CKA_VALUE_LEN: true,
	cryptoki.CKA_KEY_GEN_MECHANISM: true, cryptoki.CKA_ALLOWED_MECHANISMS: true,
}

// flags are the attributes whose value is a CK_BBOOL: some libraries write other numbers than 1 for true.
var flags = map[cryptoki.AttributeType]bool{
	cryptoki.CKA_TOKEN: true, cryptoki.CKA_PRIVATE: true, cryptoki.CKA_SENSITIVE: true, cryptoki.CKA_EXTRACTABLE: true,
	cryptoki.CKA_ALWAYS_SENSITIVE: true, cryptoki.CKA_NEVER_EXTRACTABLE: true, cryptoki.CKA_LOCAL: true,
	cryptoki.CKA_MODIFIABLE: true, cryptoki.CKA_ENCRYPT: true, cryptoki.CKA_DECRYPT: true, cryptoki.CKA_SIGN: true,
	cryptoki.CKA_SIGN_RECOVER: true, cryptoki.CKA_VERIFY: true, cryptoki.CKA_VERIFY_RECOVER: true,
	cryptoki.CKA_WRAP: true, cryptoki.CKA_UNWRAP: true, cryptoki.CKA_DERIVE: true,
	cryptoki.CKA_ALWAYS_AUTHENTICATE: true, cryptoki.CKA_WRAP_WITH_TRUSTED: true, cryptoki.CKA_TRUSTED: true,
}

// ulongSize is the size of the machine's CK_ULONG; the binding takes it for that of a Go uint.
const ulongSize = strconv.IntSize / 8

// ulong makes the machine's CK_ULONG.
func ulong(v uint64) []byte {
	if ulongSize == 4 {
		return binary.NativeEndian.AppendUint32(nil, uint32(v))
	}
	return binary.NativeEndian.AppendUint64(nil, v)
}

// native makes an attribute as the library takes it of a canonical one.
func native(a cryptoki.Attribute) *pkcs11.Attribute {
	value := a.Value
	if numbers[a.Type] {
		value = nil
		for i := 0; i+8 <= len(a.Value); i += 8 {
			value = append(value, ulong(binary.LittleEndian.Uint64(a.Value[i:]))...)
		}
	}
	return pkcs11.NewAttribute(uint(a.Type), value)
}

// canonical makes a canonical attribute of what the library gave.
func canonical(t cryptoki.AttributeType, value []byte) cryptoki.Attribute {
	switch {
	case numbers[t]:
		var out []byte
		for i := 0; i+ulongSize <= len(value); i += ulongSize {
			if ulongSize == 4 {
				out = binary.LittleEndian.AppendUint64(out, uint64(binary.NativeEndian.Uint32(value[i:])))
			} else {
				out = binary.LittleEndian.AppendUint64(out, binary.NativeEndian.Uint64(value[i:]))
			}
		}
		return cryptoki.Bytes(t, out)
	case flags[t]:
		return cryptoki.Bool(t, len(value) > 0 && value[0] != 0)
	default:
		return cryptoki.Bytes(t, value)
	}
}

// template makes a template as the library takes it.
func template(attributes ...cryptoki.Attribute) []*pkcs11.Attribute {
	out := make([]*pkcs11.Attribute, len(attributes))
	for i, a := range attributes {
		out[i] = native(a)
	}
	return out
}

// pick takes those of some attributes that are there.
func pick(from cryptoki.Attributes, types ...cryptoki.AttributeType) cryptoki.Attributes {
	var picked cryptoki.Attributes
	for _, t := range types {
		if v, ok := from.Get(t); ok {
			picked = append(picked, cryptoki.Bytes(t, v))
		}
	}
	return picked
}

// read returns those of an object's attributes that it has and reveals.
func (s *session) read(o pkcs11.ObjectHandle, types ...cryptoki.AttributeType) (cryptoki.Attributes, error) {
	wanted := make([]*pkcs11.Attribute, len(types))
	for i, t := range types {
		wanted[i] = pkcs11.NewAttribute(uint(t), nil)
	}
	values, err := s.GetAttributeValue(s.handle, o, wanted)
	if len(types) > 1 && is(err, cryptoki.CKR_ATTRIBUTE_TYPE_INVALID, cryptoki.CKR_ATTRIBUTE_SENSITIVE, cryptoki.CKR_BUFFER_TOO_SMALL) {
		// The binding gives nothing when one of them cannot be had, so each is asked for alone.
		var all cryptoki.Attributes
		for _, t := range types {
			one, err := s.read(o, t)
			if err != nil {
				return nil, err
			}
			all = append(all, one...)
		}
		return all, nil
	}
	if is(err, cryptoki.CKR_ATTRIBUTE_TYPE_INVALID, cryptoki.CKR_ATTRIBUTE_SENSITIVE) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all cryptoki.Attributes
	for i, v := range values {
		if v.Value != nil {
			all = append(all, canonical(types[i], v.Value))
		}
	}
	return all, nil
}

// find returns the objects that match a template.
func (s *session) find(match ...cryptoki.Attribute) ([]pkcs11.ObjectHandle, error) {
	if err := s.FindObjectsInit(s.handle, template(match...)); err != nil {
		return nil, err
	}
	var all []pkcs11.ObjectHandle
	for {
		some, _, err := s.FindObjects(s.handle, 256)
		if err != nil {
			_ = s.FindObjectsFinal(s.handle)
			return nil, err
		}
		if len(some) == 0 {
			return all, s.FindObjectsFinal(s.handle)
		}
		all = append(all, some...)
	}
}
