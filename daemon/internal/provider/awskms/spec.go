package awskms

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

// edwards is the size of Ed25519 as CK_MECHANISM_INFO counts.
const edwards = 255

// mac is a kind of HMAC key: AWS KMS ties the length of the key to the hash.
type mac struct {
	bits               uint64
	spec               types.KeySpec
	algorithm          types.MacAlgorithmSpec
	mechanism, general cryptoki.MechanismType
}

var macs = []mac{
	{224, types.KeySpecHmac224, types.MacAlgorithmSpecHmacSha224, cryptoki.CKM_SHA224_HMAC, cryptoki.CKM_SHA224_HMAC_GENERAL},
	{256, types.KeySpecHmac256, types.MacAlgorithmSpecHmacSha256, cryptoki.CKM_SHA256_HMAC, cryptoki.CKM_SHA256_HMAC_GENERAL},
	{384, types.KeySpecHmac384, types.MacAlgorithmSpecHmacSha384, cryptoki.CKM_SHA384_HMAC, cryptoki.CKM_SHA384_HMAC_GENERAL},
	{512, types.KeySpecHmac512, types.MacAlgorithmSpecHmacSha512, cryptoki.CKM_SHA512_HMAC, cryptoki.CKM_SHA512_HMAC_GENERAL},
}

// spec is a kind of key of AWS KMS in PKCS#11's words.
type spec struct {
	name    types.KeySpec
	keyType cryptoki.KeyType
	// bits is the size of a modulus or a secret, on the curve of an EC or Edwards key.
	bits uint64
	on   *curve.Curve
	// set is the parameter set of an ML-DSA key.
	set *parameterset.Set
	// digest is the length that ECDSA wants, algorithm how it is called.
	digest    int
	algorithm types.SigningAlgorithmSpec
	mac       mac
}

var specs = func() []spec {
	named := func(name string) *curve.Curve { c, _ := curve.ByName(name); return c }
	all := []spec{
		{name: types.KeySpecRsa2048, keyType: cryptoki.CKK_RSA, bits: 2048},
		{name: types.KeySpecRsa3072, keyType: cryptoki.CKK_RSA, bits: 3072},
		{name: types.KeySpecRsa4096, keyType: cryptoki.CKK_RSA, bits: 4096},
		{name: types.KeySpecEccNistP256, keyType: cryptoki.CKK_EC, on: named("P-256"), digest: 32, algorithm: types.SigningAlgorithmSpecEcdsaSha256},
		{name: types.KeySpecEccNistP384, keyType: cryptoki.CKK_EC, on: named("P-384"), digest: 48, algorithm: types.SigningAlgorithmSpecEcdsaSha384},
		{name: types.KeySpecEccNistP521, keyType: cryptoki.CKK_EC, on: named("P-521"), digest: 64, algorithm: types.SigningAlgorithmSpecEcdsaSha512},
		{name: types.KeySpecEccNistEdwards25519, keyType: cryptoki.CKK_EC_EDWARDS, on: named("Ed25519"), algorithm: types.SigningAlgorithmSpecEd25519Sha512},
	}
	for i, name := range []types.KeySpec{types.KeySpecMlDsa44, types.KeySpecMlDsa65, types.KeySpecMlDsa87} {
		set := parameterset.All()[i]
		all = append(all, spec{name: name, keyType: cryptoki.CKK_ML_DSA, bits: 8 * uint64(set.Public), set: set, algorithm: types.SigningAlgorithmSpecMlDsaShake256})
	}
	for _, m := range macs {
		all = append(all, spec{name: m.spec, keyType: cryptoki.CKK_GENERIC_SECRET, bits: m.bits, mac: m})
	}
	return all
}()

// specNamed finds a kind of key by AWS's name.
func specNamed(name types.KeySpec) (spec, bool) {
	i := slices.IndexFunc(specs, func(s spec) bool { return s.name == name })
	if i < 0 {
		return spec{}, false
	}
	return specs[i], true
}

