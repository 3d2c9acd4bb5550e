package kmip

import (
	"context"
	"crypto/aes"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// key is a key of the server in use.
type key struct {
	provider  *Provider
	reference provider.Reference
	parsed    reference
	object    object
}

var (
	_ provider.Signer    = (*key)(nil)
	_ provider.Decrypter = (*key)(nil)
	_ provider.Encrypter = (*key)(nil)
	_ provider.Exporter  = (*key)(nil)
)

// Key finds a key at the server.
func (p *Provider) Key(ctx context.Context, reference provider.Reference) (provider.Key, error) {
	const operation = "find the key"
	if err := p.ready(ctx, "finding the key"); err != nil {
		return nil, p.explain(operation, err)
	}
	r, err := parseReference(reference.Ref)
	if err != nil {
		return nil, p.explain(operation, err)
	}
	o, err := p.find(ctx, reference.Ref, r)
	if err != nil {
		return nil, p.explain(operation, err)
	}
	return &key{provider: p, reference: reference, parsed: r, object: o}, nil
}

func (p *Provider) find(ctx context.Context, ref []byte, r reference) (object, error) {
	if o, ok := p.known.get(ref); ok {
		return o, nil
	}
	o, err := p.describe(ctx, r.ID)
	switch {
	case err != nil:
		return o, err
	case o.dead(), !o.is(r):
		return o, fault.New(fault.KeyHandleInvalid, "the key is gone from the KMIP server; restore it there, or delete the object")
	case o.state != ttlv.StateActive:
		return o, fault.New(fault.KeyFunctionNotPermitted, "the key is not active at the KMIP server (state %d); activate it there, or make another", o.state)
	}
	p.known.put(ref, o)
	return o, nil
}

// Reference returns what the key was found by.
func (k *key) Reference() provider.Reference { return k.reference }

// ready is the check before an operation: all of it is known without asking the server.
func (k *key) ready(ctx context.Context, doing string, m cryptoki.Mechanism, use cryptoki.Flags, length int) error {
	if err := k.provider.ready(ctx, doing); err != nil {
		return err
	}
	if err := k.provider.capabilities.CheckUse(m, use, k.parsed.KeyType); err != nil {
		return err
	}
	most, kind := k.provider.capabilities.MaxData, fault.DataLenRange
	if use == cryptoki.CKF_DECRYPT {
		kind = fault.EncryptedDataLenRange
	}
	switch params := m.Params.(type) {
	case cryptoki.GCMParams:
		length += len(params.AAD)
		if use == cryptoki.CKF_DECRYPT {
			length -= int(params.TagBits / 8)
		}
	case cryptoki.IVParams:
		if use == cryptoki.CKF_DECRYPT {
			most += aes.BlockSize // of padding
		}
	}
	if length > most {
		return fault.New(kind, "the KMIP server takes at most %d bytes in one operation, not %d", most, length)
	}
	return nil
}

// explain names the provider; what says that the key is gone makes it unknown.
func (k *key) explain(operation string, err error) error {
	if gone(err) {
		k.provider.known.remove(k.reference.Ref)
	}
	return k.provider.explain(operation, err)
}

// Export gets the value of a key that is extractable and not sensitive, by the object's attributes and by the server's.
func (k *key) Export(ctx context.Context) (cryptoki.Attributes, error) {
	const operation = "export the key"
	if err := k.provider.ready(ctx, "exporting the key"); err != nil {
		return nil, k.explain(operation, err)
	}
	as := k.reference.Attributes
	if as.Bool(cryptoki.CKA_SENSITIVE) || !as.Bool(cryptoki.CKA_EXTRACTABLE) || k.object.sensitive || k.object.hasExtraction && !k.object.extractable {
		return nil, k.explain(operation, fault.New(fault.AttributeSensitive, "the key is sensitive or not extractable, so its value cannot be read"))
	}
	payload, err := k.provider.call(ctx, ttlv.OpGet, uid(k.parsed.ID))
	if err != nil {
		return nil, k.explain(operation, err)
	}
	defer payload.Wipe()
	secret, err := secretValue(payload, k.parsed.Class)
	return secret, k.explain(operation, err)
}
