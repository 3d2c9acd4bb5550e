package providertest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"math/big"
	"slices"
	"testing"

	"filippo.io/mldsa"
	mldsax509 "filippo.io/mldsa/x509"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

// outsiders are key pairs of Go's crypto, of the types that the provider makes itself.
func (s *suite) outsiders(t *testing.T) map[string]any {
	t.Helper()
	keys := map[string]any{}
	if s.can(rsaRecipe(2048)) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		keys["RSA-2048"] = key
	}
	for _, c := range curve.All() {
		if !s.can(curveRecipe(c)) {
			continue
		}
		if c.KeyType == cryptoki.CKK_EC_EDWARDS {
			_, key, _ := ed25519.GenerateKey(rand.Reader)
			keys[c.Name] = key
			continue
		}
		key, err := ecdsa.GenerateKey(c.Elliptic, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[c.Name] = key
	}
	for _, set := range parameterset.All() {
		if !s.can(setRecipe(set)) || slices.Contains(s.capabilities.NoImport, cryptoki.CKK_ML_DSA) {
			continue
		}
		key, err := mldsa.GenerateKey(parametersOf(set))
		if err != nil {
			t.Fatal(err)
		}
		keys[set.Name] = key
	}
	return keys
}

// secretsOf are the key type and the secret attributes of a key of Go's, and its public key. They are put together
// here and not by package softkey, which must not be its own judge.
func secretsOf(t *testing.T, key any) (keyType cryptoki.KeyType, attributes cryptoki.Attributes, public any) {
	t.Helper()
	switch key := key.(type) {
	case *rsa.PrivateKey:
		number := func(t cryptoki.AttributeType, n *big.Int) cryptoki.Attribute { return cryptoki.Bytes(t, n.Bytes()) }
		return cryptoki.CKK_RSA, cryptoki.Attributes{
			number(cryptoki.CKA_MODULUS, key.N), number(cryptoki.CKA_PUBLIC_EXPONENT, big.NewInt(int64(key.E))),
			number(cryptoki.CKA_PRIVATE_EXPONENT, key.D),
			number(cryptoki.CKA_PRIME_1, key.Primes[0]), number(cryptoki.CKA_PRIME_2, key.Primes[1]),
			number(cryptoki.CKA_EXPONENT_1, key.Precomputed.Dp), number(cryptoki.CKA_EXPONENT_2, key.Precomputed.Dq),
			number(cryptoki.CKA_COEFFICIENT, key.Precomputed.Qinv),
		}, &key.PublicKey
	case *ecdsa.PrivateKey:
		c, _ := curve.ByName(key.Curve.Params().Name)
		value, err := key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return cryptoki.CKK_EC, cryptoki.Attributes{
			cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, c.Params), cryptoki.Bytes(cryptoki.CKA_VALUE, value),
		}, &key.PublicKey
	case ed25519.PrivateKey:
		c, _ := curve.ByName("Ed25519")
		return cryptoki.CKK_EC_EDWARDS, cryptoki.Attributes{
			cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, c.Params), cryptoki.Bytes(cryptoki.CKA_VALUE, key.Seed()),
		}, key.Public()
	case *mldsa.PrivateKey:
		set := setOf(key.PublicKey())
		return cryptoki.CKK_ML_DSA, cryptoki.Attributes{
			cryptoki.Ulong(cryptoki.CKA_PARAMETER_SET, set.Parameter), cryptoki.Bytes(cryptoki.CKA_SEED, key.Bytes()),
		}, key.PublicKey()
	}
	t.Fatalf("a %T", key)
	return 0, nil, nil
}

