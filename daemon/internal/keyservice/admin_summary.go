package keyservice

import (
	"context"
	"crypto/x509"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

// usages are the names by which administrators know what a key may do, with the attributes of a private, a public and a
// secret key. A key pair's use is both halves'.
var usages = []struct {
	name            string
	private, public cryptoki.AttributeType
}{
	{"sign", cryptoki.CKA_SIGN, cryptoki.CKA_VERIFY},
	{"verify", cryptoki.CKA_SIGN, cryptoki.CKA_VERIFY},
	{"decrypt", cryptoki.CKA_DECRYPT, cryptoki.CKA_ENCRYPT},
	{"encrypt", cryptoki.CKA_DECRYPT, cryptoki.CKA_ENCRYPT},
	{"unwrap", cryptoki.CKA_UNWRAP, cryptoki.CKA_WRAP},
	{"wrap", cryptoki.CKA_UNWRAP, cryptoki.CKA_WRAP},
	{"derive", cryptoki.CKA_DERIVE, cryptoki.CKA_DERIVE},
}

// usageOf maps the names to the attributes that they name themselves.
var usageOf = map[string]cryptoki.AttributeType{
	"sign": cryptoki.CKA_SIGN, "verify": cryptoki.CKA_VERIFY, "decrypt": cryptoki.CKA_DECRYPT, "encrypt": cryptoki.CKA_ENCRYPT,
	"unwrap": cryptoki.CKA_UNWRAP, "wrap": cryptoki.CKA_WRAP, "derive": cryptoki.CKA_DERIVE,
}

// summary describes an object to an administrator.
func summary(o keystore.Object) KeySummary {
	as := o.Attributes
	k := KeySummary{
		ID: o.ID, UID: o.UID, Label: string(as.Bytes(cryptoki.CKA_LABEL)), KeyID: as.Bytes(cryptoki.CKA_ID),
		Provider: o.Provider, Created: o.Created, Extractable: as.Bool(cryptoki.CKA_EXTRACTABLE),
	}
	if k.Provider == covered {
		k.Provider = ""
	}
	k.Class, _ = as.Class()
	switch k.Class {
	case cryptoki.CKO_CERTIFICATE:
		k.Certificate = as.Bytes(cryptoki.CKA_VALUE)
		if parsed, err := x509.ParseCertificate(k.Certificate); err == nil {
			k.Subject, k.PublicKey = parsed.Subject.String(), parsed.RawSubjectPublicKeyInfo
		}
	case cryptoki.CKO_PRIVATE_KEY, cryptoki.CKO_PUBLIC_KEY, cryptoki.CKO_SECRET_KEY:
		k.KeyType, _ = as.KeyType()
		k.Bits = uint32(mechanism.Bits(as))
		if c, err := curve.Of(as); err == nil {
			k.Curve = c.Name
		}
		if set, err := parameterset.Of(as); err == nil {
			k.ParameterSet, k.Bits = set.Name, 0
		}
		k.PublicKey = as.Bytes(cryptoki.CKA_PUBLIC_KEY_INFO)
		for _, u := range usages {
			if as.Bool(usageOf[u.name]) {
				k.Usage = append(k.Usage, u.name)
			}
		}
	}
	return k
}

func summaries(objects []keystore.Object) []KeySummary {
	keys := make([]KeySummary, len(objects))
	for i, o := range objects {
		keys[i] = summary(o)
	}
	return keys
}

// summaryOf reads an object that was just made and describes it.
func (s *Service) summaryOf(ctx context.Context, a access, made Object) (KeySummary, error) {
	o, err := s.store.Object(ctx, a.token.UID, made.ID)
	if err != nil {
		return KeySummary{}, err
	}
	return summary(o), nil
}

// tokenSummary describes a token to an administrator.
func (s *Service) tokenSummary(ctx context.Context, t keystore.Token) (TokenSummary, error) {
	objects, err := s.store.CountObjects(ctx, t.UID)
	return TokenSummary{
		Token: s.token(t), SlotID: t.ID, Provider: t.Provider, Objects: objects, LoginRequired: !t.NoLogin, Created: t.Created,
	}, err
}
