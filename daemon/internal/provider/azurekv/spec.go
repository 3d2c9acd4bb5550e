package azurekv

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"math/big"
	"slices"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// signed is a curve of Azure: how it signs, and the length of digest that it wants.
type signed struct {
	name      azkeys.CurveName
	algorithm azkeys.SignatureAlgorithm
	digest    int
}

// curves are those of both Azure and AnyHSM. Azure also has P-256K, secp256k1, which AnyHSM does not know.
var curves = []signed{
	{azkeys.CurveNameP256, azkeys.SignatureAlgorithmES256, 32},
	{azkeys.CurveNameP384, azkeys.SignatureAlgorithmES384, 48},
	{azkeys.CurveNameP521, azkeys.SignatureAlgorithmES512, 64},
}

// spec is a kind of key in PKCS#11's words.
type spec struct {
	keyType cryptoki.KeyType
	// bits is the size of a modulus or a secret.
	bits uint64
	// on and signed are the curve of an EC key.
	on     *curve.Curve
	signed signed
}

// onCurve is the kind of EC keys on a curve.
func onCurve(on *curve.Curve) (spec, error) {
	for _, s := range curves {
		if string(s.name) == on.Name {
			return spec{keyType: cryptoki.CKK_EC, on: on, signed: s}, nil
		}
	}
	return spec{}, fault.New(fault.CurveNotSupported, "Azure Key Vault has no keys on %s; choose P-256, P-384 or P-521", on.Name)
}

// sized is the kind of RSA or AES keys of a size.
func sized(keyType cryptoki.KeyType, bits uint64, hsm bool) (spec, error) {
	var sizes []uint64
	switch {
	case keyType == cryptoki.CKK_RSA:
		sizes = []uint64{2048, 3072, 4096}
	case keyType == cryptoki.CKK_AES && hsm:
		sizes = []uint64{128, 192, 256}
	case keyType == cryptoki.CKK_AES:
		return spec{}, fault.New(fault.KeyTypeInconsistent, "Azure Key Vault has no AES keys, only a Managed HSM does; use a provider with hsm = true, or software")
	default:
		return spec{}, fault.New(fault.KeyTypeInconsistent, "Azure Key Vault has no %s keys; use provider software", keyType)
	}
	if !slices.Contains(sizes, bits) {
		return spec{}, fault.New(fault.KeySizeRange, "Azure Key Vault takes %s keys of one of %d bits, not %d", keyType, sizes, bits)
	}
	return spec{keyType: keyType, bits: bits}, nil
}

// specOf finds the kind of the key that attributes with a value or a request describe.
func specOf(keyType cryptoki.KeyType, open cryptoki.Attributes, hsm bool) (spec, error) {
	switch keyType {
	case cryptoki.CKK_EC, cryptoki.CKK_EC_EDWARDS:
		on, err := curve.Of(open)
		if err != nil {
			return spec{}, err
		}
		return onCurve(on)
	case cryptoki.CKK_RSA:
		bits, ok := open.Ulong(cryptoki.CKA_MODULUS_BITS)
		if !ok {
			bits = uint64(new(big.Int).SetBytes(open.Bytes(cryptoki.CKA_MODULUS)).BitLen())
		}
		return sized(keyType, bits, hsm)
	}
	length, ok := open.Ulong(cryptoki.CKA_VALUE_LEN)
	if !ok {
		length = uint64(len(open.Bytes(cryptoki.CKA_VALUE)))
	}
	return sized(keyType, min(length, 1<<20)*8, hsm)
}

// kty is Azure's name of the kind of key, as it is to be made here.
func (s spec) kty(c Config) azkeys.KeyType {
	hardware := c.HSM || c.Premium
	switch {
	case s.keyType == cryptoki.CKK_AES:
		return azkeys.KeyTypeOctHSM
	case s.keyType == cryptoki.CKK_RSA && hardware:
		return azkeys.KeyTypeRSAHSM
	case s.keyType == cryptoki.CKK_RSA:
		return azkeys.KeyTypeRSA
	case hardware:
		return azkeys.KeyTypeECHSM
	}
	return azkeys.KeyTypeEC
}

// private tells whether the kind is a key pair.
func (s spec) private() bool { return s.keyType != cryptoki.CKK_AES }

