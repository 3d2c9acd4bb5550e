package vault

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/http"
	"sync/atomic"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/keywrap"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// Import brings a key in, wrapped for the engine: Vault's own TLS end is the first to see no more than a ciphertext. A
// repeated request finds the key as Generate does.
func (p *Provider) Import(ctx context.Context, identity provider.Identity, attributes cryptoki.Attributes) (provider.Generated, error) {
	var none provider.Generated
	if err := p.ready(ctx, "import a key"); err != nil {
		return none, err
	}
	if class, _ := attributes.Class(); class != cryptoki.CKO_PRIVATE_KEY && class != cryptoki.CKO_SECRET_KEY {
		return none, fault.New(fault.KeyHandleInvalid, "only private and secret keys can be imported; send one")
	}
	parsed, err := softkey.FromAttributes(attributes)
	if err != nil {
		return none, err
	}
	defer parsed.Wipe()
	b := birth{provider: p, identity: identity, template: attributes}
	keyType, _ := attributes.KeyType()
	// The value is a copy: the caller wipes the attributes when its call ends, and the import may go on.
	value := bytes.Clone(attributes.Bytes(cryptoki.CKA_VALUE))
	if class, _ := attributes.Class(); class == cryptoki.CKO_PRIVATE_KEY {
		b.public = values(parsed.PublicAttributes())
		if b.kind, err = specOf(keyType, b.public); err == nil {
			clear(value)
			value, err = parsed.PKCS8()
		}
	} else {
		b.kind, err = specOf(keyType, attributes)
	}
	// The work may outlast this call, or be somebody else's: either it wipes the key at its end, or this call does.
	var taken atomic.Bool
	defer func() {
		if taken.CompareAndSwap(false, true) {
			clear(value)
		}
	}()
	if err != nil {
		return none, err
	}
	return b.run(ctx, func(ctx context.Context, name string) error {
		if !taken.CompareAndSwap(false, true) {
			return fault.New(fault.FunctionCanceled, "the call to import the key was given up; send the request again")
		}
		defer clear(value)
		return b.bring(ctx, name, value)
	})
}

// bring wraps a value and sends it.
func (b *birth) bring(ctx context.Context, name string, value []byte) error {
	p := b.provider
	wrapping, err := p.wrappingKey(ctx)
	if err != nil {
		return err
	}
	wrapped, err := keywrap.RSAAES(wrapping, sha256.New(), value)
	if err != nil {
		return fault.New(fault.FunctionFailed, "the key cannot be wrapped for Vault: %w; look at %s", err, p.path("wrapping_key"))
	}
	in := creation{Type: b.kind.name, Exportable: b.exportable(), Ciphertext: base64.StdEncoding.EncodeToString(wrapped), Hash: "SHA256"}
	err = p.call(ctx, request{action: actionImport, key: name, method: http.MethodPost, path: p.path("keys", name, "import"), in: in}, nil)
	if !errors.Is(err, errExists) {
		return err
	}
	// An import whose answer was lost. A public key tells whether it was this one; of a secret key its work does.
	if b.kind.private() {
		return nil
	}
	return b.same(ctx, name, value)
}

// same tells whether a secret key that is there has a value.
func (b *birth) same(ctx context.Context, name string, value []byte) error {
	own, err := softkey.FromAttributes(cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, b.kind.keyType), cryptoki.Bytes(cryptoki.CKA_VALUE, value),
	})
	if err != nil {
		return err
	}
	defer own.Wipe()
	there := &key{provider: b.provider, material: &material{ref: reference{name: name, version: 1}, spec: b.kind}}
	equal := false
	if b.kind.keyType == cryptoki.CKK_AES {
		m := cryptoki.Mechanism{Type: cryptoki.CKM_AES_GCM, Params: cryptoki.GCMParams{IV: make([]byte, nonceSize), TagBits: 8 * tagSize}}
		var sealed []byte
		if sealed, err = own.Encrypt(m, []byte(name)); err == nil {
			var opened []byte
			opened, err = there.Decrypt(ctx, m, sealed)
			equal = string(opened) == name
		}
	} else {
		m := cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_HMAC}
		var theirs []byte
		if theirs, err = there.Sign(ctx, m, []byte(name)); err == nil {
			equal = own.Verify(m, []byte(name), theirs) == nil
		}
	}
	if equal {
		return nil
	}
	if err != nil && !fault.Is(err, fault.EncryptedDataInvalid) {
		return err
	}
	return fault.New(fault.Conflict, "%s has a key %s with another value; use a new request, or delete that key", b.provider.service(), name)
}

// wrappingKey is the engine's RSA key for imports.
func (p *Provider) wrappingKey(ctx context.Context) (*rsa.PublicKey, error) {
	var out struct {
		Public string `json:"public_key"`
	}
	if err := p.call(ctx, request{action: "read the wrapping key", method: http.MethodGet, path: p.path("wrapping_key")}, &out); err != nil {
		return nil, err
	}
	if block, _ := pem.Decode([]byte(out.Public)); block != nil {
		if public, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
			if wrapping, ok := public.(*rsa.PublicKey); ok && wrapping.Size() >= 256 {
				return wrapping, nil
			}
		}
	}
	return nil, fault.New(fault.FunctionFailed, "Vault's wrapping key is no RSA key of 2048 bits or more; look at address and mount")
}
