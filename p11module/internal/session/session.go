// Package session is what an application does in a session: log in, make and find objects, use keys.
package session

import "github.com/anyhsm/anyhsm/internal/cryptoki"

// Query is the room of a caller that only asks for the size (a NULL buffer).
const Query = -1

// Session is an open session.
type Session struct{}

// Info is CK_SESSION_INFO.
type Info struct {
	Slot        uint64
	State       cryptoki.State
	Flags       cryptoki.Flags
	DeviceError uint64
}

// Value is one attribute's value, or why there is none: CKR_ATTRIBUTE_SENSITIVE or CKR_ATTRIBUTE_TYPE_INVALID.
type Value struct {
	Data []byte
	Err  error
}

const none = cryptoki.CKR_FUNCTION_NOT_SUPPORTED

// Info is C_Info.
func (s *Session) Info() Info { return Info{} }

// Login is C_Login.
func (s *Session) Login(user cryptoki.UserType, pin []byte) error { return none }

// Logout is C_Logout.
func (s *Session) Logout() error { return none }

// InitPIN is C_InitPIN.
func (s *Session) InitPIN(pin []byte) error { return none }

// SetPIN is C_SetPIN.
func (s *Session) SetPIN(old, new []byte) error { return none }

// CreateObject is C_CreateObject.
func (s *Session) CreateObject(template cryptoki.Attributes) (uint64, error) { return 0, none }

// CopyObject is C_CopyObject.
func (s *Session) CopyObject(object uint64, template cryptoki.Attributes) (uint64, error) {
	return 0, none
}

// DestroyObject is C_DestroyObject.
func (s *Session) DestroyObject(object uint64) error { return none }

// ObjectSize is C_ObjectSize.
func (s *Session) ObjectSize(object uint64) (uint64, error) { return 0, none }

// Attributes is C_Attributes.
func (s *Session) Attributes(object uint64, types []cryptoki.AttributeType) ([]Value, error) {
	return nil, none
}

// SetAttributes is C_SetAttributes.
func (s *Session) SetAttributes(object uint64, template cryptoki.Attributes) error { return none }

// FindInit is C_FindInit.
func (s *Session) FindInit(template cryptoki.Attributes) error { return none }

// Find is C_Find.
func (s *Session) Find(most int) ([]uint64, error) { return nil, none }

// FindFinal is C_FindFinal.
func (s *Session) FindFinal() error { return none }

// EncryptInit is C_EncryptInit.
func (s *Session) EncryptInit(m cryptoki.Mechanism, key uint64) error { return none }

// Encrypt is C_Encrypt.
func (s *Session) Encrypt(data []byte, room int) (out []byte, n int, err error) { return nil, 0, none }

// EncryptUpdate is C_EncryptUpdate.
func (s *Session) EncryptUpdate(data []byte, room int) (out []byte, n int, err error) {
	return nil, 0, none
}

// EncryptFinal is C_EncryptFinal.
func (s *Session) EncryptFinal(room int) (out []byte, n int, err error) { return nil, 0, none }

// DecryptInit is C_DecryptInit.
func (s *Session) DecryptInit(m cryptoki.Mechanism, key uint64) error { return none }

// Decrypt is C_Decrypt.
func (s *Session) Decrypt(data []byte, room int) (out []byte, n int, err error) { return nil, 0, none }

// DecryptUpdate is C_DecryptUpdate.
func (s *Session) DecryptUpdate(data []byte, room int) (out []byte, n int, err error) {
	return nil, 0, none
}

// DecryptFinal is C_DecryptFinal.
func (s *Session) DecryptFinal(room int) (out []byte, n int, err error) { return nil, 0, none }

// DigestInit is C_DigestInit.
func (s *Session) DigestInit(m cryptoki.Mechanism) error { return none }

// Digest is C_Digest.
func (s *Session) Digest(data []byte, room int) (out []byte, n int, err error) { return nil, 0, none }

// DigestUpdate is C_DigestUpdate.
func (s *Session) DigestUpdate(data []byte) error { return none }

// DigestKey is C_DigestKey.
func (s *Session) DigestKey(key uint64) error { return none }

// DigestFinal is C_DigestFinal.
func (s *Session) DigestFinal(room int) (out []byte, n int, err error) { return nil, 0, none }

// SignInit is C_SignInit.
func (s *Session) SignInit(m cryptoki.Mechanism, key uint64) error { return none }

// Sign is C_Sign.
func (s *Session) Sign(data []byte, room int) (out []byte, n int, err error) { return nil, 0, none }

// SignUpdate is C_SignUpdate.
func (s *Session) SignUpdate(data []byte) error { return none }

// SignFinal is C_SignFinal.
func (s *Session) SignFinal(room int) (out []byte, n int, err error) { return nil, 0, none }

// VerifyInit is C_VerifyInit.
func (s *Session) VerifyInit(m cryptoki.Mechanism, key uint64) error { return none }

// Verify is C_Verify.
func (s *Session) Verify(data, signature []byte) error { return none }

// VerifyUpdate is C_VerifyUpdate.
func (s *Session) VerifyUpdate(data []byte) error { return none }

// VerifyFinal is C_VerifyFinal.
func (s *Session) VerifyFinal(signature []byte) error { return none }

// GenerateKey is C_GenerateKey.
func (s *Session) GenerateKey(m cryptoki.Mechanism, template cryptoki.Attributes) (uint64, error) {
	return 0, none
}

// GenerateKeyPair is C_GenerateKeyPair.
func (s *Session) GenerateKeyPair(m cryptoki.Mechanism, public, private cryptoki.Attributes) (pub, priv uint64, err error) {
	return 0, 0, none
}

// DeriveKey is C_DeriveKey.
func (s *Session) DeriveKey(m cryptoki.Mechanism, base uint64, template cryptoki.Attributes) (uint64, error) {
	return 0, none
}

// SeedRandom is C_SeedRandom.
func (s *Session) SeedRandom(seed []byte) error { return none }

// GenerateRandom is C_GenerateRandom.
func (s *Session) GenerateRandom(n int) ([]byte, error) { return nil, none }

// Cancel is C_Cancel.
func (s *Session) Cancel(flags cryptoki.Flags) error { return none }
