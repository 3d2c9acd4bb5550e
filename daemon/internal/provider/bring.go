package provider

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"slices"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/keywrap"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// Bring brings key material into a provider. The attributes are the object's open ones, the public ones among them. To
// a service that has a wrapping key the material goes wrapped; only where there is none does the daemon see it, in memory,
// on its way to the provider's Import.
func Bring(ctx context.Context, to Provider, identity Identity, attributes cryptoki.Attributes, material Wrapper) (Generated, error) {
	wrapped, takesWrapped := to.(WrappedImporter)
	importer, ok := to.(Importer)
	if !ok && !takesWrapped {
		return Generated{}, fault.New(fault.ActionProhibited, "providers of kind %s take no keys from outside; make a new key there with anyhsm key rotate --to PROVIDER", to.Capabilities().Kind)
	}
	if keyType, _ := attributes.KeyType(); slices.Contains(to.Capabilities().NoImport, keyType) {
		return Generated{}, fault.New(fault.ActionProhibited, "providers of kind %s take no %s keys from outside; make a new key there with anyhsm key rotate --to PROVIDER", to.Capabilities().Kind, keyType)
	}
	// It never leaves this function: 2048 bits are plenty.
	moment, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return Generated{}, err
	}
	// First of all, whether the key may leave: else a service would make, and bill, an empty key.
	sealed, err := material.Wrap(ctx, &moment.PublicKey)
	if err != nil {
		return Generated{}, err
	}
	if takesWrapped {
		return wrapped.ImportWrapped(ctx, identity, attributes, material)
	}
	value, err := keywrap.UnwrapRSAAES(moment, sha256.New(), sealed)
	if err != nil {
		return Generated{}, fault.New(fault.FunctionFailed, "the provider has wrapped the key in another way than CKM_RSA_AES_KEY_WRAP; look at what it says about wrapping: %w", err)
	}
	defer clear(value)
	secret, err := secretsOf(attributes, value)
	if err != nil {
		return Generated{}, err
	}
	defer func() {
		for _, a := range secret {
			clear(a.Value)
		}
	}()
	return importer.Import(ctx, identity, append(attributes.Clone(), secret...))
}

// secretsOf reads material as the secret attributes of the object whose open ones are given.
func secretsOf(attributes cryptoki.Attributes, material []byte) (cryptoki.Attributes, error) {
	if class, _ := attributes.Class(); class == cryptoki.CKO_SECRET_KEY {
		return cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_VALUE, bytes.Clone(material))}, nil
	}
	parsed, err := softkey.ParsePKCS8(material)
	if err != nil {
		// The parser's own words could quote the key.
		return nil, fault.New(fault.KeyUnextractable, "the provider wraps keys of this type in a form that nobody else reads; make a new key elsewhere with anyhsm key rotate --to PROVIDER")
	}
	open, secret, err := softkey.PrivateAttributes(parsed)
	if err != nil {
		return nil, err
	}
	for _, a := range open {
		if has, ok := attributes.Get(a.Type); ok && !bytes.Equal(has, a.Value) {
			return nil, fault.New(fault.Conflict, "the provider has another key under this reference than the object's; adopt it anew")
		}
	}
	return secret, nil
}

// MaterialOf is the material of a key whose attributes, the secret ones among them, are known. The caller wipes it.
func MaterialOf(attributes cryptoki.Attributes) (keywrap.Value, error) {
	if class, _ := attributes.Class(); class != cryptoki.CKO_PRIVATE_KEY {
		return bytes.Clone(attributes.Bytes(cryptoki.CKA_VALUE)), nil
	}
	key, err := softkey.FromAttributes(attributes)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	return key.PKCS8()
}
