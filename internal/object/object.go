// Package object holds the rules of PKCS#11's section 4: which attributes an object has, which a template may, must or
// must not name, what they default to, and how they may change. Module and daemon both ask it; it knows no key
// material beyond the attributes it is given.
package object

// Purpose is the function that an object comes from.
type Purpose int

// The purposes.
const (
	// Create is C_CreateObject: the template holds the values.
	Create Purpose = iota
	// Generate is C_GenerateKey: the token makes the value.
	Generate
	// Derive is C_DeriveKey: the token makes the value.
	Derive
	// Unwrap is C_UnwrapKey: the token finds the value.
	Unwrap
)
