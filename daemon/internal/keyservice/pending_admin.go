package keyservice

import (
	"context"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

const pending = cryptoki.CKR_FUNCTION_NOT_SUPPORTED

// CreateToken makes an initialised token.
func (s *Service) CreateToken(ctx context.Context, call Call, token NewToken) (TokenSummary, error) {
	return TokenSummary{}, pending
}

// ListTokens returns all tokens.
func (s *Service) ListTokens(ctx context.Context, call Call) ([]TokenSummary, error) {
	return nil, pending
}

// GetToken returns the token that call.Token names by label or uid.
func (s *Service) GetToken(ctx context.Context, call Call) (TokenSummary, error) {
	return TokenSummary{}, pending
}

// DeleteToken deletes a token; with objects in it only if forced. It returns how many objects went.
func (s *Service) DeleteToken(ctx context.Context, call Call, force bool) (uint64, error) {
	return 0, pending
}

// UnlockToken sets the tries of the PINs back and, if one is given, a new user PIN.
func (s *Service) UnlockToken(ctx context.Context, call Call, userPIN []byte) (TokenSummary, error) {
	return TokenSummary{}, pending
}

// CreateKey generates a key or a key pair.
func (s *Service) CreateKey(ctx context.Context, call Call, key NewKey) (KeySummary, error) {
	return KeySummary{}, pending
}

// ImportKey stores a private key or a secret key.
func (s *Service) ImportKey(ctx context.Context, call Call, key KeyImport) (KeySummary, error) {
	return KeySummary{}, pending
}

// AdoptKeys takes keys that already are in a provider into a token.
func (s *Service) AdoptKeys(ctx context.Context, call Call, adoption Adoption) (adopted []KeySummary, known []string, err error) {
	return nil, nil, pending
}

// ListKeys returns the objects of a token, page by page; class nil for all.
func (s *Service) ListKeys(ctx context.Context, call Call, class *cryptoki.ObjectClass, page string) (keys []KeySummary, next string, err error) {
	return nil, "", pending
}

// GetKey returns the objects that a selector names: a label, a uid, "id:HEX" or a number.
func (s *Service) GetKey(ctx context.Context, call Call, key string) ([]KeySummary, error) {
	return nil, pending
}

// LabelKey changes label and id of a key's objects; empty ones stay.
func (s *Service) LabelKey(ctx context.Context, call Call, key, label string, id []byte) ([]KeySummary, error) {
	return nil, pending
}

// DeleteKey destroys a key and its public half and returns what went.
func (s *Service) DeleteKey(ctx context.Context, call Call, key string) ([]KeySummary, error) {
	return nil, pending
}

// ImportCertificate stores an X.509 certificate.
func (s *Service) ImportCertificate(ctx context.Context, call Call, certificate CertificateImport) (KeySummary, error) {
	return KeySummary{}, pending
}

// ExplainView returns what an application, or an identity as uid:33, sees; empty for the caller.
func (s *Service) ExplainView(ctx context.Context, call Call, application string) (View, error) {
	return View{}, pending
}

// ListProviders returns the configured providers with their health.
func (s *Service) ListProviders(ctx context.Context, call Call) ([]ProviderSummary, error) {
	return nil, pending
}

// CheckProvider exercises a provider.
func (s *Service) CheckProvider(ctx context.Context, call Call, name string) ([]CheckResult, error) {
	return nil, pending
}

// ListProviderKeys returns the keys that a provider holds, known to us or not.
func (s *Service) ListProviderKeys(ctx context.Context, call Call, name, page string) (keys []ProviderKey, next string, err error) {
	return nil, "", pending
}
