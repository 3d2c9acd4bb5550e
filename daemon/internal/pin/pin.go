// Package pin turns PINs into Argon2id hashes and checks them.
package pin

import (
	"crypto/rand"
	"crypto/subtle"
	"runtime"

	"golang.org/x/crypto/argon2"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// The bounds of a PIN's length in bytes.
const (
	MinLength = 4
	MaxLength = 255
)

// What a new hash costs: OWASP's second choice for Argon2id, about 20 ms. Old hashes keep the cost that stands in
// them.
var current = cost{memory: 19 * 1024, passes: 2, lanes: 1}

const (
	saltLength = 16
	sumLength  = 32
)

// turns bounds the memory of hashes that are computed at once: 19 MiB each. Whoever guesses PINs in parallel waits.
var turns = make(chan struct{}, min(max(runtime.GOMAXPROCS(0), 2), 8))

// Check tells whether a new PIN is acceptable: fault.PINLenRange if it is too short or too long.
func Check(pin []byte) error {
	if len(pin) < MinLength || len(pin) > MaxLength {
		return fault.New(fault.PINLenRange, "the PIN has %d bytes; choose one of %d to %d", len(pin), MinLength, MaxLength)
	}
	return nil
}

// Hash checks a new PIN and returns the PHC string to store.
func Hash(pin []byte) (string, error) {
	if err := Check(pin); err != nil {
		return "", err
	}
	h := hash{cost: current, salt: make([]byte, saltLength)}
	rand.Read(h.salt) // never fails: the runtime ends the process instead
	h.sum = derive(pin, h.salt, h.cost, sumLength)
	return h.String(), nil
}

// Verify tells whether a PIN is the one that was hashed. It waits for its turn when many are checked at once. An error
// means that the stored hash is damaged.
func Verify(stored string, pin []byte) (bool, error) {
	h, err := parse(stored)
	if err != nil {
		return false, err
	}
	// A PIN that Hash would not take cannot be the right one, and a huge one must not cost time.
	if len(pin) > MaxLength {
		return false, nil
	}
	sum := derive(pin, h.salt, h.cost, len(h.sum))
	defer clear(sum)
	return subtle.ConstantTimeCompare(sum, h.sum) == 1, nil
}

func derive(pin, salt []byte, c cost, length int) []byte {
	turns <- struct{}{}
	defer func() { <-turns }()
	return argon2.IDKey(pin, salt, c.passes, c.memory, c.lanes, uint32(length))
}
