package keyservice

import (
	"context"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

const pending = cryptoki.CKR_FUNCTION_NOT_SUPPORTED

// ListSlots returns the slots that the caller may see.
func (s *Service) ListSlots(ctx context.Context, call Call, moduleVersion string) (Slots, error) {
	return Slots{}, pending
}

// InitToken makes the token of the free slot, or wipes and renames an existing one with its SO PIN.
func (s *Service) InitToken(ctx context.Context, call Call, slot uint64, soPIN []byte, label string) (Slot, error) {
	return Slot{}, pending
}

// InitPIN sets the user PIN; the ticket must be the SO's.
func (s *Service) InitPIN(ctx context.Context, call Call, pin []byte) (Token, Reply, error) {
	return Token{}, Reply{}, pending
}

// SetPIN changes the PIN of the role that is logged in, or the user's in a public session.
func (s *Service) SetPIN(ctx context.Context, call Call, oldPIN, newPIN []byte) (Token, Reply, error) {
	return Token{}, Reply{}, pending
}

// Login checks a PIN and returns a ticket that any replica accepts.
func (s *Service) Login(ctx context.Context, call Call, user cryptoki.UserType, pin []byte) (Login, Reply, error) {
	return Login{}, Reply{}, pending
}

// RenewTicket exchanges a ticket that is still valid for a fresh one.
func (s *Service) RenewTicket(ctx context.Context, call Call) (Login, Reply, error) {
	return Login{}, Reply{}, pending
}

// ListObjects returns a page of the objects that the ticket may see, or of what changed since a revision.
func (s *Service) ListObjects(ctx context.Context, call Call, since uint64, page string) (Listing, Reply, error) {
	return Listing{}, Reply{}, pending
}

// GetSecretValue returns the values of a key that is extractable and not sensitive.
func (s *Service) GetSecretValue(ctx context.Context, call Call, key KeyRef) (cryptoki.Attributes, Reply, error) {
	return nil, Reply{}, pending
}

// CreateObject stores an object from a complete template.
func (s *Service) CreateObject(ctx context.Context, call Call, template cryptoki.Attributes) (Object, Reply, error) {
	return Object{}, Reply{}, pending
}

// CopyObject copies an object with changed attributes.
func (s *Service) CopyObject(ctx context.Context, call Call, source KeyRef, template cryptoki.Attributes) (Object, Reply, error) {
	return Object{}, Reply{}, pending
}

// SetAttributes changes attributes.
func (s *Service) SetAttributes(ctx context.Context, call Call, object KeyRef, template cryptoki.Attributes) (Object, Reply, error) {
	return Object{}, Reply{}, pending
}

// DestroyObject destroys a token object and its key.
func (s *Service) DestroyObject(ctx context.Context, call Call, object uint64) (Reply, error) {
	return Reply{}, pending
}

// GenerateKey makes a secret key.
func (s *Service) GenerateKey(ctx context.Context, call Call, m cryptoki.Mechanism, template cryptoki.Attributes) (Object, Reply, error) {
	return Object{}, Reply{}, pending
}

// GenerateKeyPair makes a key pair.
func (s *Service) GenerateKeyPair(ctx context.Context, call Call, m cryptoki.Mechanism, public, private cryptoki.Attributes) (pub, priv Object, reply Reply, err error) {
	return Object{}, Object{}, Reply{}, pending
}

// DeriveKey derives a secret key.
func (s *Service) DeriveKey(ctx context.Context, call Call, m cryptoki.Mechanism, key KeyRef, template cryptoki.Attributes) (Object, Reply, error) {
	return Object{}, Reply{}, pending
}

// Sign signs or computes a MAC. hashed: the mechanism hashes and data is the hash already.
func (s *Service) Sign(ctx context.Context, call Call, key KeyRef, m cryptoki.Mechanism, data []byte, hashed bool) ([]byte, Reply, error) {
	return nil, Reply{}, pending
}

// Verify checks a MAC.
func (s *Service) Verify(ctx context.Context, call Call, key KeyRef, m cryptoki.Mechanism, data, signature []byte) (Reply, error) {
	return Reply{}, pending
}

// Encrypt encrypts. more: whole blocks of a message that goes on, no padding is added.
func (s *Service) Encrypt(ctx context.Context, call Call, key KeyRef, m cryptoki.Mechanism, data []byte, more bool) ([]byte, Reply, error) {
	return nil, Reply{}, pending
}

// Decrypt decrypts. more: whole blocks of a message that goes on, no padding is removed.
func (s *Service) Decrypt(ctx context.Context, call Call, key KeyRef, m cryptoki.Mechanism, data []byte, more bool) ([]byte, Reply, error) {
	return nil, Reply{}, pending
}

// GenerateRandom returns random bytes of the token's provider.
func (s *Service) GenerateRandom(ctx context.Context, call Call, length int) ([]byte, Reply, error) {
	return nil, Reply{}, pending
}

// SeedRandom mixes a seed in.
func (s *Service) SeedRandom(ctx context.Context, call Call, seed []byte) (Reply, error) {
	return Reply{}, pending
}