// testImport brings keys in and uses them.
func (s *suite) testImport(t *testing.T) {
	importer, ok := s.provider.(provider.Importer)
	if !ok {
		return
	}
	for name, key := range s.outsiders(t) {
		t.Run(name, func(t *testing.T) {
			keyType, secret, public := secretsOf(t, key)
			attributes := append(common(cryptoki.CKO_PRIVATE_KEY, keyType, name+" imported", false), secret...)
			identity := s.identity()
			generated, err := importer.Import(s.ctx(t), identity, attributes)
			if err != nil {
				t.Fatal(err)
			}
			k := s.open(t, identity, generated, attributes)
			if !equal(k.public, public) {
				t.Fatal("Public is not the public half of the key")
			}
			if holds(generated.Ref, secret) {
				t.Error("the reference shows the key")
			}
			s.proveKey(t, k, keyType)
			again, err := importer.Import(s.ctx(t), identity, attributes)
			if err != nil {
				t.Fatalf("the repeated Import: %v", err)
			}
			if s.capabilities.Keeps && !bytes.Equal(again.Ref, generated.Ref) {
				t.Error("the repeated Import made another key")
			}
		})
	}
	if s.can(rsaRecipe(2048)) {
		t.Run("RSA without its primes", func(t *testing.T) { s.importWithoutPrimes(t, importer) })
	}
	if s.can(aesRecipe(32)) {
		t.Run("AES", func(t *testing.T) { s.proveAES(t, s.secret(t, aesRecipe(32)), s.oneOf(cryptoki.CKK_AES)) })
	}
	s.refuseImports(t, importer)
}

// importWithoutPrimes brings in an RSA key with no more than the standard demands: it works, or it is refused at once.
func (s *suite) importWithoutPrimes(t *testing.T, importer provider.Importer) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, secret, _ := secretsOf(t, key)
	attributes := append(common(cryptoki.CKO_PRIVATE_KEY, cryptoki.CKK_RSA, "no primes", false), secret[:3]...)
	identity := s.identity()
	generated, err := importer.Import(s.ctx(t), identity, attributes)
	if err != nil {
		wants(t, err, fault.TemplateIncomplete)
		return
	}
	s.proveKey(t, s.open(t, identity, generated, attributes), cryptoki.CKK_RSA)
}

// oneOf returns a mechanism that keys of a type can be used with.
func (s *suite) oneOf(keyType cryptoki.KeyType) cryptoki.MechanismType {
	for _, m := range s.capabilities.Mechanisms {
		if info, ok := mechanism.Lookup(m.Type); ok && info.KeyTypes[0] == keyType && m.Flags&operations&^(cryptoki.CKF_GENERATE|cryptoki.CKF_GENERATE_KEY_PAIR) != 0 {
			return m.Type
		}
	}
	return 0
}

// refuseImports sends what is no key.
func (s *suite) refuseImports(t *testing.T, importer provider.Importer) {
	p256, _ := curve.ByName("P-256")
	private := common(cryptoki.CKO_PRIVATE_KEY, cryptoki.CKK_EC, "wrong", false)
	on := cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, p256.Params)
	for name, attributes := range map[string]cryptoki.Attributes{
		"a certificate":        {cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_CERTIFICATE), cryptoki.Bytes(cryptoki.CKA_VALUE, []byte{1})},
		"nothing":              nil,
		"an EC key of zero":    append(private.Clone(), on, cryptoki.Bytes(cryptoki.CKA_VALUE, make([]byte, 32))),
		"an EC key too large":  append(private.Clone(), on, cryptoki.Bytes(cryptoki.CKA_VALUE, bytes.Repeat([]byte{0xff}, 32))),
		"an EC key no curve":   append(private.Clone(), cryptoki.Bytes(cryptoki.CKA_VALUE, random(32))),
		"an EC key no value":   append(private.Clone(), on),
		"an RSA key no primes": append(common(cryptoki.CKO_PRIVATE_KEY, cryptoki.CKK_RSA, "wrong", false), cryptoki.Bytes(cryptoki.CKA_MODULUS, random(256))),
		"an AES key of 5":      append(common(cryptoki.CKO_SECRET_KEY, cryptoki.CKK_AES, "wrong", false), cryptoki.Bytes(cryptoki.CKA_VALUE, random(5))),
		"an empty secret":      append(common(cryptoki.CKO_SECRET_KEY, cryptoki.CKK_GENERIC_SECRET, "wrong", false), cryptoki.Bytes(cryptoki.CKA_VALUE, nil)),
	} {
		t.Run("refuse "+name, func(t *testing.T) {
			_, err := importer.Import(s.ctx(t), s.identity(), attributes)
			wants(t, err, fault.AttributeValueInvalid, fault.TemplateIncomplete, fault.TemplateInconsistent, fault.KeySizeRange,
				fault.DomainParamsInvalid, fault.CurveNotSupported, fault.KeyTypeInconsistent, fault.PublicKeyInvalid, fault.KeyHandleInvalid)
		})
	}
}