// specOf finds the kind of key that attributes describe.
func specOf(keyType cryptoki.KeyType, bits uint64, on *curve.Curve) (spec, error) {
	for _, s := range specs {
		if s.keyType == keyType && s.bits == bits && s.on == on {
			return s, nil
		}
	}
	if on != nil {
		return spec{}, fault.New(fault.CurveNotSupported, "AWS KMS has no keys on %s; choose P-256, P-384, P-521 or Ed25519", on.Name)
	}
	switch keyType {
	case cryptoki.CKK_RSA:
		return spec{}, fault.New(fault.KeySizeRange, "AWS KMS takes RSA keys of 2048, 3072 or 4096 bits, not %d", bits)
	case cryptoki.CKK_GENERIC_SECRET:
		return spec{}, fault.New(fault.KeySizeRange, "AWS KMS takes secrets of 28, 32, 48 or 64 bytes for HMAC, not %d", bits/8)
	}
	return spec{}, fault.New(fault.KeyTypeInconsistent, "AWS KMS uses no %s keys by PKCS#11's mechanisms; keep it in provider software", keyType)
}

// private tells whether the kind is a key pair.
func (s spec) private() bool { return s.keyType != cryptoki.CKK_GENERIC_SECRET }

// size returns the size in the unit of the mechanism's row.
func (s spec) size() uint64 {
	if s.on != nil {
		return uint64(s.on.Bits)
	}
	if s.set != nil {
		return uint64(s.set.Public)
	}
	return s.bits
}

// purposes are the uses that a kind of key can be made for, the preferred one first.
func (s spec) purposes() []types.KeyUsageType {
	switch s.keyType {
	case cryptoki.CKK_RSA:
		return []types.KeyUsageType{types.KeyUsageTypeSignVerify, types.KeyUsageTypeEncryptDecrypt}
	case cryptoki.CKK_EC:
		return []types.KeyUsageType{types.KeyUsageTypeSignVerify, types.KeyUsageTypeKeyAgreement}
	case cryptoki.CKK_EC_EDWARDS, cryptoki.CKK_ML_DSA:
		return []types.KeyUsageType{types.KeyUsageTypeSignVerify}
	}
	return []types.KeyUsageType{types.KeyUsageTypeGenerateVerifyMac}
}

// flags are the usage attributes that a use of AWS KMS can mean for the private or secret key.
var flags = map[types.KeyUsageType][]cryptoki.AttributeType{
	types.KeyUsageTypeSignVerify:        {cryptoki.CKA_SIGN},
	types.KeyUsageTypeEncryptDecrypt:    {cryptoki.CKA_DECRYPT},
	types.KeyUsageTypeKeyAgreement:      {cryptoki.CKA_DERIVE},
	types.KeyUsageTypeGenerateVerifyMac: {cryptoki.CKA_SIGN, cryptoki.CKA_VERIFY},
}

// usages are all usage attributes of private and secret keys.
var usages = []cryptoki.AttributeType{
	cryptoki.CKA_SIGN, cryptoki.CKA_VERIFY, cryptoki.CKA_ENCRYPT, cryptoki.CKA_DECRYPT, cryptoki.CKA_DERIVE,
	cryptoki.CKA_WRAP, cryptoki.CKA_UNWRAP, cryptoki.CKA_SIGN_RECOVER, cryptoki.CKA_VERIFY_RECOVER,
}

