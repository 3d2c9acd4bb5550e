package object

import "github.com/anyhsm/anyhsm/internal/cryptoki"

// ValueKind is how an attribute's value is encoded.
type ValueKind int

// The encodings.
const (
	// Bytes is a byte string, a big integer or text.
	Bytes ValueKind = iota
	// Ulong is a CK_ULONG.
	Ulong
	// Bool is a CK_BBOOL.
	Bool
	// Date is a CK_DATE, or empty.
	Date
	// Ulongs is an array of CK_ULONG.
	Ulongs
	// Template is a nested template.
	Template
)

// Known tells whether objects here can have the attribute.
func Known(t cryptoki.AttributeType) bool { return len(byType[t]) > 0 }

// Kind returns how an attribute's value is encoded, whatever the class; Bytes for one that nobody knows.
func Kind(t cryptoki.AttributeType) ValueKind {
	if rs := byType[t]; len(rs) > 0 {
		return rs[0].kind
	}
	return kindsElsewhere[t]
}

// Secret tells whether an attribute of a class holds secret key material.
func Secret(class cryptoki.ObjectClass, t cryptoki.AttributeType) bool {
	c := classOf(class)
	for _, r := range byType[t] {
		if r.classes&c != 0 && r.flags&secret != 0 {
			return true
		}
	}
	return false
}

// Readable tells whether the secret attributes of a key may be revealed.
func Readable(key cryptoki.Attributes) bool {
	return key.Has(cryptoki.CKA_SENSITIVE) && !key.Bool(cryptoki.CKA_SENSITIVE) && key.Bool(cryptoki.CKA_EXTRACTABLE)
}

// Split takes the secret attributes out. Without a class nothing is known to be secret, so all that ever is counts.
func Split(attributes cryptoki.Attributes) (open, secret cryptoki.Attributes) {
	class, ok := attributes.Class()
	for _, a := range attributes {
		if Secret(class, a.Type) || !ok && (Secret(cryptoki.CKO_PRIVATE_KEY, a.Type) || Secret(cryptoki.CKO_SECRET_KEY, a.Type)) {
			secret = append(secret, a)
		} else {
			open = append(open, a)
		}
	}
	return open, secret
}

// Size returns what C_GetObjectSize answers: the bytes of all values, and for each attribute those of its type and
// length.
func Size(attributes cryptoki.Attributes) uint64 {
	var n uint64
	for _, a := range attributes {
		n += uint64(len(a.Value)) + 16
	}
	return n
}
