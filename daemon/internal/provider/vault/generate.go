package vault

import (
	"bytes"
	"context"
	"net/http"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// creation is the body of a request to make or import a key.
type creation struct {
	Type       string `json:"type"`
	Exportable bool   `json:"exportable"`
	Size       uint64 `json:"key_size,omitempty"`
	// Ciphertext and Hash belong to an import.
	Ciphertext string `json:"ciphertext,omitempty"`
	Hash       string `json:"hash_function,omitempty"`
}

// Generate makes a key named by the identity. Vault makes no second key of a name, so a repeated request finds the first.
func (p *Provider) Generate(ctx context.Context, r provider.GenerateRequest) (provider.Generated, error) {
	var none provider.Generated
	if err := p.ready(ctx, "make a key"); err != nil {
		return none, err
	}
	if err := p.capabilities.CheckGenerate(r); err != nil {
		return none, limited(r.Mechanism.Type, err)
	}
	keyType, open := cryptoki.CKK_GENERIC_SECRET, r.Private
	switch r.Mechanism.Type {
	case cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN:
		keyType, open = cryptoki.CKK_RSA, r.Public
		if e := bytes.TrimLeft(r.Public.Bytes(cryptoki.CKA_PUBLIC_EXPONENT), "\x00"); len(e) > 0 && !bytes.Equal(e, []byte{1, 0, 1}) {
			return none, fault.New(fault.AttributeValueInvalid, "Vault makes RSA keys with the public exponent 65537 only; leave CKA_PUBLIC_EXPONENT out")
		}
	case cryptoki.CKM_EC_KEY_PAIR_GEN:
		keyType, open = cryptoki.CKK_EC, r.Public
	case cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN:
		keyType, open = cryptoki.CKK_EC_EDWARDS, r.Public
	case cryptoki.CKM_AES_KEY_GEN:
		keyType = cryptoki.CKK_AES
	}
	kind, err := specOf(keyType, open)
	if err != nil {
		return none, err
	}
	b := birth{provider: p, identity: r.Identity, kind: kind, template: r.Private, generated: true}
	return b.run(ctx, func(ctx context.Context, name string) error {
		in := creation{Type: kind.name, Exportable: b.exportable()}
		if kind.name == typeHMAC {
			in.Size = kind.bytes
		}
		return p.call(ctx, request{action: actionCreate, key: name, method: http.MethodPost, path: p.path("keys", name), in: in}, nil)
	})
}

// birth is the making of a key: at most one for an identity, however often it is asked for, and by whom.
type birth struct {
	provider  *Provider
	identity  provider.Identity
	kind      spec
	template  cryptoki.Attributes
	generated bool
	// public are the public attributes of a key that is imported.
	public cryptoki.Attributes
}

// exportable tells whether the key may leave Vault: it is decided when the key is made, and for ever.
func (b *birth) exportable() bool {
	return b.template.Bool(cryptoki.CKA_EXTRACTABLE) && !b.template.Bool(cryptoki.CKA_SENSITIVE)
}

// run makes the key, unless it is there.
func (b *birth) run(ctx context.Context, bear func(ctx context.Context, name string) error) (provider.Generated, error) {
	var none provider.Generated
	switch {
	case b.identity.Session:
		return none, fault.New(fault.FunctionNotSupported, "Vault keeps no keys for a session alone; provider software makes those")
	case !uid.MatchString(b.identity.UID):
		return none, fault.New(fault.ArgumentsBad, "the object's uid is not 32 hexadecimal digits; this is a defect of the daemon")
	}
	if err := b.kind.useful(b.template); err != nil {
		return none, err
	}
	name := nameOf(b.identity.UID, b.template)
	return join(ctx, b.provider, &b.provider.makings, "make the key "+name, func(ctx context.Context) (provider.Generated, error) {
		if err := bear(ctx, name); err != nil {
			return none, err
		}
		found, err := b.provider.look(ctx, name)
		if err != nil {
			return none, err
		}
		// The first version is the one that was made, also where an administrator has rotated the key meanwhile.
		made, err := understand(name, 1, found)
		if err != nil {
			return none, err
		}
		if made.spec != b.kind || b.public != nil && made.fits(b.public) != nil {
			return none, fault.New(fault.Conflict, "%s has another key %s, of type %s; use a new request, or delete that key", b.provider.service(), name, made.spec.name)
		}
		b.provider.keys.add(made)
		return provider.Generated{
			Ref: []byte(made.ref.String()), Public: made.public.Clone(), Private: b.kind.granted(b.template, made.exportable, b.generated),
		}, nil
	})
}
