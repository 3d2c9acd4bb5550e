package keyservice

import (
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// TokenSummary is a token as an administrator sees it.
type TokenSummary struct {
	Token         Token
	SlotID        uint64
	Provider      string
	Objects       uint64
	LoginRequired bool
	Created       time.Time
}

// NewToken asks for a token. An empty Provider is the default one; an empty SOPIN leaves the SO without a login, an
// empty UserPIN leaves it to C_InitPIN.
type NewToken struct {
	Label, Provider string
	SOPIN, UserPIN  []byte
	// NoLogin makes a token whose objects need no C_Login: the caller's identity is enough.
	NoLogin bool
}

// KeySummary is one object as an administrator sees it.
type KeySummary struct {
	ID      uint64
	UID     string
	Class   cryptoki.ObjectClass
	KeyType cryptoki.KeyType
	// Bits of an RSA modulus, of a secret key or of the curve's field.
	Bits  uint32
	Curve string
	// ParameterSet is that of an ML-DSA key.
	ParameterSet string
	Label        string
	KeyID        []byte
	// Provider that holds the key; empty for objects without a secret.
	Provider string
	Created  time.Time
	// Usage are CKA_SIGN and so on by their names in lower case.
	Usage       []string
	Extractable bool
	// Subject of a certificate, and its DER.
	Subject     string
	Certificate []byte
	// PublicKey is the SubjectPublicKeyInfo of a key pair, DER.
	PublicKey []byte
	// Attributes are all that are not secret; filled by GetKey only.
	Attributes cryptoki.Attributes
}

// NewKey asks for a key. Spec is rsa:BITS, ec:p224|p256|p384|p521, ed25519, aes:128|192|256 or hmac:BITS. An empty
// Usage is what the key type is for.
type NewKey struct {
	Spec, Label string
	ID          []byte
	Usage       []string
	Extractable bool
	// Twin makes an RSA key for both paddings in a provider whose keys have one.
	Twin bool
}

// KeyImport brings a key: a PKCS#8 private key in DER, or the bytes of a secret key of type "aes" or "generic".
type KeyImport struct {
	PKCS8, Secret []byte
	SecretType    string
	Label         string
	ID            []byte
	Usage         []string
	Extractable   bool
}

// Adoption names keys that already are in a provider. An empty Provider is the token's.
type Adoption struct {
	Provider   string
	References []string
	All        bool
}

// CertificateImport brings an X.509 certificate. An empty ID is that of the key pair it belongs to, else the SHA-1 of
// its public key.
type CertificateImport struct {
	DER   []byte
	Label string
	ID    []byte
}

// View is what an application's module sees, and what it does not see and why not.
type View struct {
	Application string
	Identities  []string
	Visible     []VisibleToken
	Hidden      []HiddenToken
}

// VisibleToken is a token that an application sees. Warnings say what will go wrong all the same.
type VisibleToken struct {
	Token      TokenSummary
	Operations []string
	Keys       []KeySummary
	Warnings   []string
}

// HiddenToken is a token that an application does not see.
type HiddenToken struct{ Label, Reason string }

// ProviderSummary is one configured provider.
type ProviderSummary struct {
	Name, Kind string
	Healthy    bool
	// Detail says why the provider is not healthy.
	Detail     string
	Mechanisms []Mechanism
	// Curves by name.
	Curves []string
	// Abilities are import, destroy, list, random, health.
	Abilities []string
}

// CheckResult is one step of a provider's check.
type CheckResult struct {
	Name     string
	Passed   bool
	Detail   string
	Duration time.Duration
}

// ProviderKey is a key that sits in a provider. Token is the label of the token that has it; empty if unknown to us.
type ProviderKey struct {
	Reference, Label string
	KeyID            []byte
	KeyType          cryptoki.KeyType
	Bits             uint32
	Token            string
}
