package object

import (
	"bytes"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
)

// Match tells whether an object has every attribute of a template with the same value (C_FindObjects); an empty template
// matches all. Big integers match whatever their leading zeros, CKA_EC_PARAMS whatever form names the curve, CKA_EC_POINT
// with and without its DER header. A secret attribute that may not be read matches nothing, or a search could guess it.
func Match(attributes, template cryptoki.Attributes) bool {
	c, f := shape(attributes)
	for _, wanted := range template {
		value, ok := attributes.Get(wanted.Type)
		if !ok {
			return false
		}
		r, ok := find(c, f, wanted.Type)
		if ok && r.flags&secret != 0 && !Readable(attributes) {
			return false
		}
		if !bytes.Equal(value, wanted.Value) && (!ok || !equivalent(r, attributes, value, wanted.Value)) {
			return false
		}
	}
	return true
}

// equivalent compares values that may be written in several ways.
func equivalent(r *rule, object cryptoki.Attributes, value, wanted []byte) bool {
	switch {
	case r.flags&integer != 0:
		return bytes.Equal(trim(value), trim(wanted))
	case r.kind == Bool:
		return len(value) == 1 && len(wanted) == 1 && (value[0] != 0) == (wanted[0] != 0)
	case r.attribute == cryptoki.CKA_EC_PARAMS:
		a, errA := curve.Parse(value)
		b, errB := curve.Parse(wanted)
		return errA == nil && errB == nil && a == b
	case r.attribute == cryptoki.CKA_EC_POINT:
		known, err := curve.Of(object)
		if err != nil {
			return false
		}
		a, okA := known.Point(value)
		b, okB := known.Point(wanted)
		return okA && okB && bytes.Equal(a, b)
	default:
		return false
	}
}
