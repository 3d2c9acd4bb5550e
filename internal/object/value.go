package object

import (
	"bytes"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/wire"
)

const (
	// maxValue bounds a data object's or a certificate's value: both are kept in memory by every module that sees them.
	maxValue = 1 << 20
	// maxBytes bounds any other byte string.
	maxBytes = 64 << 10
)

// normalise checks a value's encoding and returns it in the one form that objects keep.
func normalise(r *rule, value []byte) ([]byte, error) {
	switch r.kind {
	case Ulong:
		if len(value) != 8 {
			return nil, invalid(r.attribute, "a CK_ULONG of another length")
		}
	case Bool:
		if len(value) != 1 {
			return nil, invalid(r.attribute, "a CK_BBOOL of another length than 1")
		}
		if value[0] > 1 {
			return []byte{1}, nil
		}
	case Date:
		if !isDate(value) {
			return nil, invalid(r.attribute, "neither empty nor eight digits YYYYMMDD")
		}
	case Ulongs:
		if len(value)%8 != 0 || len(value) > maxBytes {
			return nil, invalid(r.attribute, "not an array of CK_ULONG")
		}
	case Template:
		return nested(r, value)
	case Bytes:
		limit := maxBytes
		if r.attribute == cryptoki.CKA_VALUE && r.classes&(data|certificate) != 0 {
			limit = maxValue
		}
		if len(value) > limit {
			return nil, fault.New(fault.AttributeValueInvalid, "%v has %d bytes; at most %d are kept", r.attribute, len(value), limit)
		}
		if r.flags&integer != 0 {
			value = trim(value)
			if len(value) == 0 {
				return nil, invalid(r.attribute, "zero")
			}
		}
	}
	return bytes.Clone(value), nil
}

// nested checks a template inside an attribute. One inside that one has no use in the standard.
func nested(r *rule, value []byte) ([]byte, error) {
	if len(value) > maxBytes {
		return nil, invalid(r.attribute, "too long")
	}
	template, err := wire.UnmarshalAttributes(value)
	if err != nil {
		return nil, err
	}
	clean := make(cryptoki.Attributes, 0, len(template))
	for _, a := range template {
		if !Known(a.Type) {
			return nil, fault.New(fault.AttributeTypeInvalid, "%v holds %v, which is unknown here; take it out", r.attribute, a.Type)
		}
		inner := *byType[a.Type][0]
		if inner.kind == Template || clean.Has(a.Type) {
			return nil, invalid(r.attribute, "a template in a template, or an attribute twice")
		}
		if a.Value, err = normalise(&inner, a.Value); err != nil {
			return nil, err
		}
		clean = append(clean, a)
	}
	return wire.MarshalAttributes(clean), nil
}

func isDate(value []byte) bool {
	if len(value) == 0 {
		return true
	}
	if len(value) != 8 {
		return false
	}
	for _, c := range value {
		if c < '0' || c > '9' {
			return false
		}
	}
	month := int(value[4]-'0')*10 + int(value[5]-'0')
	day := int(value[6]-'0')*10 + int(value[7]-'0')
	return month >= 1 && month <= 12 && day >= 1 && day <= 31
}

// trim removes the leading zeros of a big integer.
func trim(value []byte) []byte { return bytes.TrimLeft(value, "\x00") }

func invalid(t cryptoki.AttributeType, what string) error {
	return fault.New(fault.AttributeValueInvalid, "%v is not one it can have: %s; correct the template", t, what)
}