// read tells the kind of a key of Azure, and its public attributes.
func read(key *azkeys.JSONWebKey) (spec, cryptoki.Attributes, error) {
	if key == nil || key.Kty == nil {
		return spec{}, nil, fault.New(fault.FunctionFailed, "Azure's answer holds no key; look at vault_url")
	}
	switch *key.Kty {
	case azkeys.KeyTypeOctHSM:
		// A secret key's length is not told; it is what the object says.
		return spec{keyType: cryptoki.CKK_AES}, nil, nil
	case azkeys.KeyTypeRSA, azkeys.KeyTypeRSAHSM:
		modulus, exponent := new(big.Int).SetBytes(key.N), new(big.Int).SetBytes(key.E)
		if exponent.BitLen() > 31 || exponent.Sign() == 0 {
			return spec{}, nil, fault.New(fault.FunctionFailed, "the key's public exponent is beyond what is used; look at the key in Azure")
		}
		kind, err := sized(cryptoki.CKK_RSA, uint64(modulus.BitLen()), true)
		if err != nil {
			return spec{}, nil, err
		}
		return pair(kind, &rsa.PublicKey{N: modulus, E: int(exponent.Int64())})
	case azkeys.KeyTypeEC, azkeys.KeyTypeECHSM:
		if key.Crv == nil {
			return spec{}, nil, fault.New(fault.FunctionFailed, "Azure's answer names no curve; look at vault_url")
		}
		on, ok := curve.ByName(string(*key.Crv))
		if !ok {
			return spec{}, nil, fault.New(fault.CurveNotSupported, "the key is on %s, which AnyHSM does not have; use P-256, P-384 or P-521", *key.Crv)
		}
		kind, err := onCurve(on)
		if err != nil {
			return spec{}, nil, err
		}
		point := []byte{4}
		for _, coordinate := range [][]byte{key.X, key.Y} {
			// Azure may leave out leading zeros.
			number := new(big.Int).SetBytes(coordinate)
			if number.BitLen() > on.Bits {
				return spec{}, nil, fault.New(fault.FunctionFailed, "the public key that Azure sent is not on %s; look at vault_url", on.Name)
			}
			point = append(point, number.FillBytes(make([]byte, on.Bytes()))...)
		}
		public, err := ecdsa.ParseUncompressedPublicKey(on.Elliptic, point)
		if err != nil {
			return spec{}, nil, fault.New(fault.FunctionFailed, "the public key that Azure sent is not on %s: %w; look at vault_url", on.Name, err)
		}
		return pair(kind, public)
	}
	return spec{}, nil, fault.New(fault.KeyTypeInconsistent, "Azure has a key of type %s, which PKCS#11's mechanisms here cannot use", *key.Kty)
}

// pair adds the public attributes of a key pair.
func pair(kind spec, public any) (spec, cryptoki.Attributes, error) {
	all, err := softkey.PublicAttributes(public)
	if err != nil {
		return spec{}, nil, err
	}
	return kind, values(all), nil
}

// publicTypes are the attributes that make up a public key.
var publicTypes = []cryptoki.AttributeType{cryptoki.CKA_MODULUS, cryptoki.CKA_PUBLIC_EXPONENT, cryptoki.CKA_EC_PARAMS, cryptoki.CKA_EC_POINT}

// values takes out what makes up a public key.
func values(attributes cryptoki.Attributes) (public cryptoki.Attributes) {
	for _, t := range publicTypes {
		if value := attributes.Bytes(t); len(value) > 0 {
			public = append(public, cryptoki.Bytes(t, value))
		}
	}
	return public
}

// use is a usage attribute of the private or secret key and what Azure calls it. The public half's name goes with it,
// for Azure's other users.
type use struct {
	attribute cryptoki.AttributeType
	operation azkeys.KeyOperation
	public    azkeys.KeyOperation
}

func (s spec) uses() []use {
	switch s.keyType {
	case cryptoki.CKK_RSA:
		return []use{
			{cryptoki.CKA_SIGN, azkeys.KeyOperationSign, azkeys.KeyOperationVerify},
			{cryptoki.CKA_DECRYPT, azkeys.KeyOperationDecrypt, azkeys.KeyOperationEncrypt},
		}
	case cryptoki.CKK_EC:
		return []use{{cryptoki.CKA_SIGN, azkeys.KeyOperationSign, azkeys.KeyOperationVerify}}
	}
	return []use{
		{cryptoki.CKA_ENCRYPT, azkeys.KeyOperationEncrypt, ""},
		{cryptoki.CKA_DECRYPT, azkeys.KeyOperationDecrypt, ""},
	}
}

// usages are all usage attributes of private and secret keys.
var usages = []cryptoki.AttributeType{
	cryptoki.CKA_SIGN, cryptoki.CKA_VERIFY, cryptoki.CKA_ENCRYPT, cryptoki.CKA_DECRYPT, cryptoki.CKA_DERIVE,
	cryptoki.CKA_WRAP, cryptoki.CKA_UNWRAP, cryptoki.CKA_SIGN_RECOVER, cryptoki.CKA_VERIFY_RECOVER,
}

