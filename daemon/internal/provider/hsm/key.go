package hsm

import (
	"context"
	"errors"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// key is a key of the token in use. It holds no handle: each use resolves the reference on the link it runs on.
type key struct {
	provider  *Provider
	reference provider.Reference
	keyType   cryptoki.KeyType
}

var (
	_ provider.Signer    = (*key)(nil)
	_ provider.Decrypter = (*key)(nil)
	_ provider.Encrypter = (*key)(nil)
	_ provider.Deriver   = (*key)(nil)
	_ provider.Exporter  = (*key)(nil)
	_ provider.Wrapper   = (*key)(nil)
)

// Key finds a key in the token.
func (p *Provider) Key(ctx context.Context, reference provider.Reference) (provider.Key, error) {
	parsed, err := parseReference(reference.Ref)
	if err != nil {
		return nil, p.explain("find the key", err)
	}
	k := &key{provider: p, reference: reference, keyType: parsed.KeyType}
	if _, err := withKey(ctx, k, "find the key", func(*session, *object) (struct{}, error) { return struct{}{}, nil }); err != nil {
		return nil, err
	}
	return k, nil
}

// Reference returns what the key was found by.
func (k *key) Reference() provider.Reference { return k.reference }

// withKey runs f with the key's object. A handle that the token no longer knows is looked for once more.
func withKey[T any](ctx context.Context, k *key, operation string, f func(*session, *object) (T, error)) (T, error) {
	return do(ctx, k.provider, operation, func(_ context.Context, s *session) (T, error) {
		for again := false; ; again = true {
			o, err := s.resolve(k.reference.Ref)
			if err != nil {
				var none T
				return none, err
			}
			value, err := f(s, o)
			if again || !is(err, cryptoki.CKR_OBJECT_HANDLE_INVALID, cryptoki.CKR_KEY_HANDLE_INVALID) {
				return value, err
			}
			s.forget(k.reference.Ref)
		}
	})
}

// Export reads the secret attributes, which the token reveals only of a key that is extractable and not sensitive.
func (k *key) Export(ctx context.Context) (cryptoki.Attributes, error) {
	return withKey(ctx, k, "export the key", func(s *session, o *object) (cryptoki.Attributes, error) {
		flags, err := s.read(o.handle, cryptoki.CKA_SENSITIVE, cryptoki.CKA_EXTRACTABLE)
		if err != nil {
			return nil, err
		}
		if flags.Bool(cryptoki.CKA_SENSITIVE) || !flags.Bool(cryptoki.CKA_EXTRACTABLE) {
			return nil, fault.New(fault.AttributeSensitive, "the HSM's key is sensitive or not extractable, so its value cannot be read")
		}
		types := secretsOf(k.keyType)
		secret, err := s.read(o.handle, types...)
		if err == nil && len(secret) != len(types) {
			return secret, fault.New(fault.AttributeSensitive, "the HSM does not reveal all of the key's value")
		}
		return secret, err
	})
}

// secretsOf are the secret attributes of a type of key.
func secretsOf(keyType cryptoki.KeyType) []cryptoki.AttributeType {
	if keyType == cryptoki.CKK_RSA {
		return rsaSecrets
	}
	return []cryptoki.AttributeType{cryptoki.CKA_VALUE}
}

// rsaSecrets are the secret attributes of an RSA private key.
var rsaSecrets = []cryptoki.AttributeType{
	cryptoki.CKA_PRIVATE_EXPONENT, cryptoki.CKA_PRIME_1, cryptoki.CKA_PRIME_2, cryptoki.CKA_EXPONENT_1,
	cryptoki.CKA_EXPONENT_2, cryptoki.CKA_COEFFICIENT,
}

// ready is the check before an operation: all of it is known without asking the token.
func (k *key) ready(ctx context.Context, operation string, m cryptoki.Mechanism, use cryptoki.Flags) error {
	if ctx.Err() != nil {
		return k.provider.explain(operation, interrupted(ctx, operation))
	}
	if err := k.provider.capabilities.CheckUse(m, use, k.keyType); err != nil {
		return k.provider.explain(operation, err)
	}
	return nil
}

// failed tells whether the library refused an operation for a reason that it does not know how to name: SoftHSM
// answers CKR_GENERAL_ERROR to all that OpenSSL does not decrypt, NSS CKR_ARGUMENTS_BAD to a number beyond the modulus.
func failed(err error) bool {
	var begin *initError
	return !errors.As(err, &begin) && is(err, cryptoki.CKR_GENERAL_ERROR, cryptoki.CKR_FUNCTION_FAILED, cryptoki.CKR_ARGUMENTS_BAD)
}
