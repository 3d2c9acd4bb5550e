// Package ticket makes and opens login tickets: what a successful C_Login returns and every replica accepts, because
// all that it says is sealed in it.
package ticket

import (
	"crypto/rand"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/memo"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Role is who logged in.
type Role uint8

// The roles. Their numbers stand in sealed tickets and never change.
const (
	// SO is the security officer.
	SO Role = iota + 1
	// User is the normal user.
	User
	// Context is a login for one operation with a key that is CKA_ALWAYS_AUTHENTICATE.
	Context
)

const (
	// DefaultLifetime is how long a ticket lives where the configuration does not say.
	DefaultLifetime = 12 * time.Hour
	// ContextLifetime is how long a context ticket can be used, once.
	ContextLifetime = 5 * time.Minute
	// Skew is how far the clocks of two replicas may be apart.
	Skew = 2 * time.Minute
)

const purpose = "login ticket"

// Ticket is what a sealed ticket says.
type Ticket struct {
	// Token is the token's uid, Application the name of who logged in.
	Token, Application string
	Role               Role
	// Epoch is the PIN's epoch at the login: a ticket of an earlier one is void.
	Epoch  uint64
	Issued time.Time
	// Expires follows from Issued and the issuer's lifetime; it is not sealed, so a shorter lifetime holds at once.
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
type Issuer struct {
	sealer   Sealer
	lifetime time.Duration
	now      func() time.Time
	// opened are tickets that come again and again: what they say, which is checked each time.
	opened *memo.Memo[Ticket]
}

// maxOpened bounds the tickets that are remembered.
const maxOpened = 4096

// NewIssuer returns an issuer of tickets with a lifetime; DefaultLifetime if it is 0.
func NewIssuer(sealer Sealer, lifetime time.Duration) *Issuer {
	if lifetime <= 0 {
		lifetime = DefaultLifetime
	}
	return &Issuer{sealer: sealer, lifetime: lifetime, now: time.Now, opened: memo.New[Ticket](maxOpened)}
}

// Issue makes a ticket.
func (i *Issuer) Issue(token, application string, role Role, epoch uint64) ([]byte, error) {
	t := Ticket{Token: token, Application: application, Role: role, Epoch: epoch, Issued: i.now(), ID: rand.Text()}
	plain, err := t.encode()
	if err != nil {
		return nil, err
	}
	return i.sealer.Seal(purpose, plain, nil)
}

// Open unseals a ticket and checks that it is one of this token and application and has not expired. Everything wrong
// with it is fault.UserNotLoggedIn. The caller compares Epoch with the token's and looks at Role.
//
// Nobody but a daemon makes tickets, so one from the future says that a clock was wrong. It is good if it is no further
// ahead than a ticket lives, and renewed at once: else a clock that is set back would end all logins.
func (i *Issuer) Open(sealed []byte, token, application string) (Ticket, error) {
	if len(sealed) == 0 {
		return Ticket{}, fault.New(fault.UserNotLoggedIn, "nobody is logged in; call C_Login")
	}
	if len(sealed) > maxSealed {
		return Ticket{}, errForeign
	}
	t, err := i.read(sealed)
	if err != nil {
		return Ticket{}, err
	}
	if t.Token != token || t.Application != application {
		return Ticket{}, fault.New(fault.UserNotLoggedIn, "the login ticket belongs to another token or application; log in to this token")
	}
	now := i.now()
	t.Expires = t.Issued.Add(i.life(t.Role))
	switch {
	case t.Issued.After(now.Add(i.life(t.Role) + Skew)):
		return Ticket{}, fault.New(fault.UserNotLoggedIn,
			"the login ticket was issued %s in the future; set the clocks of the daemons right", t.Issued.Sub(now).Round(time.Second))
	case !now.Before(t.Expires.Add(Skew)):
		return Ticket{}, fault.New(fault.UserNotLoggedIn, "the login expired at %s; log in again", t.Expires.UTC().Format(time.RFC3339))
	}
	return t, nil
}

// read returns what a sealed ticket says. One for a single operation comes once and is not remembered.
func (i *Issuer) read(sealed []byte) (Ticket, error) {
	if t, ok := i.opened.Get(sealed); ok {
		return t, nil
	}
	plain, err := i.sealer.Open(purpose, sealed, nil)
	if err != nil {
		return Ticket{}, errForeign
	}
	t, err := decode(plain)
	if err == nil && t.Role != Context {
		i.opened.Put(sealed, t)
	}
	return t, err
}

// Renew returns a new ticket for a valid one that has passed half of its life or is from the future, nil otherwise.
// Context tickets are not renewed.
func (i *Issuer) Renew(t Ticket) ([]byte, error) {
	now := i.now()
	if young := now.Before(t.Issued.Add(i.life(t.Role) / 2)); t.Role == Context || young && !t.Issued.After(now.Add(Skew)) {
		return nil, nil
	}
	return i.Issue(t.Token, t.Application, t.Role, t.Epoch)
}

func (i *Issuer) life(role Role) time.Duration {
	if role == Context {
		return min(ContextLifetime, i.lifetime)
	}
	return i.lifetime
}