// operations are the key_ops that a template asks for. What Azure cannot do is left out, and granted says so; a key
// that could do nothing is not made.
func (s spec) operations(template cryptoki.Attributes) (list []azkeys.KeyOperation, err error) {
	for _, u := range s.uses() {
		// The daemon unwraps by decrypting.
		if template.Bool(u.attribute) || u.attribute == cryptoki.CKA_DECRYPT && template.Bool(cryptoki.CKA_UNWRAP) {
			list = append(list, u.operation)
			if u.public != "" {
				list = append(list, u.public)
			}
		}
	}
	if len(list) > 0 {
		return list, nil
	}
	can := "CKA_SIGN or CKA_DECRYPT"
	switch s.keyType {
	case cryptoki.CKK_EC:
		can = "CKA_SIGN: Azure Key Vault has no key agreement"
	case cryptoki.CKK_AES:
		can = "CKA_ENCRYPT or CKA_DECRYPT"
	}
	return nil, fault.New(fault.TemplateInconsistent, "the template asks for no use that Azure has for %s keys; set %s", s.keyType, can)
}

// allowed are the mechanisms that Azure does with a key of some key_ops, and the hashing ones that reduce to them.
func (s spec) allowed(operations []azkeys.KeyOperation) (all []cryptoki.MechanismType) {
	has := func(o azkeys.KeyOperation) bool { return slices.Contains(operations, o) }
	if s.keyType == cryptoki.CKK_AES {
		all = []cryptoki.MechanismType{cryptoki.CKM_AES_CBC, cryptoki.CKM_AES_CBC_PAD}
		if has(azkeys.KeyOperationDecrypt) {
			all = append(all, cryptoki.CKM_AES_GCM)
		}
		return all
	}
	if has(azkeys.KeyOperationSign) {
		raw := []cryptoki.MechanismType{cryptoki.CKM_ECDSA}
		if s.keyType == cryptoki.CKK_RSA {
			raw = []cryptoki.MechanismType{cryptoki.CKM_RSA_PKCS, cryptoki.CKM_RSA_PKCS_PSS}
		}
		all = append(all, raw...)
		for _, info := range mechanism.All() {
			if !info.Hashing() || !slices.Contains(raw, info.Base) {
				continue
			}
			if info.Base == cryptoki.CKM_ECDSA || slices.ContainsFunc(sha2, func(t cryptoki.MechanismType) bool { h, _ := mechanism.HashOf(t); return h == info.Hash }) {
				all = append(all, info.Type)
			}
		}
	}
	if s.keyType == cryptoki.CKK_RSA && has(azkeys.KeyOperationDecrypt) {
		if !slices.Contains(all, cryptoki.CKM_RSA_PKCS) {
			all = append(all, cryptoki.CKM_RSA_PKCS)
		}
		all = append(all, cryptoki.CKM_RSA_PKCS_OAEP)
	}
	return all
}

// granted are the attributes of the private or secret key that follow from what it became: Azure gives no key out, and
// uses it for its key_ops.
func (s spec) granted(operations []azkeys.KeyOperation, template cryptoki.Attributes, generated bool) cryptoki.Attributes {
	mechanisms := s.allowed(operations)
	if wanted, ok := template.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS); ok && len(wanted) > 0 {
		mechanisms = slices.DeleteFunc(mechanisms, func(t cryptoki.MechanismType) bool { return !slices.Contains(wanted, uint64(t)) })
	}
	granted := cryptoki.Attributes{
		cryptoki.Bool(cryptoki.CKA_SENSITIVE, true), cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, false),
		cryptoki.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS, mechanisms),
	}
	if generated {
		granted = append(granted, cryptoki.Bool(cryptoki.CKA_ALWAYS_SENSITIVE, true), cryptoki.Bool(cryptoki.CKA_NEVER_EXTRACTABLE, true))
	}
	kept := []cryptoki.AttributeType{}
	for _, u := range s.uses() {
		if slices.Contains(operations, u.operation) {
			kept = append(kept, u.attribute)
			if u.attribute == cryptoki.CKA_DECRYPT {
				kept = append(kept, cryptoki.CKA_UNWRAP)
			}
		}
	}
	for _, usage := range usages {
		if template.Bool(usage) && !slices.Contains(kept, usage) {
			granted = append(granted, cryptoki.Bool(usage, false))
		}
	}
	return granted
}
