package providertest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"math/big"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

// recipe is a kind of key that can be generated.
type recipe struct {
	name      string
	mechanism cryptoki.MechanismType
	keyType   cryptoki.KeyType
	// size is the bits of a modulus or the bytes of a secret key.
	size  uint64
	curve *curve.Curve
	// set is the parameter set of an ML-DSA key.
	set *parameterset.Set
	// open makes the key extractable and not sensitive.
	open bool
	// only is the one usage that the template asks for; 0 for all that the type has.
	only cryptoki.AttributeType
	// allowed is CKA_ALLOWED_MECHANISMS of the template; nil for none.
	allowed []cryptoki.MechanismType
}

// to is the recipe of a key for a use, where a key has only one.
func (s *suite) to(r recipe, use cryptoki.Flags) recipe {
	if !s.capabilities.OneUse || use == cryptoki.CKF_DERIVE && !s.capabilities.Can(cryptoki.CKM_ECDH1_DERIVE, use) {
		return r
	}
	switch use {
	case cryptoki.CKF_DECRYPT:
		r.name, r.only = r.name+" to decrypt", cryptoki.CKA_DECRYPT
	case cryptoki.CKF_DERIVE:
		r.name, r.only = r.name+" to derive", cryptoki.CKA_DERIVE
	}
	return r
}

// doing is the recipe of a key that does a mechanism, where a key has one algorithm and its type does not tell which.
func (s *suite) doing(r recipe, m cryptoki.MechanismType) recipe {
	if s.capabilities.OneAlgorithm && (r.keyType == cryptoki.CKK_RSA || r.keyType == cryptoki.CKK_AES) {
		r.name, r.allowed = r.name+" for "+m.String(), []cryptoki.MechanismType{m}
	}
	return r
}

func rsaRecipe(bits uint64) recipe {
	return recipe{name: fmt.Sprintf("RSA-%d", bits), mechanism: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN, keyType: cryptoki.CKK_RSA, size: bits}
}

func curveRecipe(c *curve.Curve) recipe {
	r := recipe{name: c.Name, mechanism: cryptoki.CKM_EC_KEY_PAIR_GEN, keyType: c.KeyType, curve: c}
	if c.KeyType == cryptoki.CKK_EC_EDWARDS {
		r.mechanism = cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN
	}
	return r
}

func setRecipe(set *parameterset.Set) recipe {
	return recipe{name: set.Name, mechanism: cryptoki.CKM_ML_DSA_KEY_PAIR_GEN, keyType: cryptoki.CKK_ML_DSA, set: set}
}

func aesRecipe(length uint64) recipe {
	return recipe{name: fmt.Sprintf("AES-%d", 8*length), mechanism: cryptoki.CKM_AES_KEY_GEN, keyType: cryptoki.CKK_AES, size: length}
}

func secretRecipe(length uint64) recipe {
	return recipe{name: fmt.Sprintf("secret-%d", length), mechanism: cryptoki.CKM_GENERIC_SECRET_KEY_GEN, keyType: cryptoki.CKK_GENERIC_SECRET, size: length}
}

// revealed is the recipe of a key whose value may be read.
func (r recipe) revealed() recipe {
	r.name += " revealed"
	r.open = true
	return r
}

// usages are the flags that a type of key gets, as internal/object gives them.
var usages = map[cryptoki.KeyType][]cryptoki.AttributeType{
	cryptoki.CKK_RSA:            {cryptoki.CKA_SIGN, cryptoki.CKA_DECRYPT},
	cryptoki.CKK_EC:             {cryptoki.CKA_SIGN, cryptoki.CKA_DERIVE},
	cryptoki.CKK_EC_EDWARDS:     {cryptoki.CKA_SIGN},
	cryptoki.CKK_ML_DSA:         {cryptoki.CKA_SIGN},
	cryptoki.CKK_AES:            {cryptoki.CKA_ENCRYPT, cryptoki.CKA_DECRYPT},
	cryptoki.CKK_GENERIC_SECRET: {cryptoki.CKA_SIGN, cryptoki.CKA_VERIFY},
}

