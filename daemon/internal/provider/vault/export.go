package vault

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"strconv"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// Export reads the value of a key that was made exportable.
func (k *key) Export(ctx context.Context) (cryptoki.Attributes, error) {
	if err := k.provider.ready(ctx, "export the key"); err != nil {
		return nil, err
	}
	if !k.exportable {
		return nil, fault.New(fault.KeyUnextractable, "Vault does not give out the key %s: it was not made exportable", k.ref)
	}
	kind := "signing-key"
	switch k.spec.keyType {
	case cryptoki.CKK_AES:
		kind = "encryption-key"
	case cryptoki.CKK_GENERIC_SECRET:
		kind = "hmac-key"
	}
	version := strconv.Itoa(k.ref.version)
	var out struct {
		Keys map[string]string `json:"keys"`
	}
	r := request{action: actionExport, key: k.ref.name, method: http.MethodGet, path: k.provider.path("export", kind, k.ref.name, version)}
	if err := k.provider.call(ctx, r, &out); err != nil {
		return nil, k.settle(err)
	}
	return readSecret(k.spec, out.Keys[version])
}

// readSecret reads the value of an exported key.
func readSecret(kind spec, text string) (cryptoki.Attributes, error) {
	wrong := fault.New(fault.FunctionFailed, "what Vault has exported is no key of type %s; look at address and mount", kind.name)
	var private any
	switch kind.keyType {
	case cryptoki.CKK_RSA, cryptoki.CKK_EC:
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return nil, wrong
		}
		defer clear(block.Bytes)
		if rsaKey, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			private = rsaKey
		} else if ecKey, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			private = ecKey
		} else if anyKey, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			private = anyKey
		}
	default:
		value, err := base64.StdEncoding.DecodeString(text)
		switch {
		case err != nil:
			return nil, wrong
		case kind.keyType == cryptoki.CKK_EC_EDWARDS && len(value) == ed25519.PrivateKeySize:
			private = ed25519.PrivateKey(value)
			defer clear(value)
		case kind.bytes == uint64(len(value)) && kind.bytes > 0:
			return cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_VALUE, value)}, nil
		}
	}
	if private == nil {
		return nil, wrong
	}
	open, secret, err := softkey.PrivateAttributes(private)
	if err != nil {
		return nil, wrong
	}
	if got, err := specOf(kind.keyType, open); err != nil || got != kind {
		return nil, wrong
	}
	return secret, nil
}
