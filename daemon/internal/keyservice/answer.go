package keyservice

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// verifier returns what verifies the signatures that providers answer with, nil where the token does not want that, or
// the key has no public half. It costs no call, and tells another key's signature or a damaged one before an application
// relies on it: a key that was adopted by its name is not one that AnyHSM has seen being made.
func (s *Service) verifier(a access, t target) func(ctx context.Context, b *backend, m cryptoki.Mechanism, data, signature []byte) error {
	class, _ := t.Attributes.Class()
	wanted := a.token.VerifySignatures == keystore.VerifyAll || t.Adopted && a.token.VerifySignatures == keystore.VerifyAdopted
	if !wanted || class != cryptoki.CKO_PRIVATE_KEY {
		return nil
	}
	public, err := publicHalf(t.Attributes)
	if err != nil {
		s.log.Warn("a key's signatures are not verified: its public half is not known", "object", t.UID, "reason", err)
		return nil
	}
	return func(ctx context.Context, b *backend, m cryptoki.Mechanism, data, signature []byte) error {
		err := public.Verify(m, data, signature)
		if err == nil {
			return nil
		}
		s.log.ErrorContext(ctx, "a provider answered with a signature that is not the key's; nobody got it",
			"provider", b.name, "object", t.UID, "mechanism", m.Type.String(), "reason", err)
		return fault.New(fault.FunctionFailed, "provider %s answered with a signature that the key's public half does not verify (%s); "+
			"see whether the key there is still the one that was adopted: anyhsm provider sync %s", b.name, err, b.name)
	}
}

// publicHalf makes a key for verifying from the attributes of a private key.
func publicHalf(private cryptoki.Attributes) (*softkey.Key, error) {
	var public cryptoki.Attributes
	for _, a := range private {
		switch a.Type {
		case cryptoki.CKA_KEY_TYPE, cryptoki.CKA_MODULUS, cryptoki.CKA_PUBLIC_EXPONENT, cryptoki.CKA_EC_PARAMS, cryptoki.CKA_EC_POINT,
			cryptoki.CKA_PARAMETER_SET, cryptoki.CKA_PUBLIC_KEY_INFO:
			public = append(public, a)
		}
	}
	return softkey.FromAttributes(append(public, cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PUBLIC_KEY)))
}
