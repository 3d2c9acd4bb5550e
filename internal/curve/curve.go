// Package curve knows the elliptic curves: CKA_EC_PARAMS in the forms that applications send, CKA_EC_POINT, sizes.
package curve

import (
	"bytes"
	"crypto/elliptic"
	"encoding/asn1"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Curve is an elliptic curve.
type Curve struct {
	// Name is NIST's name, or Ed25519.
	Name string
	// Bits is the size of the field, as CK_MECHANISM_INFO counts.
	Bits int
	// KeyType is CKK_EC or CKK_EC_EDWARDS.
	KeyType cryptoki.KeyType
	// Params is CKA_EC_PARAMS as we write it: the DER object identifier.
	Params []byte
	// Elliptic is nil for Ed25519.
	Elliptic elliptic.Curve
	// names are those of the curveName form, a PrintableString.
	names []string
}

var all = []*Curve{
	nist("P-224", elliptic.P224(), asn1.ObjectIdentifier{1, 3, 132, 0, 33}, "secp224r1"),
	nist("P-256", elliptic.P256(), asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}, "secp256r1", "prime256v1"),
	nist("P-384", elliptic.P384(), asn1.ObjectIdentifier{1, 3, 132, 0, 34}, "secp384r1"),
	nist("P-521", elliptic.P521(), asn1.ObjectIdentifier{1, 3, 132, 0, 35}, "secp521r1"),
	{
		Name: "Ed25519", Bits: 255, KeyType: cryptoki.CKK_EC_EDWARDS,
		Params: objectIdentifier(asn1.ObjectIdentifier{1, 3, 101, 112}),
		// "edwards25519" is what pkcs11-tool and the standard's sample send.
		names: []string{"edwards25519", "Ed25519"},
	},
}

func nist(name string, c elliptic.Curve, oid asn1.ObjectIdentifier, names ...string) *Curve {
	return &Curve{
		Name: name, Bits: c.Params().BitSize, KeyType: cryptoki.CKK_EC, Params: objectIdentifier(oid), Elliptic: c,
		names: append(names, name),
	}
}

func objectIdentifier(oid asn1.ObjectIdentifier) []byte {
	// Constants encode.
	der, _ := asn1.Marshal(oid)
	return der
}

// All returns the curves, the smallest first.
func All() []*Curve { return all }

// Bytes returns the length of a private scalar, of r and of s.
func (c *Curve) Bytes() int { return (c.Bits + 7) / 8 }

// PointLength returns the length of a public point without a DER wrapper: uncompressed, or as RFC 8032 encodes it.
func (c *Curve) PointLength() int {
	if c.Elliptic == nil {
		return c.Bytes()
	}
	return 1 + 2*c.Bytes()
}

// ByName finds a curve by one of its names.
func ByName(name string) (*Curve, bool) {
	for _, c := range all {
		for _, n := range append([]string{c.Name}, c.names...) {
			if n == name {
				return c, true
			}
		}
	}
	return nil, false
}

// Parse reads CKA_EC_PARAMS, as an object identifier or as a PrintableString: CKR_DOMAIN_PARAMS_INVALID if it is
// neither (explicit parameters are not supported), CKR_CURVE_NOT_SUPPORTED for another curve.
func Parse(params []byte) (*Curve, error) {
	for _, c := range all {
		if bytes.Equal(c.Params, params) {
			return c, nil
		}
	}
	var raw asn1.RawValue
	rest, err := asn1.Unmarshal(params, &raw)
	if err != nil || len(rest) != 0 || raw.Class != asn1.ClassUniversal || raw.IsCompound {
		return nil, cryptoki.CKR_DOMAIN_PARAMS_INVALID
	}
	switch raw.Tag {
	case asn1.TagOID:
		return nil, cryptoki.CKR_CURVE_NOT_SUPPORTED
	case asn1.TagPrintableString, asn1.TagUTF8String:
		if c, ok := ByName(string(raw.Bytes)); ok {
			return c, nil
		}
		return nil, cryptoki.CKR_CURVE_NOT_SUPPORTED
	default:
		return nil, cryptoki.CKR_DOMAIN_PARAMS_INVALID
	}
}

// Of returns the curve of a key's CKA_EC_PARAMS.
func Of(key cryptoki.Attributes) (*Curve, error) { return Parse(key.Bytes(cryptoki.CKA_EC_PARAMS)) }

// Point takes the DER OCTET STRING off a CKA_EC_POINT. Applications also send the point itself, and for Edwards keys
// some a BIT STRING: all are taken. The result has the curve's PointLength; a compressed point is not taken.
func (c *Curve) Point(value []byte) ([]byte, bool) {
	if len(value) == c.PointLength() && (c.Elliptic == nil || value[0] == 4) {
		return value, true
	}
	var raw asn1.RawValue
	rest, err := asn1.Unmarshal(value, &raw)
	if err != nil || len(rest) != 0 || raw.Class != asn1.ClassUniversal || raw.IsCompound {
		return nil, false
	}
	point := raw.Bytes
	switch raw.Tag {
	case asn1.TagOctetString:
	case asn1.TagBitString:
		if len(point) == 0 || point[0] != 0 {
			return nil, false
		}
		point = point[1:]
	default:
		return nil, false
	}
	if len(point) != c.PointLength() || c.Elliptic != nil && point[0] != 4 {
		return nil, false
	}
	return point, true
}

// OctetString wraps a point as CKA_EC_POINT has it.
func OctetString(point []byte) []byte {
	// A byte string encodes.
	der, _ := asn1.Marshal(point)
	return der
}
