package keyservice

import (
	"context"
	"strings"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/object"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// ImportKey stores a private key with its public half, or a secret key, and returns the secret half.
func (s *Service) ImportKey(ctx context.Context, call Call, key KeyImport) (made KeySummary, err error) {
	r := begin(call, "key.import")
	defer s.end(ctx, r, &err)

	a, err := s.admit(ctx, call, r)
	if err != nil {
		return KeySummary{}, err
	}
	r.event.Detail = key.Label
	imported, err := s.importKey(ctx, &a, r, key, "import", s.importing)
	if err != nil {
		return KeySummary{}, err
	}
	return s.summaryOf(ctx, a, imported)
}

// importKey makes the objects of a key that comes from outside and returns the secret half. The role tells them apart
// from others of the same request.
func (s *Service) importKey(ctx context.Context, a *access, r *record, key KeyImport, role string, bring func(attributes, secret cryptoki.Attributes) maker) (imported Object, err error) {
	var template, secret cryptoki.Attributes
	if len(key.PKCS8) > 0 {
		template, secret, err = privateTemplate(key)
	} else {
		template, secret, err = secretTemplate(key)
	}
	if err != nil {
		return Object{}, err
	}
	defer wipe(secret)
	attributes, err := object.New(object.Create, 0, append(template, secret.Clone()...))
	if err != nil {
		return Object{}, err
	}
	attributes, values := object.Split(attributes)
	defer wipe(values)
	drafts := []draft{{role: role + " secret", attributes: attributes}}
	if public, ok := object.PublicFromPrivate(attributes); ok {
		drafts = append(drafts, draft{role: role + " public", attributes: public})
	}
	objects, err := s.bear(ctx, a, r, bring(attributes, values), drafts...)
	if err != nil {
		return Object{}, err
	}
	return objects[0], nil
}

// privateTemplate reads a PKCS#8 key.
func privateTemplate(key KeyImport) (template, secret cryptoki.Attributes, err error) {
	parsed, err := softkey.ParsePKCS8(key.PKCS8)
	if err != nil {
		// The parser's own words could quote the key.
		return nil, nil, fault.New(fault.InvalidInput, "the key is no unencrypted PKCS#8 private key in DER of a known type; convert it with openssl pkcs8 -topk8 -nocrypt -outform DER")
	}
	open, secret, err := softkey.PrivateAttributes(parsed)
	if err != nil {
		return nil, nil, err
	}
	template, err = importTemplate(key, cryptoki.CKO_PRIVATE_KEY, true)
	if err != nil {
		return nil, nil, err
	}
	for _, a := range open {
		// What follows from the rest is not the template's to say, but of an ML-DSA key nothing else tells the public half.
		if a.Type != cryptoki.CKA_CLASS && !object.Secret(cryptoki.CKO_PRIVATE_KEY, a.Type) {
			template = append(template, a)
		}
	}
	return template, secret, nil
}

// secretTemplate reads the bytes of a secret key.
func secretTemplate(key KeyImport) (template, secret cryptoki.Attributes, err error) {
	if len(key.Secret) == 0 {
		return nil, nil, fault.New(fault.InvalidInput, "there is no key to import; give a PKCS#8 key or the bytes of a secret key")
	}
	keyType := cryptoki.CKK_GENERIC_SECRET
	switch strings.ToLower(key.SecretType) {
	case "aes":
		keyType = cryptoki.CKK_AES
	case "", "generic", "hmac":
	default:
		return nil, nil, fault.New(fault.InvalidInput, "%q is no type of secret key; choose aes or generic", key.SecretType)
	}
	template, err = importTemplate(key, cryptoki.CKO_SECRET_KEY, false)
	if err != nil {
		return nil, nil, err
	}
	template = append(template, cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, keyType))
	return template, cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_VALUE, key.Secret)}, nil
}

func importTemplate(key KeyImport, class cryptoki.ObjectClass, pair bool) (cryptoki.Attributes, error) {
	template := append(tokenTemplate(key.Label, key.ID, true), cryptoki.Ulong(cryptoki.CKA_CLASS, class),
		cryptoki.Bool(cryptoki.CKA_SENSITIVE, true), cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, key.Extractable))
	var public cryptoki.Attributes
	return template, addUsage(&public, &template, key.Usage, pair)
}