// common are the attributes of a private or secret key without its value.
func common(class cryptoki.ObjectClass, keyType cryptoki.KeyType, label string, open bool) cryptoki.Attributes {
	attributes := cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, class), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, keyType),
		cryptoki.Bool(cryptoki.CKA_TOKEN, true), cryptoki.Bool(cryptoki.CKA_PRIVATE, true),
		cryptoki.String(cryptoki.CKA_LABEL, label),
		cryptoki.Bool(cryptoki.CKA_SENSITIVE, !open), cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, open),
	}
	for _, usage := range usages[keyType] {
		attributes = append(attributes, cryptoki.Bool(usage, true))
	}
	return attributes
}

// request is the request for a recipe's key, without an identity.
func (r recipe) request() (request provider.GenerateRequest) {
	request = provider.GenerateRequest{Mechanism: cryptoki.Mechanism{Type: r.mechanism}}
	defer func() { request.Private = r.restrict(request.Private) }()
	switch r.keyType {
	case cryptoki.CKK_AES, cryptoki.CKK_GENERIC_SECRET:
		request.Private = append(common(cryptoki.CKO_SECRET_KEY, r.keyType, r.name, r.open), cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, r.size))
		return request
	}
	request.Private = common(cryptoki.CKO_PRIVATE_KEY, r.keyType, r.name, r.open)
	for _, usage := range usages[r.keyType] {
		request.Private.Set(cryptoki.Bool(usage, r.only == 0 || r.only == usage))
	}
	request.Public = cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PUBLIC_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, r.keyType),
		cryptoki.Bool(cryptoki.CKA_TOKEN, true), cryptoki.String(cryptoki.CKA_LABEL, r.name), cryptoki.Bool(cryptoki.CKA_VERIFY, true),
	}
	if r.keyType == cryptoki.CKK_RSA {
		request.Public = append(request.Public, cryptoki.Ulong(cryptoki.CKA_MODULUS_BITS, r.size),
			cryptoki.Bytes(cryptoki.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}))
	} else if r.set != nil {
		request.Public = append(request.Public, cryptoki.Ulong(cryptoki.CKA_PARAMETER_SET, r.set.Parameter))
	} else if r.curve != nil {
		request.Public = append(request.Public, cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, r.curve.Params))
	}
	return request
}

// restrict adds CKA_ALLOWED_MECHANISMS to a template.
func (r recipe) restrict(template cryptoki.Attributes) cryptoki.Attributes {
	if len(r.allowed) == 0 {
		return template
	}
	return append(template, cryptoki.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS, r.allowed))
}

// publicKey reads the public key that a provider has generated, and checks its form.
func publicKey(t *testing.T, public, private cryptoki.Attributes) any {
	t.Helper()
	if keyType, _ := private.KeyType(); keyType == cryptoki.CKK_RSA {
		modulus, exponent := public.Bytes(cryptoki.CKA_MODULUS), public.Bytes(cryptoki.CKA_PUBLIC_EXPONENT)
		if len(modulus) == 0 || modulus[0] == 0 || len(exponent) == 0 || exponent[0] == 0 {
			t.Fatalf("CKA_MODULUS or CKA_PUBLIC_EXPONENT is missing or has leading zeros")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(new(big.Int).SetBytes(exponent).Int64())}
	}
	if keyType, _ := private.KeyType(); keyType == cryptoki.CKK_ML_DSA {
		return latticeKey(t, public)
	}
	on, err := curve.Of(public)
	if err != nil {
		t.Fatalf("CKA_EC_PARAMS is wrong: %v", err)
	}
	if !bytes.Equal(on.Params, public.Bytes(cryptoki.CKA_EC_PARAMS)) {
		t.Errorf("CKA_EC_PARAMS is not the object identifier of %s", on.Name)
	}
	point, ok := on.Point(public.Bytes(cryptoki.CKA_EC_POINT))
	if !ok || !bytes.Equal(curve.OctetString(point), public.Bytes(cryptoki.CKA_EC_POINT)) {
		t.Fatalf("CKA_EC_POINT is no DER OCTET STRING with a point of %s", on.Name)
	}
	if on.KeyType == cryptoki.CKK_EC_EDWARDS {
		return ed25519.PublicKey(point)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(on.Elliptic, point)
	if err != nil {
		t.Fatalf("the point is not on %s: %v", on.Name, err)
	}
	return key
}
