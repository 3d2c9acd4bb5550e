package keyservice

import (
	"context"
	"slices"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/object"
)

// GenerateKey makes a secret key (C_GenerateKey): a token object where the template has CKA_TOKEN true, else a sealed
// session object.
func (s *Service) GenerateKey(ctx context.Context, call Call, m cryptoki.Mechanism, template cryptoki.Attributes) (key Object, reply Reply, err error) {
	r := begin(call, "key.generate").with(m)
	defer s.end(ctx, r, &err)

	a, err := s.enter(ctx, call, r, creating(template))
	if err != nil {
		return Object{}, Reply{}, err
	}
	key, err = s.generateKey(ctx, &a, r, m, template)
	return key, a.reply, err
}

func (s *Service) generateKey(ctx context.Context, a *access, r *record, m cryptoki.Mechanism, template cryptoki.Attributes) (Object, error) {
	if err := mechanism.CheckParams(m, cryptoki.CKF_GENERATE); err != nil {
		return Object{}, err
	}
	attributes, err := object.New(object.Generate, m.Type, template)
	if err != nil {
		return Object{}, err
	}
	if err := a.mayTouch(attributes); err != nil {
		return Object{}, err
	}
	made, err := s.bear(ctx, a, r, s.generating(m, nil, attributes), draft{role: "generate secret", attributes: attributes})
	if err != nil {
		return Object{}, err
	}
	return made[0], nil
}

// GenerateKeyPair makes a key pair (C_GenerateKeyPair). Each half is a token or a session object as its own template
// says; the key goes where the private half does.
func (s *Service) GenerateKeyPair(ctx context.Context, call Call, m cryptoki.Mechanism, public, private cryptoki.Attributes) (pub, priv Object, reply Reply, err error) {
	r := begin(call, "key.generate").with(m)
	defer s.end(ctx, r, &err)

	a, err := s.enter(ctx, call, r, creating(public), creating(private))
	if err != nil {
		return Object{}, Object{}, Reply{}, err
	}
	pub, priv, err = s.generateKeyPair(ctx, &a, r, m, public, private)
	return pub, priv, a.reply, err
}

func (s *Service) generateKeyPair(ctx context.Context, a *access, r *record, m cryptoki.Mechanism, public, private cryptoki.Attributes) (pub, priv Object, err error) {
	if err := mechanism.CheckParams(m, cryptoki.CKF_GENERATE_KEY_PAIR); err != nil {
		return Object{}, Object{}, err
	}
	open, guarded, err := object.NewKeyPair(m, public, private)
	if err != nil {
		return Object{}, Object{}, err
	}
	name, err := s.providerOf(a.token, guarded, open)
	if err != nil {
		return Object{}, Object{}, err
	}
	if b, err := s.backend(name); err == nil && b.capabilities.OneUse {
		preferAsked(&guarded, private)
	}
	if err := a.mayTouch(open); err != nil {
		return Object{}, Object{}, err
	}
	if err := a.mayTouch(guarded); err != nil {
		return Object{}, Object{}, err
	}
	made, err := s.bear(ctx, a, r, s.generating(m, open, guarded),
		draft{role: "generate public", attributes: open}, draft{role: "generate private", attributes: guarded})
	if err != nil {
		return Object{}, Object{}, err
	}
	return made[0], made[1], nil
}

// generating makes a maker that lets a provider generate a key; public is nil for a secret key.
func (s *Service) generating(m cryptoki.Mechanism, public, private cryptoki.Attributes) maker {
	return func(ctx context.Context, b *backend, identity provider.Identity) (made, error) {
		request := provider.GenerateRequest{Identity: identity, Mechanism: m, Public: public, Private: private}
		if err := s.canGenerate(ctx, b, request); err != nil {
			return made{}, err
		}
		generated, err := ask(ctx, s, b, "generate", func(ctx context.Context) (provider.Generated, error) { return b.Generate(ctx, request) })
		return made{Generated: generated}, err
	}
}

// privateUses are the usage attributes of a private key.
var privateUses = []cryptoki.AttributeType{
	cryptoki.CKA_SIGN, cryptoki.CKA_SIGN_RECOVER, cryptoki.CKA_DECRYPT, cryptoki.CKA_UNWRAP, cryptoki.CKA_DERIVE,
}

// preferAsked is for a key that can have one use alone: uses that the template asks for by name go before those that
// are there by default.
func preferAsked(attributes *cryptoki.Attributes, template cryptoki.Attributes) {
	if !slices.ContainsFunc(privateUses, template.Bool) {
		return
	}
	for _, use := range privateUses {
		if attributes.Bool(use) && !template.Has(use) {
			attributes.Set(cryptoki.Bool(use, false))
		}
	}
}
