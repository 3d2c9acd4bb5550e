// Package pin turns PINs into Argon2id hashes and checks them.
package pin

import "github.com/anyhsm/anyhsm/internal/cryptoki"

// The bounds of a PIN's length in bytes.
const (
	MinLength = 4
	MaxLength = 255
)

// Check tells whether a new PIN is acceptable: fault.PINLenRange if it is too short or too long.
func Check(_ []byte) error { return cryptoki.CKR_FUNCTION_NOT_SUPPORTED }

// Hash checks a new PIN and returns the PHC string to store.
func Hash(_ []byte) (string, error) { return "", cryptoki.CKR_FUNCTION_NOT_SUPPORTED }

// Verify tells whether a PIN is the one that was hashed. It waits for its turn when many are checked at once. An error
// means that the stored hash is damaged.
func Verify(_ string, _ []byte) (bool, error) { return false, cryptoki.CKR_FUNCTION_NOT_SUPPORTED }
