package object

import (
	"bytes"
	"crypto/ecdsa"
	"math/bits"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

const (
	// minModulusBits and maxModulusBits bound RSA keys of any origin; who makes or uses them has narrower limits.
	minModulusBits, maxModulusBits = 1024, 16384
	// maxSecret bounds a generic secret in bytes.
	maxSecret = 4096
)

// consistent checks attributes against each other and values against what they mean. It writes the facts that follow
// from a value, and a CKA_EC_POINT in its one form.
func consistent(purpose Purpose, c classes, as cryptoki.Attributes) error {
	if as.Bool(cryptoki.CKA_ALWAYS_AUTHENTICATE) && as.Has(cryptoki.CKA_PRIVATE) && !as.Bool(cryptoki.CKA_PRIVATE) {
		return fault.New(fault.TemplateInconsistent, "CKA_ALWAYS_AUTHENTICATE needs CKA_PRIVATE to be true; correct one of them")
	}
	if c == certificate {
		return consistentCertificate(as)
	}
	if c&keys == 0 {
		return nil
	}
	keyType, _ := as.KeyType()
	var err error
	switch familyOf(keyType) {
	case rsa:
		err = consistentRSA(c, as)
	case ec:
		err = consistentEC(purpose, c, keyType, as)
	case mldsa:
		err = consistentMLDSA(c, as)
	default:
		return consistentSecret(purpose, keyType, as)
	}
	if err != nil {
		return err
	}
	// A private ML-DSA key, or an EC key without a point, says nothing of its public half here; Complete writes it when it is known.
	given, own := as.Bytes(cryptoki.CKA_PUBLIC_KEY_INFO), []byte(nil)
	if len(given) > 0 {
		own = publicKeyInfo(as)
	}
	if own != nil && !bytes.Equal(given, own) {
		return invalid(cryptoki.CKA_PUBLIC_KEY_INFO, "of another key")
	}
	return nil
}

// consistentCertificate reads no certificate: Java's keytool writes CKA_SERIAL_NUMBER without its DER header, and what
// an application stores it must find again.
func consistentCertificate(as cryptoki.Attributes) error {
	if t, _ := as.Ulong(cryptoki.CKA_CERTIFICATE_TYPE); t != cryptoki.CKC_X_509 {
		return invalid(cryptoki.CKA_CERTIFICATE_TYPE, "only CKC_X_509 is supported")
	}
	if category, _ := as.Ulong(cryptoki.CKA_CERTIFICATE_CATEGORY); category > 3 {
		return invalid(cryptoki.CKA_CERTIFICATE_CATEGORY, "larger than 3")
	}
	if domain, _ := as.Ulong(cryptoki.CKA_JAVA_MIDP_SECURITY_DOMAIN); domain > 3 {
		return invalid(cryptoki.CKA_JAVA_MIDP_SECURITY_DOMAIN, "larger than 3")
	}
	if len(as.Bytes(cryptoki.CKA_VALUE)) > 0 {
		return nil
	}
	if len(as.Bytes(cryptoki.CKA_URL)) == 0 {
		return incomplete(cryptoki.CKA_VALUE)
	}
	if len(as.Bytes(cryptoki.CKA_HASH_OF_SUBJECT_PUBLIC_KEY)) == 0 || len(as.Bytes(cryptoki.CKA_HASH_OF_ISSUER_PUBLIC_KEY)) == 0 {
		return fault.New(fault.TemplateIncomplete, "a certificate with a URL and no value needs the hashes of the subject's and the issuer's public key; add them")
	}
	return nil
}

func consistentRSA(c classes, as cryptoki.Attributes) error {
	if e, ok := as.Get(cryptoki.CKA_PUBLIC_EXPONENT); ok && (e[len(e)-1]&1 == 0 || len(e) == 1 && e[0] < 3) {
		return invalid(cryptoki.CKA_PUBLIC_EXPONENT, "even, or smaller than 3")
	}
	n, ok := as.Get(cryptoki.CKA_MODULUS)
	if !ok {
		if size, ok := as.Ulong(cryptoki.CKA_MODULUS_BITS); ok && (size < minModulusBits || size > maxModulusBits) {
			return invalid(cryptoki.CKA_MODULUS_BITS, "outside 1024 to 16384")
		}
		return nil
	}
	size := 8*(len(n)-1) + bits.Len8(n[0])
	if size < minModulusBits || size > maxModulusBits || n[len(n)-1]&1 == 0 {
		return invalid(cryptoki.CKA_MODULUS, "even, or not of 1024 to 16384 bits")
	}
	if given, ok := as.Ulong(cryptoki.CKA_MODULUS_BITS); ok && given != uint64(size) {
		return fault.New(fault.TemplateInconsistent, "CKA_MODULUS_BITS is not the size of CKA_MODULUS; leave it out")
	}
	for _, t := range []cryptoki.AttributeType{cryptoki.CKA_PUBLIC_EXPONENT, cryptoki.CKA_PRIVATE_EXPONENT, cryptoki.CKA_PRIME_1, cryptoki.CKA_PRIME_2} {
		if v := as.Bytes(t); len(v) > len(n) || len(v) == len(n) && bytes.Compare(v, n) >= 0 {
			return invalid(t, "not smaller than the modulus")
		}
	}
	if c == privateKey && as.Has(cryptoki.CKA_PRIME_1) != as.Has(cryptoki.CKA_PRIME_2) {
		return fault.New(fault.TemplateIncomplete, "the template has one prime of two; add the other, or leave both out")
	}
	return nil
}

func consistentEC(purpose Purpose, c classes, keyType cryptoki.KeyType, as cryptoki.Attributes) error {
	params, ok := as.Get(cryptoki.CKA_EC_PARAMS)
	if !ok {
		return nil
	}
	known, err := curve.Parse(params)
	if err != nil {
		if purpose == Generate && fault.Is(err, fault.CurveNotSupported) {
			// The provider knows which curves it has.
			return nil
		}
		return fault.New(fault.From(err).Kind, "CKA_EC_PARAMS names no curve that is supported; use P-224, P-256, P-384, P-521 or Ed25519: %w", err)
	}
	if known.KeyType != keyType {
		return fault.New(fault.TemplateInconsistent, "the curve %s does not belong to a key of type %v; correct one of them", known.Name, keyType)
	}
	if value, ok := as.Get(cryptoki.CKA_VALUE); ok && c == privateKey {
		if len(value) == 0 || len(bytes.TrimLeft(value, "\x00")) > known.Bytes() || known.Elliptic == nil && len(value) != known.Bytes() {
			return invalid(cryptoki.CKA_VALUE, "not as long as the curve's private keys")
		}
	}
	value, ok := as.Get(cryptoki.CKA_EC_POINT)
	if !ok {
		return nil
	}
	point, ok := known.Point(value)
	if !ok {
		return invalid(cryptoki.CKA_EC_POINT, "not an uncompressed point of the curve")
	}
	if known.Elliptic != nil {
		if _, err := ecdsa.ParseUncompressedPublicKey(known.Elliptic, point); err != nil {
			return fault.New(fault.PublicKeyInvalid, "CKA_EC_POINT is not on %s; check the key", known.Name)
		}
	}
	as.Set(cryptoki.Bytes(cryptoki.CKA_EC_POINT, curve.OctetString(point)))
	return nil
}

func consistentMLDSA(c classes, as cryptoki.Attributes) error {
	if !as.Has(cryptoki.CKA_PARAMETER_SET) {
		return nil
	}
	set, err := parameterset.Of(as)
	if err != nil {
		return err
	}
	length := set.Public
	if c == privateKey {
		length = set.Private
	}
	if value, ok := as.Get(cryptoki.CKA_VALUE); ok && len(value) != length {
		return invalid(cryptoki.CKA_VALUE, "not as long as a key of "+set.Name)
	}
	if seed, ok := as.Get(cryptoki.CKA_SEED); ok && len(seed) != parameterset.Seed {
		return invalid(cryptoki.CKA_SEED, "not 32 bytes")
	}
	return nil
}

func consistentSecret(purpose Purpose, keyType cryptoki.KeyType, as cryptoki.Attributes) error {
	length, given := as.Ulong(cryptoki.CKA_VALUE_LEN)
	t := cryptoki.CKA_VALUE_LEN
	if value, ok := as.Get(cryptoki.CKA_VALUE); ok && purpose == Create {
		if given && length != uint64(len(value)) {
			return fault.New(fault.TemplateInconsistent, "CKA_VALUE_LEN is not the length of CKA_VALUE; leave it out")
		}
		length, given, t = uint64(len(value)), true, cryptoki.CKA_VALUE
	}
	if !given {
		// A derived AES key of no stated size is not one; a generic secret takes all there is.
		if purpose == Derive && keyType == cryptoki.CKK_AES {
			return incomplete(cryptoki.CKA_VALUE_LEN)
		}
		return nil
	}
	if keyType == cryptoki.CKK_AES && length != 16 && length != 24 && length != 32 {
		return invalid(t, "an AES key has 16, 24 or 32 bytes")
	}
	if length == 0 || length > maxSecret {
		return invalid(t, "a secret key has 1 to 4096 bytes")
	}
	if check := as.Bytes(cryptoki.CKA_CHECK_VALUE); len(check) != 0 && len(check) != 3 {
		return invalid(cryptoki.CKA_CHECK_VALUE, "neither empty nor 3 bytes")
	}
	return nil
}
