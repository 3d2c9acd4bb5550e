// Package mechanism holds the facts of mechanisms: which keys they take, what their parameters must be, how large their
// inputs and outputs are, what hashing ones reduce to. Module and daemon both ask it; it touches no key material.
package mechanism

import (
	"crypto"
	"hash"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Info is what is true of a mechanism whatever the token.
type Info struct {
	Type cryptoki.MechanismType
	// KeyTypes are those of the keys it takes, or makes.
	KeyTypes []cryptoki.KeyType
	// MinSize and MaxSize are in the unit that CK_MECHANISM_INFO uses for it: bits of an RSA modulus or a curve, bytes
	// of an AES key, bits of a generic secret; 0 for digests.
	MinSize, MaxSize uint64
	Flags            cryptoki.Flags
	// Hash is what a hashing mechanism hashes with; 0 if it does not.
	Hash crypto.Hash
	// Base is the raw mechanism that a hashing one reduces to (CKM_SHA256_RSA_PKCS to CKM_RSA_PKCS); else Type.
	Base cryptoki.MechanismType
}

// Lookup returns the facts of a mechanism.
func Lookup(t cryptoki.MechanismType) (Info, bool) { return Info{}, false }

// All returns all mechanisms in the order of their numbers.
func All() []Info { return nil }

// CheckParams checks a mechanism's parameter for a use (CKF_SIGN…) before a key is known: CKR_MECHANISM_PARAM_INVALID.
func CheckParams(m cryptoki.Mechanism, use cryptoki.Flags) error {
	return cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// CheckKey checks that a key may and can be used so: CKR_KEY_TYPE_INCONSISTENT, CKR_KEY_FUNCTION_NOT_PERMITTED,
// CKR_KEY_SIZE_RANGE, CKR_MECHANISM_INVALID when CKA_ALLOWED_MECHANISMS lacks it.
func CheckKey(m cryptoki.Mechanism, use cryptoki.Flags, key cryptoki.Attributes) error {
	return cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// OutputSize returns how many bytes an operation on `input` bytes gives, and whether exactly so or at most.
func OutputSize(m cryptoki.Mechanism, use cryptoki.Flags, key cryptoki.Attributes, input int) (n int, exact bool) {
	return 0, false
}

// MaxInput returns how many bytes one operation takes.
func MaxInput(m cryptoki.Mechanism, use cryptoki.Flags, key cryptoki.Attributes) int { return 0 }

// MultiPart tells whether C_xxxUpdate is allowed with a mechanism.
func MultiPart(t cryptoki.MechanismType) bool { return false }

// Next returns the mechanism that carries on a chained cipher (CKM_AES_CBC, CKM_AES_CBC_PAD, CKM_AES_CTR,
// CKM_AES_ECB) after whole blocks: the last ciphertext block as the next IV, the counter moved on.
func Next(m cryptoki.Mechanism, plaintext, ciphertext []byte) cryptoki.Mechanism { return m }

// NewHash returns the hash of a digest mechanism (CKM_SHA256…).
func NewHash(t cryptoki.MechanismType) (hash.Hash, bool) { return nil, false }

// HashOf returns the hash that a mechanism uses by its name: CKM_SHA256, CKM_SHA256_RSA_PKCS, CKM_ECDSA_SHA256,
// CKM_SHA256_HMAC… give crypto.SHA256.
func HashOf(t cryptoki.MechanismType) (crypto.Hash, bool) { return 0, false }

// Reduce turns a hashing mechanism and the digest into the raw mechanism and what it takes: the DigestInfo for
// CKM_SHAx_RSA_PKCS, the digest for PSS and ECDSA. A raw mechanism comes back as it is.
func Reduce(m cryptoki.Mechanism, digest []byte) (cryptoki.Mechanism, []byte, error) {
	return m, digest, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Entry is a row of a token's mechanism table.
type Entry struct {
	Type             cryptoki.MechanismType
	MinSize, MaxSize uint64
	Flags            cryptoki.Flags
}

// TokenTable returns what a token can do whose provider does the given mechanisms: those, the hashing variants of its
// raw ones, the public-key uses and the digests that the module adds.
func TokenTable(provider []Entry) []Entry { return provider }
