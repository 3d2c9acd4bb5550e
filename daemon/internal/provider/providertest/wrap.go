package providertest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"testing"

	mldsax509 "filippo.io/mldsa/x509"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/keywrap"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// locked is a key that may not leave its provider.
type locked struct{}

func (locked) Wrap(context.Context, *rsa.PublicKey) ([]byte, error) {
	return nil, fault.New(fault.KeyUnextractable, "the key may not leave")
}

// testArrive brings keys in that another provider wraps.
func (s *suite) testArrive(t *testing.T) {
	if _, ok := s.provider.(provider.Importer); !ok {
		return
	}
	bring := func(identity provider.Identity, attributes cryptoki.Attributes, material provider.Wrapper) (provider.Generated, error) {
		return provider.Bring(s.ctx(t), s.provider, identity, attributes, material)
	}
	for name, key := range s.outsiders(t) {
		t.Run(name, func(t *testing.T) {
			keyType, secret, public := secretsOf(t, key)
			der, err := mldsax509.MarshalPKCS8PrivateKey(key)
			if err != nil {
				t.Fatal(err)
			}
			half, err := softkey.PublicAttributes(public)
			if err != nil {
				t.Fatal(err)
			}
			attributes := append(common(cryptoki.CKO_PRIVATE_KEY, keyType, name+" wrapped", false), provider.OnPrivate(half[1:])...)
			identity := s.identity()
			if _, err := bring(identity, attributes, locked{}); !fault.Is(err, fault.KeyUnextractable) {
				t.Errorf("a key that may not leave: %v", err)
			}
			generated, err := bring(identity, attributes, keywrap.Value(der))
			if err != nil {
				t.Fatal(err)
			}
			k := s.open(t, identity, generated, attributes)
			if !equal(k.public, public) || holds(generated.Ref, secret) {
				t.Fatal("another key arrived, or its reference shows it")
			}
			s.proveKey(t, k, keyType)
			again, err := bring(identity, attributes, keywrap.Value(der))
			if err != nil || s.capabilities.Keeps && !bytes.Equal(again.Ref, generated.Ref) {
				t.Errorf("the repeated request made another key: %v", err)
			}
		})
	}
	for _, r := range []recipe{aesRecipe(32), secretRecipe(32)} {
		if !s.can(r) {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			attributes := append(common(cryptoki.CKO_SECRET_KEY, r.keyType, r.name+" wrapped", false), cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, r.size))
			identity, value := s.identity(), random(int(r.size))
			generated, err := bring(identity, attributes, keywrap.Value(value))
			if err != nil {
				t.Fatal(err)
			}
			k := s.open(t, identity, generated, attributes)
			k.value = value
			s.proveKey(t, k, r.keyType)
		})
	}
}

// testLeave wraps keys that may leave for another provider, and none that may not.
func (s *suite) testLeave(t *testing.T) {
	under, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	var recipes []recipe
	if s.can(rsaRecipe(2048)) {
		recipes = append(recipes, rsaRecipe(2048))
	}
	for _, c := range curve.All() {
		if s.can(curveRecipe(c)) {
			recipes = append(recipes, curveRecipe(c))
		}
	}
	for _, r := range recipes {
		t.Run(r.name, func(t *testing.T) {
			request := r.request()
			request.Private.Set(cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, true))
			k := s.make(t, request)
			wrapper, ok := k.Key.(provider.Wrapper)
			if !ok {
				return
			}
			wrapped, err := wrapper.Wrap(s.ctx(t), &under.PublicKey)
			if r.keyType == cryptoki.CKK_EC_EDWARDS && s.capabilities.Hardware && fault.Is(err, fault.KeyUnextractable) {
				// Tokens that know no PKCS#8 of Edwards keys, SoftHSM 2.6 among them, refuse it with CKR_KEY_NOT_WRAPPABLE.
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			der, err := keywrap.UnwrapRSAAES(under, sha256.New(), wrapped)
			if err != nil {
				t.Fatal(err)
			}
			private, err := softkey.ParsePKCS8(der)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, public := secretsOf(t, private); !equal(public, k.public) {
				t.Error("another key was wrapped")
			}
			if s.capabilities.Keeps {
				_, err := ability[provider.Wrapper](t, s.make(t, r.request()).Key).Wrap(s.ctx(t), &under.PublicKey)
				wants(t, err, fault.KeyUnextractable)
			}
		})
	}
	importer, ok := s.provider.(provider.Importer)
	for _, r := range []recipe{aesRecipe(32), secretRecipe(32)} {
		if !ok || !s.can(r) {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			value := random(int(r.size))
			wrapper, ok := s.imported(t, importer, r.revealed(), value).Key.(provider.Wrapper)
			if !ok {
				return
			}
			wrapped, err := wrapper.Wrap(s.ctx(t), &under.PublicKey)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := keywrap.UnwrapRSAAES(under, sha256.New(), wrapped); err != nil || !bytes.Equal(got, value) {
				t.Errorf("another value was wrapped: %v", err)
			}
		})
	}
}
