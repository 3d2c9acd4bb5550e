// Package ticket makes and opens login tickets: what a successful C_Login returns and every replica accepts, because
// all that it says is sealed in it.
package ticket

import (
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Role is who logged in.
type Role uint8

// The roles.
const (
	// SO is the security officer.
	SO Role = iota + 1
	// User is the normal user.
	User
	// Context is a login for one operation with a key that is CKA_ALWAYS_AUTHENTICATE.
	Context
)

// ContextLifetime is how long a context ticket can be used, once.
const ContextLifetime = 5 * time.Minute

// Ticket is what a sealed ticket says.
type Ticket struct {
	// Token is the token's uid, Application the name of who logged in.
	Token, Application string
	Role               Role
	// Epoch is the PIN's epoch at the login: a ticket of an earlier one is void.
	Epoch  uint64
	Issued time.Time
	// Expires follows from Issued and the issuer's lifetime; it is not sealed.
	Expires time.Time
	// ID is unique, for context tickets that can be used once (keystore.Tx.UseTicket).
	ID string
}

// Sealer seals under a purpose; seal.Root is one.
type Sealer interface {
	Seal(purpose string, plaintext, aad []byte) ([]byte, error)
	Open(purpose string, sealed, aad []byte) ([]byte, error)
}

// Issuer makes and opens tickets.
type Issuer struct{}

// NewIssuer returns an issuer of tickets with a lifetime; 12 hours if it is 0.
func NewIssuer(_ Sealer, _ time.Duration) *Issuer { return &Issuer{} }

// Issue makes a ticket.
func (i *Issuer) Issue(token, application string, role Role, epoch uint64) ([]byte, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Open unseals a ticket and checks that it is one of this token and application and has not expired. Everything wrong
// with it is fault.UserNotLoggedIn. The caller compares Epoch with the token's and looks at Role.
func (i *Issuer) Open(sealed []byte, token, application string) (Ticket, error) {
	return Ticket{}, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Renew returns a new ticket for a valid one that has passed half of its life, nil otherwise. Context tickets are not
// renewed.
func (i *Issuer) Renew(t Ticket) ([]byte, error) { return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED }
