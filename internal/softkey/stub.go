// Package softkey performs the mechanisms on key values in memory. The module uses it for public keys and readable
// secrets, provider software for all keys.
package softkey

import "github.com/anyhsm/anyhsm/internal/cryptoki"

// Key is a key whose value is in memory. Wipe it when it is no longer needed. Safe for concurrent use.
type Key struct{}

// FromAttributes makes a key of an object's attributes, a private or secret key's with the secret ones.
func FromAttributes(attributes cryptoki.Attributes) (*Key, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Sign signs or computes a MAC.
func (k *Key) Sign(m cryptoki.Mechanism, data []byte) ([]byte, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Verify checks a signature or MAC.
func (k *Key) Verify(m cryptoki.Mechanism, data, signature []byte) error {
	return cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Encrypt encrypts.
func (k *Key) Encrypt(m cryptoki.Mechanism, plaintext []byte) ([]byte, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Decrypt decrypts.
func (k *Key) Decrypt(m cryptoki.Mechanism, ciphertext []byte) ([]byte, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Derive derives a shared secret of `length` bytes, all there is if 0.
func (k *Key) Derive(m cryptoki.Mechanism, length int) ([]byte, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// PublicAttributes returns the public half as attributes: CKA_MODULUS and CKA_PUBLIC_EXPONENT, or CKA_EC_PARAMS and
// CKA_EC_POINT, and CKA_PUBLIC_KEY_INFO. Nil for a secret key.
func (k *Key) PublicAttributes() cryptoki.Attributes { return nil }

// Public returns the public key as crypto/x509 knows it; nil for a secret key.
func (k *Key) Public() any { return nil }

// Wipe overwrites the key.
func (k *Key) Wipe() {}

// GenerateSecret makes the value of a secret key whose complete attributes are given.
func GenerateSecret(m cryptoki.Mechanism, attributes cryptoki.Attributes) (secret cryptoki.Attributes, err error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// GenerateKeyPair makes a key pair: open holds what both halves get, secret what only the private one does.
func GenerateKeyPair(m cryptoki.Mechanism, public, private cryptoki.Attributes) (open, secret cryptoki.Attributes, err error) {
	return nil, nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// PrivateAttributes makes attributes of what crypto/x509's PKCS#8 parser returns: *rsa.PrivateKey, *ecdsa.PrivateKey,
// ed25519.PrivateKey. Open holds CKA_KEY_TYPE and the public attributes.
func PrivateAttributes(key any) (open, secret cryptoki.Attributes, err error) {
	return nil, nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// PublicAttributes makes attributes of what crypto/x509 returns as a public key: CKA_KEY_TYPE and the public ones.
func PublicAttributes(key any) (cryptoki.Attributes, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}
