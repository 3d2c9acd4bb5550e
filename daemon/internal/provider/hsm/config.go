package hsm

import "log/slog"

// DefaultSessions is the size of the session pool when Config does not say.
const DefaultSessions = 16

// Config says which token of which library holds the keys. Exactly one of TokenLabel, Serial and Slot must be given.
type Config struct {
	// Name is the provider's name, for log lines and errors.
	Name string
	// Library is the path of the PKCS#11 library.
	Library string
	// TokenLabel is the label of the token.
	TokenLabel string
	// Serial is the serial number of the token.
	Serial string
	// Slot is the number of the slot.
	Slot *uint64
	// PIN is the PIN itself, not a reference to it; empty for a token that needs no login or has a PIN pad.
	PIN string
	// Sessions is how many sessions are open at once at most, DefaultSessions if 0. One more holds the login.
	Sessions int
	// UserType is the CKU_ value to log in with, CKU_USER if 0. Some vendors have users of their own.
	UserType uint64
	// InitArgs is handed to C_Initialize as pReserved, for libraries that want their configuration there.
	InitArgs string
	// Log gets what the provider has to tell: reconnections, limits. slog.Default if nil.
	Log *slog.Logger
}
