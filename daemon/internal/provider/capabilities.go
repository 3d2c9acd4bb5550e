package provider

import "github.com/anyhsm/anyhsm/internal/cryptoki"

// Capabilities is what a provider can do, as data.
type Capabilities struct {
	// Kind is the provider's kind: software, hsm, awskms…
	Kind string
	// Hardware tells that keys live in a device (CKF_HW).
	Hardware bool
	// Mechanisms are those that the provider itself performs. keyservice adds what the daemon and the module can add:
	// hashing, padding, public-key operations, digests.
	Mechanisms []Mechanism
	// Curves are the object identifiers of the curves, DER, as in CKA_EC_PARAMS.
	Curves [][]byte
	// MaxData is the largest input of one operation in bytes; 0 for no limit.
	MaxData int
	// Keeps tells that the provider keeps the keys itself, so that destroying and adopting mean something.
	Keeps bool
}

// Mechanism is one mechanism with the key sizes it takes, in the unit that CK_MECHANISM_INFO uses for it, and the
// CKF_ flags of what it can do.
type Mechanism struct {
	Type             cryptoki.MechanismType
	MinSize, MaxSize uint64
	Flags            cryptoki.Flags
	// Hashes are the digest mechanisms that CKM_RSA_PKCS_PSS and CKM_RSA_PKCS_OAEP take in their parameter, nil for
	// all that Go has.
	Hashes []cryptoki.MechanismType
	// SameMGF tells that the mask generation function of PSS and OAEP must use the same hash.
	SameMGF bool
	// NoLabel tells that OAEP takes no label.
	NoLabel bool
}

// Can tells whether the provider performs a mechanism for the use that a flag names.
func (c Capabilities) Can(mechanism cryptoki.MechanismType, flag cryptoki.Flags) bool {
	m, ok := c.Mechanism(mechanism)
	return ok && m.Flags&flag == flag
}

// Mechanism returns a mechanism's row.
func (c Capabilities) Mechanism(t cryptoki.MechanismType) (Mechanism, bool) {
	for _, m := range c.Mechanisms {
		if m.Type == t {
			return m, true
		}
	}
	return Mechanism{}, false
}
