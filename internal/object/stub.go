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

// New checks a template and returns the complete attributes of the new object.
func New(purpose Purpose, mechanism cryptoki.MechanismType, template cryptoki.Attributes) (cryptoki.Attributes, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// NewKeyPair checks the templates of C_GenerateKeyPair and returns the complete attributes of both halves.
func NewKeyPair(mechanism cryptoki.Mechanism, public, private cryptoki.Attributes) (pub, priv cryptoki.Attributes, err error) {
	return nil, nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Complete merges what the provider generated into both halves of a key pair.
func Complete(pub, priv, generated cryptoki.Attributes) (cryptoki.Attributes, cryptoki.Attributes) {
	return pub, priv
}

// Copy applies C_CopyObject's rules.
func Copy(source, template cryptoki.Attributes) (cryptoki.Attributes, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Set applies C_SetAttributeValue's rules.
func Set(current, changes cryptoki.Attributes) (cryptoki.Attributes, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Match tells whether an object has all attributes of a template with equal values (C_FindObjects).
func Match(attributes, template cryptoki.Attributes) bool { return false }

// Split takes the secret attributes out.
func Split(attributes cryptoki.Attributes) (open, secret cryptoki.Attributes) { return attributes, nil }

// Secret tells whether an attribute of a class holds secret key material.
func Secret(class cryptoki.ObjectClass, t cryptoki.AttributeType) bool { return false }

// Known tells whether the standard's attribute is one that objects here can have.
func Known(t cryptoki.AttributeType) bool { return false }

// Kind returns how an attribute's value is encoded; Bytes for an unknown one.
func Kind(t cryptoki.AttributeType) ValueKind { return Bytes }

// Size returns what C_GetObjectSize answers.
func Size(attributes cryptoki.Attributes) uint64 { return 0 }

// PublicFromPrivate makes the attributes of a public key object from those of a private key, if they suffice.
func PublicFromPrivate(private cryptoki.Attributes) (cryptoki.Attributes, bool) { return nil, false }
