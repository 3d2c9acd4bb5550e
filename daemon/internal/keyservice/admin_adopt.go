package keyservice

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/object"
)

// AdoptKeys takes keys and certificates that already are in a provider into a token, with their labels and ids. What is
// known already is left alone, so it can be called again at any time. Each key is a change of its own: where one fails,
// those before it are adopted.
func (s *Service) AdoptKeys(ctx context.Context, call Call, adoption Adoption) (adopted []KeySummary, known []string, err error) {
	a, b, err := s.adopter(ctx, call, adoption)
	if err != nil {
		return nil, nil, err
	}
	take := func(found provider.Found) error {
		switch {
		case found.State == "":
		case adoption.All:
			return nil
		default:
			return fault.New(fault.InvalidInput, "provider %s has the key %q, which cannot be used: %s; make it usable there first", b.name, found.Name, found.State)
		}
		keys, err := s.adopt(ctx, a, b, found)
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			known = append(known, found.Name)
		}
		adopted = append(adopted, keys...)
		return nil
	}
	if finder, ok := b.Provider.(provider.Finder); ok && !adoption.All {
		for _, name := range adoption.References {
			found, err := finder.Find(ctx, name)
			if err == nil {
				err = take(found)
			}
			if err != nil {
				return adopted, known, settle(err)
			}
		}
		return adopted, known, nil
	}
	wanted := slices.Clone(adoption.References)
	err = eachFound(ctx, b, func(found provider.Found) error {
		if !adoption.All {
			at := slices.Index(wanted, found.Name)
			if at < 0 {
				return nil
			}
			wanted = slices.Delete(wanted, at, at+1)
		}
		return take(found)
	})
	if err == nil && !adoption.All && len(wanted) > 0 {
		err = fault.New(fault.NotFound, "provider %s has no key %s; see anyhsm provider keys %s", b.name, strings.Join(wanted, ", "), b.name)
	}
	return adopted, known, settle(err)
}

// adopter checks what can be known before the provider is asked. A refusal is recorded.
func (s *Service) adopter(ctx context.Context, call Call, adoption Adoption) (a access, b *backend, err error) {
	r := begin(call, "key.adopt")
	defer func() {
		if err != nil {
			s.end(ctx, r, &err)
		}
	}()
	if a, err = s.admit(ctx, call, r); err != nil {
		return a, nil, err
	}
	if !adoption.All && len(adoption.References) == 0 {
		return a, nil, fault.New(fault.InvalidInput, "there is no key to adopt; name keys, or ask for all")
	}
	if adoption.Provider == "" {
		adoption.Provider = a.token.Provider
	}
	b, err = s.lister(adoption.Provider)
	return a, b, err
}

// openProvider returns a provider that an administrator names.
func (s *Service) openProvider(name string) (*backend, error) {
	if _, ok := s.providers[name]; !ok {
		return nil, fault.New(fault.NotFound, "there is no provider %q; see anyhsm provider list", name)
	}
	return s.backend(name)
}

// lister returns a provider that can list what it holds.
func (s *Service) lister(name string) (*backend, error) {
	b, err := s.openProvider(name)
	if err != nil {
		return nil, err
	}
	if _, ok := b.Provider.(provider.Lister); !ok {
		return nil, fault.New(fault.FunctionNotSupported, "provider %s keeps no keys of its own to list; its keys are those of the tokens", name)
	}
	return b, nil
}

// maxPages bounds a provider that never ends its list.
const maxPages = 100_000