// proveKey uses a key pair in one way that its type has.
func (s *suite) proveKey(t *testing.T, k *testKey, keyType cryptoki.KeyType) {
	t.Helper()
	switch keyType {
	case cryptoki.CKK_RSA:
		if s.capabilities.Can(cryptoki.CKM_RSA_PKCS, cryptoki.CKF_SIGN) {
			s.proveRSA(t, k, cryptoki.CKM_RSA_PKCS, cryptoki.CKF_SIGN)
			return
		}
		s.proveRSA(t, k, cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKF_SIGN)
	case cryptoki.CKK_EC:
		c, _ := curve.ByName(k.public.(*ecdsa.PublicKey).Curve.Params().Name)
		s.proveEC(t, k, cryptoki.CKM_ECDSA, c)
	case cryptoki.CKK_EC_EDWARDS:
		s.proveEdwards(t, k)
	case cryptoki.CKK_ML_DSA:
		s.proveLattice(t, k, setOf(k.public.(*mldsa.PublicKey)))
	case cryptoki.CKK_AES:
		s.proveAES(t, k, s.oneOf(keyType))
	default:
		s.proveMAC(t, k, s.mac(len(k.value)))
	}
}

// equal compares public keys.
func equal(a, b any) bool {
	one, err1 := mldsax509.MarshalPKIXPublicKey(a)
	other, err2 := mldsax509.MarshalPKIXPublicKey(b)
	return err1 == nil && err2 == nil && bytes.Equal(one, other)
}

// holds tells whether a secret stands in clear in something.
func holds(ref []byte, secret cryptoki.Attributes) bool {
	for _, a := range secret {
		if a.Type == cryptoki.CKA_VALUE || a.Type == cryptoki.CKA_SEED || a.Type == cryptoki.CKA_PRIVATE_EXPONENT || a.Type == cryptoki.CKA_PRIME_1 {
			if bytes.Contains(ref, a.Value) || bytes.Contains(ref, fmt.Appendf(nil, "%x", a.Value)) {
				return true
			}
		}
	}
	return false
}

// testExport reads the values of keys that may be read, and of those that may not.
func (s *suite) testExport(t *testing.T) {
	importer, ok := s.provider.(provider.Importer)
	if !ok {
		return
	}
	for name, key := range s.outsiders(t) {
		t.Run(name, func(t *testing.T) {
			keyType, secret, _ := secretsOf(t, key)
			attributes := append(common(cryptoki.CKO_PRIVATE_KEY, keyType, name+" revealed", true), secret...)
			identity := s.identity()
			generated, err := importer.Import(s.ctx(t), identity, attributes)
			if err != nil {
				t.Fatal(err)
			}
			s.exports(t, s.open(t, identity, generated, attributes), secret)
		})
	}
	for _, r := range []recipe{aesRecipe(32), secretRecipe(64)} {
		if !s.can(r) {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			value := random(int(r.size))
			k := s.imported(t, importer, r.revealed(), value)
			s.exports(t, k, cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_VALUE, value)})
			if s.capabilities.Keeps {
				// Where the key is kept, so are its flags; elsewhere they are keyservice's.
				closed, ok := s.imported(t, importer, r, value).Key.(provider.Exporter)
				if !ok {
					return
				}
				_, err := closed.Export(s.ctx(t))
				wants(t, err, fault.AttributeSensitive, fault.KeyUnextractable)
			}
		})
	}
}

// exports checks that a key reveals what it was made of.
func (s *suite) exports(t *testing.T, k *testKey, want cryptoki.Attributes) {
	t.Helper()
	exporter, ok := k.Key.(provider.Exporter)
	if !ok {
		return
	}
	got, err := exporter.Export(s.ctx(t))
	if k.generated.Private.Bool(cryptoki.CKA_SENSITIVE) {
		// The provider said when the key was brought that it would not reveal it, and the object says so as well.
		wants(t, err, fault.AttributeSensitive)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range want {
		switch a.Type {
		case cryptoki.CKA_MODULUS, cryptoki.CKA_PUBLIC_EXPONENT, cryptoki.CKA_EC_PARAMS, cryptoki.CKA_PARAMETER_SET:
			continue
		}
		if !bytes.Equal(bytes.TrimLeft(got.Bytes(a.Type), "\x00"), bytes.TrimLeft(a.Value, "\x00")) {
			t.Errorf("%s came back as %d other bytes", a.Type, len(got.Bytes(a.Type)))
		}
	}
}
