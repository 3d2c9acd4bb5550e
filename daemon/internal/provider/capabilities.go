package provider

import (
	"slices"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

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
	// MaxData is the largest input of one operation in bytes; 0 for no limit. MinData is the smallest that signing
	// takes: some services refuse an empty message.
	MaxData, MinData int
	// OneUse tells that a key pair is made for one use: to sign, else to decrypt, else to derive, whichever of them the
	// template asks for first. The provider says in Generated.Private what became of the others.
	OneUse bool
	// OneAlgorithm tells that a key does one mechanism with one hash, which CKA_ALLOWED_MECHANISMS of the template
	// chooses: the mechanism, or its variant that hashes, or both the mechanism and the digest's. Generated.Private says
	// which mechanisms the key has.
	OneAlgorithm bool
	// NoImport are the types of keys that the provider makes but does not take from outside.
	NoImport []cryptoki.KeyType
	// Metered tells that the provider is a service that bills each call.
	Metered bool
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
	// Sizes are the only key sizes between MinSize and MaxSize, nil for all.
	Sizes []uint64
	// DigestInfo are the digest mechanisms whose DigestInfo CKM_RSA_PKCS signs, nil for whatever fits under the padding.
	DigestInfo []cryptoki.MechanismType
	// SaltIsHash tells that the salt of PSS must be as long as the hash.
	SaltIsHash bool
	// MinSalt is the shortest salt of PSS.
	MinSalt uint64
	// AnyLength tells that MinData and MaxData do not bound the mechanism: the provider sends what it makes of the message.
	AnyLength bool
	// HashSized tells that CKM_ECDSA takes only what can be brought to the length of a SHA-2 digest without changing
	// the signature: on P-521, for which the longest is SHA-512, no more than 64 bytes.
	HashSized bool
	// ImplicitRejection tells that CKM_RSA_PKCS decrypts what is wrongly padded to bytes that look random, the same each
	// time, instead of refusing it, so that nobody learns from its errors.
	ImplicitRejection bool
	// NoEmpty tells that CKM_RSA_PKCS makes something else of an encrypted message of no bytes.
	NoEmpty bool
	// IVSize and TagSize are the only lengths, in bytes, of the initialisation vector and the tag that CKM_AES_GCM
	// takes; 0 for all.
	IVSize, TagSize int
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

// Hashes tells whether the provider's tokens offer the hashing variant of a raw mechanism for a hash: not where the
// service is known to refuse what it would reduce to.
func (c Capabilities) Hashes(raw, digest cryptoki.MechanismType) bool {
	m, ok := c.Mechanism(raw)
	switch {
	case !ok:
		return false
	case raw == cryptoki.CKM_RSA_PKCS && m.DigestInfo != nil:
		return slices.Contains(m.DigestInfo, digest)
	case raw == cryptoki.CKM_RSA_PKCS_PSS && m.Hashes != nil:
		return slices.Contains(m.Hashes, digest)
	}
	return true
}
