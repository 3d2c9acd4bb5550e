package keystore

import (
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Token is a row of tokens.
type Token struct {
	// ID is the slot id. It is never given again.
	ID uint64
	// UID is unique for ever, 32 hexadecimal digits; CreateToken makes one if it is empty.
	UID string
	// Label is what people call it, Serial what CK_TOKEN_INFO shows, Provider where new keys go.
	Label, Serial, Provider string
	// Routing is by which policy an object's key reference is chosen, and Rules say which provider gets a new key; both
	// are empty for the default.
	Routing, Rules string
	// VerifySignatures says of which keys a provider's signatures are verified before they are answered: VerifyAdopted,
	// VerifyAll or VerifyNone.
	VerifySignatures string
	// NoLogin means that the caller's identity is enough.
	NoLogin bool
	// SealedKey is the token's key under the root key.
	SealedKey []byte
	// SO and User are the PINs.
	SO, User PIN
	// Revision grows with every change of the token or of an object in it.
	Revision uint64
	Created  time.Time
}

// The values of Token.VerifySignatures.
const (
	VerifyAdopted = ""
	VerifyAll     = "all"
	VerifyNone    = "none"
)

// PIN is a PIN as the store keeps it.
type PIN struct {
	// Hash is a PHC string, empty where no PIN is set.
	Hash string
	// Failed counts tries since the last success.
	Failed int
	// Epoch grows with every new PIN, which voids tickets; whoever sets Hash raises it.
	Epoch uint64
}

// Object is a row of objects with its key references.
type Object struct {
	// ID is the handle. It is never given again.
	ID uint64
	// UID is unique for ever; CreateObject makes one if it is empty. Token is the uid of its token.
	UID, Token string
	// Attributes are the open ones; secret ones never come here.
	Attributes cryptoki.Attributes
	// Provider, Ref and Mechanisms are the key reference of rank 0; empty for objects that are no private or secret keys.
	Provider   string
	Ref        []byte
	Mechanisms []cryptoki.MechanismType
	// Replicas are the references from rank 1 on: the same key elsewhere.
	Replicas []KeyReference
	// Routing is by which policy one of several references is chosen; empty for the token's.
	Routing string
	// Adopted tells that the key was in its provider before it became an object.
	Adopted bool
	// Revision is the token's revision at the object's last change.
	Revision uint64
	Created  time.Time
}

// ObjectQuery selects objects of a token, ascending by id.
type ObjectQuery struct {
	// Token is the token's uid.
	Token string
	// Since leaves out objects that have not changed after this revision.
	Since uint64
	// AfterID leaves out objects up to this id: the last one of the page before.
	AfterID uint64
	// Limit is the most objects returned; no limit if 0.
	Limit int
	// Public leaves out objects that are CKA_PRIVATE.
	Public bool
	// Class, KeyType, Label and KeyID (CKA_ID) leave out objects with another value, where not nil.
	Class   *cryptoki.ObjectClass
	KeyType *cryptoki.KeyType
	Label   *string
	KeyID   []byte
}

// Application is a caller with its identities and grants.
type Application struct {
	Name string
	// Identities are "uid:1000" or "cert:HEX". An identity belongs to one application.
	Identities []string
	Grants     []Grant
	// CreateTokens lets it make tokens on the free slot.
	CreateTokens bool
	Created      time.Time
}

// Grant lets an application do operations on a token, which is named by its uid.
type Grant struct {
	Token      string
	Operations []string
}

// Change describes a transaction.
type Change struct {
	// RequestID makes a repeated request harmless; empty for none. It belongs to the application that used it first.
	RequestID, Application string
	// Event is written to the audit in the same transaction, unless its Operation is empty. The function of Change can
	// complete it through Tx.Event.
	Event audit.Event
}
