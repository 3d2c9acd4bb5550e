package software

import (
	"context"
	"crypto/rsa"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// key is a sealed key in use. It holds no value: each use takes the parsed key from the cache or opens it again.
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

// Reference returns what the key was found by.
func (k *key) Reference() provider.Reference { return k.reference }

// acquire returns the parsed key; the caller releases it.
func (k *key) acquire(ctx context.Context) (*entry, error) {
	if err := k.provider.ready(ctx); err != nil {
		return nil, err
	}
	if e, ok := k.provider.cache.get(k.reference); ok {
		return e, nil
	}
	attributes, err := k.provider.open(ctx, k.reference)
	if err != nil {
		return nil, err
	}
	defer wipe(attributes)
	parsed, err := softkey.FromAttributes(attributes)
	if err != nil {
		return nil, err
	}
	if err = parsed.DoRSA(doRSA); err == nil {
		err = parsed.DoECDSA(doECDSA)
	}
	if err != nil {
		parsed.Wipe()
		return nil, err
	}
	keyType, _ := attributes.KeyType()
	return k.provider.cache.add(k.reference, parsed, keyType), nil
}

// use runs an operation on the parsed key.
func (k *key) use(ctx context.Context, m cryptoki.Mechanism, as cryptoki.Flags, do func(*softkey.Key) ([]byte, error)) ([]byte, error) {
	e, err := k.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer k.provider.cache.release(e)
	if err := capabilities().CheckUse(m, as, k.keyType); err != nil {
		return nil, err
	}
	return do(e.key)
}

// Sign signs or computes a MAC.
func (k *key) Sign(ctx context.Context, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	return k.use(ctx, m, cryptoki.CKF_SIGN, func(parsed *softkey.Key) ([]byte, error) { return parsed.Sign(m, data) })
}

// Decrypt decrypts.
func (k *key) Decrypt(ctx context.Context, m cryptoki.Mechanism, ciphertext []byte) ([]byte, error) {
	return k.use(ctx, m, cryptoki.CKF_DECRYPT, func(parsed *softkey.Key) ([]byte, error) { return parsed.Decrypt(m, ciphertext) })
}

// Encrypt encrypts.
func (k *key) Encrypt(ctx context.Context, m cryptoki.Mechanism, plaintext []byte) ([]byte, error) {
	return k.use(ctx, m, cryptoki.CKF_ENCRYPT, func(parsed *softkey.Key) ([]byte, error) { return parsed.Encrypt(m, plaintext) })
}

// Derive derives a shared secret.
func (k *key) Derive(ctx context.Context, m cryptoki.Mechanism, length int) ([]byte, error) {
	return k.use(ctx, m, cryptoki.CKF_DERIVE, func(parsed *softkey.Key) ([]byte, error) { return parsed.Derive(m, length) })
}

// Export reveals the secret attributes. keyservice has checked that the key may be revealed: whether it may is said by
// the object's attributes, which this provider does not keep.
func (k *key) Export(ctx context.Context) (cryptoki.Attributes, error) {
	if err := k.provider.ready(ctx); err != nil {
		return nil, err
	}
	attributes, err := k.provider.open(ctx, k.reference)
	if err != nil {
		return nil, err
	}
	return pick(attributes, secretTypes...), nil
}

// Wrap gives the key's material to another provider. Who may ask for that is keyservice's to say.
func (k *key) Wrap(ctx context.Context, under *rsa.PublicKey) ([]byte, error) {
	attributes, err := k.provider.open(ctx, k.reference)
	if err != nil {
		return nil, err
	}
	defer wipe(attributes)
	material, err := provider.MaterialOf(attributes)
	if err != nil {
		return nil, err
	}
	defer clear(material)
	return material.Wrap(ctx, under)
}
