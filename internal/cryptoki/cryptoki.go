// Package cryptoki is the vocabulary of PKCS#11 that every part of AnyHSM shares: return values, attributes,
// mechanisms and their parameters. It knows no C, no gRPC and imports nothing of ours.
package cryptoki

import "fmt"

//go:generate go run ./generate

// RV is a CK_RV. It is an error, so a function of ours can return it as one; CKR_OK is never returned as an error.
type RV uint64

// ObjectClass is a CKO_ value.
type ObjectClass uint64

// AttributeType is a CKA_ value.
type AttributeType uint64

// KeyType is a CKK_ value.
type KeyType uint64

// MechanismType is a CKM_ value.
type MechanismType uint64

// Flags is a CK_FLAGS; which CKF_ values it holds depends on where it stands.
type Flags uint64

// UserType is a CKU_ value.
type UserType uint64

// State is a CKS_ value.
type State uint64

// Unavailable is CK_UNAVAILABLE_INFORMATION: the length of an attribute that cannot be had.
const Unavailable = ^uint64(0)

// Error returns the standard's name of the value.
func (rv RV) Error() string { return rv.String() }

// String returns the standard's name of the value.
func (rv RV) String() string { return name(nameRV, rv, "CKR") }

// String returns the standard's name of the class.
func (c ObjectClass) String() string { return name(nameObjectClass, c, "CKO") }

// String returns the standard's name of the attribute.
func (t AttributeType) String() string { return name(nameAttributeType, t, "CKA") }

// String returns the standard's name of the key type.
func (t KeyType) String() string { return name(nameKeyType, t, "CKK") }

// String returns the standard's name of the mechanism.
func (t MechanismType) String() string { return name(nameMechanismType, t, "CKM") }

func name[T ~uint64](names map[T]string, value T, prefix string) string {
	if s, ok := names[value]; ok {
		return s
	}
	return fmt.Sprintf("%s 0x%08x", prefix, uint64(value))
}