func eachFound(ctx context.Context, b *backend, do func(provider.Found) error) error {
	lister := b.Provider.(provider.Lister)
	page := ""
	for range maxPages {
		found, next, err := lister.List(ctx, page)
		if err != nil {
			return err
		}
		for _, f := range found {
			if err := do(f); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		page = next
	}
	return fault.New(fault.FunctionFailed, "the list of provider %s does not end after %d pages; look at the provider", b.name, maxPages)
}

// adopt makes the objects of one key; none if it is known already.
func (s *Service) adopt(ctx context.Context, a access, b *backend, found provider.Found) (keys []KeySummary, err error) {
	call := a.call
	if call.RequestID != "" {
		call.RequestID += " " + found.Name
	}
	a.call = call
	r := begin(call, "key.adopt")
	r.event.Detail = b.name + " " + found.Name
	var before []born
	replayed, err := s.replay(ctx, call, r, &before)
	if err != nil {
		return nil, err
	}
	if !replayed {
		if known, err := s.knows(ctx, a.token.UID, b, found); err != nil || known {
			return nil, err
		}
	}
	defer s.end(ctx, r, &err)
	drafts, err := adoptable(b, found)
	if err != nil {
		return nil, err
	}
	made, err := s.bear(ctx, &a, r, nil, drafts...)
	if err != nil {
		return nil, err
	}
	for _, m := range made {
		k, err := s.summaryOf(ctx, a, m)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// knows tells whether a key has an object already, in whichever token, or a certificate in this one.
func (s *Service) knows(ctx context.Context, token string, b *backend, found provider.Found) (bool, error) {
	for _, attributes := range found.Objects {
		class, _ := attributes.Class()
		switch {
		case class == cryptoki.CKO_PRIVATE_KEY || class == cryptoki.CKO_SECRET_KEY:
			_, err := s.store.ObjectByRef(ctx, b.name, found.Ref)
			if fault.Is(err, fault.ObjectHandleInvalid) {
				return false, nil
			}
			return err == nil, err
		case class == cryptoki.CKO_CERTIFICATE && len(found.Objects) == 1:
			certificates, err := s.store.Objects(ctx, keystore.ObjectQuery{Token: token, Class: &class})
			return slices.ContainsFunc(certificates, func(o keystore.Object) bool {
				return bytes.Equal(o.Attributes.Bytes(cryptoki.CKA_VALUE), attributes.Bytes(cryptoki.CKA_VALUE))
			}), err
		}
	}
	return false, nil
}

// adoptable makes the drafts of a key that was found: the key itself with its reference, and a public key beside each
// private one.
func adoptable(b *backend, found provider.Found) ([]draft, error) {
	var drafts []draft
	referenced, public := false, false
	for i, attributes := range found.Objects {
		class, ok := attributes.Class()
		if !ok {
			return nil, fault.New(fault.FunctionFailed, "provider %s lists %q without its class; look at the key there", b.name, found.Name)
		}
		complete, err := settled(attributes, class)
		if err != nil {
			return nil, fault.New(fault.From(err).Kind, "provider %s describes %q in a way that makes no object: %w; look at the key there", b.name, found.Name, err)
		}
		d := draft{role: fmt.Sprintf("adopt %s %s %d", b.name, found.Name, i), attributes: complete}
		if holdsSecret(d.attributes) {
			if referenced {
				return nil, fault.New(fault.FunctionFailed, "provider %s lists %q as two keys; look at the key there", b.name, found.Name)
			}
			d.provider, d.ref, referenced = b.name, found.Ref, true
		}
		public = public || class == cryptoki.CKO_PUBLIC_KEY
		drafts = append(drafts, d)
	}
	for _, d := range drafts {
		if public {
			break
		}
		if half, ok := object.PublicFromPrivate(d.attributes); ok {
			drafts = append(drafts, draft{role: fmt.Sprintf("adopt %s %s public", b.name, found.Name), attributes: half})
			break
		}
	}
	if len(drafts) == 0 {
		return nil, fault.New(fault.FunctionFailed, "provider %s lists %q without any object; look at the key there", b.name, found.Name)
	}
	return drafts, nil
}

// material are the attributes that say what the key is, facts those that say where it comes from: an application could
// give neither for a key that it does not know the value of, a provider may.
var (
	material = []cryptoki.AttributeType{
		cryptoki.CKA_MODULUS, cryptoki.CKA_PUBLIC_EXPONENT, cryptoki.CKA_EC_PARAMS, cryptoki.CKA_EC_POINT, cryptoki.CKA_PARAMETER_SET,
	}
	facts = []cryptoki.AttributeType{
		cryptoki.CKA_MODULUS_BITS, cryptoki.CKA_VALUE_LEN, cryptoki.CKA_LOCAL, cryptoki.CKA_KEY_GEN_MECHANISM,
		cryptoki.CKA_ALWAYS_SENSITIVE, cryptoki.CKA_NEVER_EXTRACTABLE,
	}
)

// settled gives a foreign object all that ours have, with the defaults of the standard where the provider says nothing,
// and takes out what is not the provider's to say.
func settled(attributes cryptoki.Attributes, class cryptoki.ObjectClass) (cryptoki.Attributes, error) {
	open, secret := object.Split(attributes.Clone())
	wipe(secret)
	open.Set(cryptoki.Bool(cryptoki.CKA_TOKEN, true))
	if class == cryptoki.CKO_CERTIFICATE {
		if err := fillCertificate(&open); err != nil {
			return nil, err
		}
	}
	purpose := object.Create
	if class == cryptoki.CKO_PRIVATE_KEY || class == cryptoki.CKO_SECRET_KEY {
		purpose = object.Unwrap
	}
	var template, told cryptoki.Attributes
	for _, a := range open {
		switch {
		case a.Type == cryptoki.CKA_PUBLIC_KEY_INFO && class == cryptoki.CKO_PRIVATE_KEY && open.Has(cryptoki.CKA_PARAMETER_SET):
			told = append(told, a) // nothing else tells the public half of an ML-DSA key
		case a.Type == cryptoki.CKA_UNIQUE_ID || a.Type == cryptoki.CKA_PUBLIC_KEY_INFO || !object.Known(a.Type):
		case slices.Contains(facts, a.Type) || purpose == object.Unwrap && slices.Contains(material, a.Type):
			told = append(told, a)
		default:
			template = append(template, a)
		}
	}
	complete, err := object.New(purpose, 0, template)
	if err != nil {
		return nil, err
	}
	for _, a := range told {
		complete.Set(a)
	}
	return complete, nil
}

// fillCertificate adds what an application finds a certificate by, where the provider does not tell it.
func fillCertificate(attributes *cryptoki.Attributes) error {
	parsed, err := x509.ParseCertificate(attributes.Bytes(cryptoki.CKA_VALUE))
	if err != nil {
		return fault.New(fault.FunctionFailed, "the value is no X.509 certificate: %w", err)
	}
	own, err := certificateAttributes(parsed)
	if err != nil {
		return err
	}
	for _, a := range append(own, cryptoki.Bytes(cryptoki.CKA_ID, defaultID(parsed))) {
		if len(attributes.Bytes(a.Type)) == 0 {
			attributes.Set(a)
		}
	}
	return nil
}
