package hsm

import (
	"bytes"
	"context"
	"errors"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// Import puts key material into the token, with C_CreateObject. A repeated request finds the key that is there.
func (p *Provider) Import(ctx context.Context, identity provider.Identity, attributes cryptoki.Attributes) (provider.Generated, error) {
	const operation = "import a key"
	var none provider.Generated
	r, err := newReference(identity)
	if err != nil {
		return none, p.explain(operation, err)
	}
	public, err := p.importable(&r, attributes)
	if err != nil {
		return none, p.explain(operation, err)
	}
	return do(ctx, p, operation, func(ctx context.Context, s *session) (provider.Generated, error) {
		done, err := p.claims.claim(ctx, identity.UID)
		if err != nil {
			return none, err
		}
		defer done()
		if public != nil {
			// The public half first: once the private one is there the pair is complete.
			halves, err := s.find(r.match(cryptoki.CKO_PUBLIC_KEY)...)
			if err != nil {
				return none, err
			}
			if len(halves) == 0 {
				with := append(public.Clone(), pick(attributes, cryptoki.CKA_LABEL)...)
				if _, err := s.create(ctx, r, cryptoki.CKO_PUBLIC_KEY, p.publicTemplate(r, with)); err != nil {
					return none, err
				}
			}
		}
		switch _, err := s.locate(r); {
		case errors.Is(err, errGone):
			own, err := s.create(ctx, r, r.Class, p.keyTemplate(r, attributes, true))
			if err != nil {
				return none, err
			}
			// SoftHSM does not always find at once what it has made, so it is not looked for.
			if public != nil {
				r.Public = fingerprint(public)
			}
			private, err := s.stricter(own, r, attributes)
			return provider.Generated{Ref: r.encode(), Public: public, Private: private}, err
		case err != nil:
			return none, err
		}
		made, err := s.made(r, attributes)
		if err == nil && made == nil {
			err = errGone
		}
		if err != nil {
			return none, err
		}
		if public != nil && !bytes.Equal(fingerprint(public), fingerprint(made.Public)) {
			return none, fault.New(fault.FunctionFailed, "the HSM has another key with this CKA_ID; destroy it there first")
		}
		return *made, nil
	})
}

// importable completes the reference of a key to import and gives its public half; nil for a secret key.
func (p *Provider) importable(r *reference, attributes cryptoki.Attributes) (cryptoki.Attributes, error) {
	class, _ := attributes.Class()
	keyType, _ := attributes.KeyType()
	r.Class, r.KeyType = class, keyType
	switch {
	case class == cryptoki.CKO_SECRET_KEY && keyType == cryptoki.CKK_AES:
	case class == cryptoki.CKO_SECRET_KEY:
		// Tokens do HMAC with generic secrets; the application's name for the type is the store's.
		r.KeyType = cryptoki.CKK_GENERIC_SECRET
	case class != cryptoki.CKO_PRIVATE_KEY:
		return nil, fault.New(fault.TemplateInconsistent, "only private and secret keys can be imported, not %s", class)
	}
	value, err := softkey.FromAttributes(attributes)
	if err != nil {
		return nil, err
	}
	defer value.Wipe()
	if class == cryptoki.CKO_SECRET_KEY {
		return nil, nil
	}
	public, ok := normalize(keyType, value.PublicAttributes())
	if !ok {
		return nil, fault.New(fault.TemplateIncomplete, "the private key has no public half")
	}
	return public, p.usable(public)
}

// usable refuses a key pair that the token could not use.
func (p *Provider) usable(public cryptoki.Attributes) error {
	if params := public.Bytes(cryptoki.CKA_EC_PARAMS); params != nil {
		if _, ok := p.traits.curves[string(params)]; !ok {
			return fault.New(fault.CurveNotSupported, "the HSM has no keys on this curve")
		}
	}
	if modulus := public.Bytes(cryptoki.CKA_MODULUS); modulus != nil {
		row, ok := p.capabilities.Mechanism(cryptoki.CKM_RSA_PKCS)
		if bits := uint64(8 * len(modulus)); !ok || bits < row.MinSize || bits > row.MaxSize {
			return fault.New(fault.KeySizeRange, "the HSM uses RSA keys of %d to %d bits, not %d", row.MinSize, row.MaxSize, bits)
		}
	}
	return nil
}