// allowed are the mechanisms that AWS KMS does with a kind of key made for a use, and the hashing ones that reduce to
// them.
func (s spec) allowed(use types.KeyUsageType) []cryptoki.MechanismType {
	var raw []cryptoki.MechanismType
	switch {
	case use == types.KeyUsageTypeEncryptDecrypt:
		return []cryptoki.MechanismType{cryptoki.CKM_RSA_PKCS_OAEP}
	case use == types.KeyUsageTypeKeyAgreement:
		return []cryptoki.MechanismType{cryptoki.CKM_ECDH1_DERIVE}
	case use == types.KeyUsageTypeGenerateVerifyMac:
		return []cryptoki.MechanismType{s.mac.mechanism, s.mac.general}
	case s.keyType == cryptoki.CKK_EC_EDWARDS:
		return []cryptoki.MechanismType{cryptoki.CKM_EDDSA}
	case s.keyType == cryptoki.CKK_ML_DSA:
		return []cryptoki.MechanismType{cryptoki.CKM_ML_DSA}
	case s.keyType == cryptoki.CKK_EC:
		raw = []cryptoki.MechanismType{cryptoki.CKM_ECDSA}
	default:
		raw = []cryptoki.MechanismType{cryptoki.CKM_RSA_PKCS, cryptoki.CKM_RSA_PKCS_PSS}
	}
	all := slices.Clone(raw)
	for _, info := range mechanism.All() {
		if !info.Hashing() || !slices.Contains(raw, info.Base) {
			continue
		}
		if info.Base != cryptoki.CKM_ECDSA && !slices.ContainsFunc(sha2, func(t cryptoki.MechanismType) bool { h, _ := mechanism.HashOf(t); return h == info.Hash }) {
			continue
		}
		all = append(all, info.Type)
	}
	return all
}

// choose returns the use that a template asks for. A key of AWS KMS has one: CKA_ALLOWED_MECHANISMS decides where it is
// given, else the usage attributes, of which most programs set all; then signing wins.
func (s spec) choose(template cryptoki.Attributes) (types.KeyUsageType, error) {
	purposes := s.purposes()
	if wanted, ok := allowedBy(template); ok {
		for _, use := range purposes {
			if len(intersect(wanted, s.allowed(use))) > 0 {
				return use, nil
			}
		}
		return "", fault.New(fault.TemplateInconsistent, "AWS KMS does none of CKA_ALLOWED_MECHANISMS with a key %s; leave the attribute out, or see docs/providers/awskms.md", s.name)
	}
	for _, use := range purposes {
		if template.Bool(flags[use][0]) {
			return use, nil
		}
	}
	if s.keyType == cryptoki.CKK_RSA && template.Bool(cryptoki.CKA_UNWRAP) {
		return types.KeyUsageTypeEncryptDecrypt, nil
	}
	return purposes[0], nil
}

func allowedBy(template cryptoki.Attributes) ([]cryptoki.MechanismType, bool) {
	list, ok := template.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS)
	if !ok || len(list) == 0 {
		return nil, false
	}
	types := make([]cryptoki.MechanismType, len(list))
	for i, t := range list {
		types[i] = cryptoki.MechanismType(t)
	}
	return types, true
}

func intersect(a, b []cryptoki.MechanismType) (both []cryptoki.MechanismType) {
	for _, t := range a {
		if slices.Contains(b, t) {
			both = append(both, t)
		}
	}
	return both
}

// granted are the attributes of the private or secret key that follow from what it became: AWS KMS gives no key out,
// and uses it for one thing.
func (s spec) granted(use types.KeyUsageType, template cryptoki.Attributes, generated bool) cryptoki.Attributes {
	mechanisms := s.allowed(use)
	if wanted, ok := allowedBy(template); ok {
		mechanisms = intersect(wanted, mechanisms)
	}
	list := make([]uint64, len(mechanisms))
	for i, t := range mechanisms {
		list[i] = uint64(t)
	}
	granted := cryptoki.Attributes{
		cryptoki.Bool(cryptoki.CKA_SENSITIVE, true), cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, false),
		cryptoki.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS, list),
	}
	if generated {
		granted = append(granted, cryptoki.Bool(cryptoki.CKA_ALWAYS_SENSITIVE, true), cryptoki.Bool(cryptoki.CKA_NEVER_EXTRACTABLE, true))
	}
	for _, usage := range usages {
		if template.Bool(usage) && !slices.Contains(flags[use], usage) {
			granted = append(granted, cryptoki.Bool(usage, false))
		}
	}
	return granted
}
