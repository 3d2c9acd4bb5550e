package keyservice

import (
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// Call is what every call brings along: who calls, for which token, with what proof of login. The daemon keeps
// nothing between two calls.
type Call struct {
	// Caller is who the connection belongs to, as package authn has found out.
	Caller authn.Caller
	// Token is the token's uid. Administrators may give its label as well.
	Token string
	// Ticket is what Login returned; empty in a public session.
	Ticket []byte
	// ContextTicket is what Login returned for CKU_CONTEXT_SPECIFIC: good for one use of one key.
	ContextTicket []byte
	// Revision is the newest revision of the token that the caller has heard of, perhaps from another replica; 0 if none.
	Revision uint64
	// RequestID makes a change repeatable: the same id gets the first answer again. Empty: not repeatable.
	RequestID string
}

// Reply is what every answer about a token brings along.
type Reply struct {
	// Revision is the token's revision: a cache of another revision is stale.
	Revision uint64
	// Ticket replaces the one that came with the call; nil as long as that is young.
	Ticket []byte
}

// KeyRef names the object that a call is about: a token object by its number, or a session object by its blob.
type KeyRef struct {
	Object uint64
	Sealed []byte
}

// Object is an object as an application sees it.
type Object struct {
	// ID is the handle of a token object; 0 for a session object.
	ID uint64
	// Attributes are all that are not secret.
	Attributes cryptoki.Attributes
	// Sealed is the blob of a session object that holds a secret. The caller keeps it and sends it along.
	Sealed []byte
	// Secret holds the secret values of a session object that the application may read.
	Secret cryptoki.Attributes
	// Limits are what the places where the key is take in parameters of mechanisms.
	Limits []mechanism.Limit
}

// Token is what CK_TOKEN_INFO needs.
type Token struct {
	// UID is empty for the free slot, where C_InitToken makes a token.
	UID, Label, Serial, Model string
	Flags                     cryptoki.Flags
	Revision                  uint64
	MinPIN, MaxPIN            uint32
}

// Slot is a slot with its token. Its id never changes and is never given to another token.
type Slot struct {
	ID          uint64
	Description string
	Token       Token
	// Table is an index into Slots.Tables.
	Table int
}

// Slots are the slots that a caller sees, with the mechanism tables that they share.
type Slots struct {
	Slots  []Slot
	Tables [][]Mechanism
}

// Mechanism is CK_MECHANISM_INFO with its type.
type Mechanism struct {
	Type             cryptoki.MechanismType
	MinSize, MaxSize uint64
	Flags            cryptoki.Flags
}

// Login is what a successful login returns.
type Login struct {
	Ticket   []byte
	Lifetime time.Duration
	Token    Token
}

// Listing is one page of a token's objects.
type Listing struct {
	// Complete tells that the listing replaces the caller's cache; false: it is what changed since the revision asked for.
	Complete bool
	Objects  []Object
	// Removed are the numbers of the objects destroyed since the revision asked for; on the first page only.
	Removed []uint64
	// Next is the next page; empty on the last.
	Next string
}
