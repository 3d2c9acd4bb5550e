package object

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	rsapkg "crypto/rsa"
	"crypto/x509"
	"math"
	"math/big"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

// publicKeyInfo returns the DER SubjectPublicKeyInfo of a public or private key's open attributes; nil if they do not
// suffice, or for a key that crypto/x509 cannot write.
func publicKeyInfo(key cryptoki.Attributes) []byte {
	if set, value, ok := publicMLDSA(key); ok {
		return set.PublicKeyInfo(value)
	}
	var public any
	if n, ok := key.Get(cryptoki.CKA_MODULUS); ok {
		e := new(big.Int).SetBytes(key.Bytes(cryptoki.CKA_PUBLIC_EXPONENT))
		if e.Sign() == 0 || !e.IsInt64() || e.Int64() > math.MaxInt32 {
			return nil
		}
		public = &rsapkg.PublicKey{N: new(big.Int).SetBytes(n), E: int(e.Int64())}
	} else {
		c, err := curve.Of(key)
		if err != nil {
			return nil
		}
		point, ok := c.Point(key.Bytes(cryptoki.CKA_EC_POINT))
		if !ok {
			return nil
		}
		if c.Elliptic == nil {
			public = ed25519.PublicKey(point)
		} else if public, err = ecdsa.ParseUncompressedPublicKey(c.Elliptic, point); err != nil {
			return nil
		}
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil
	}
	return der
}

// publicMLDSA returns the public half of an ML-DSA key. The private key's CKA_VALUE is a secret: of that half only
// CKA_PUBLIC_KEY_INFO tells.
func publicMLDSA(key cryptoki.Attributes) (*parameterset.Set, []byte, bool) {
	c, f := shape(key)
	set, err := parameterset.Of(key)
	if f != mldsa || err != nil {
		return nil, nil, false
	}
	if c == publicKey {
		value := key.Bytes(cryptoki.CKA_VALUE)
		return set, value, len(value) == set.Public
	}
	named, value, ok := parameterset.ParsePublicKeyInfo(key.Bytes(cryptoki.CKA_PUBLIC_KEY_INFO))
	return set, value, ok && named == set
}

// PublicFromPrivate makes the attributes of a public key object from those of a private key: label, id, subject and
// dates are the same, and the uses are the counterparts. False if the private key does not hold its public half.
// pkcs11-provider and others need a public key beside each private one.
func PublicFromPrivate(private cryptoki.Attributes) (cryptoki.Attributes, bool) {
	c, f := shape(private)
	if c != privateKey || f&(rsa|ec|mldsa) == 0 {
		return nil, false
	}
	if _, value, ok := publicMLDSA(private); ok {
		private = private.Clone()
		private.Set(cryptoki.Bytes(cryptoki.CKA_VALUE, value))
	}
	needed := []cryptoki.AttributeType{cryptoki.CKA_MODULUS, cryptoki.CKA_PUBLIC_EXPONENT}
	switch f {
	case ec:
		needed = []cryptoki.AttributeType{cryptoki.CKA_EC_PARAMS, cryptoki.CKA_EC_POINT}
	case mldsa:
		needed = []cryptoki.AttributeType{cryptoki.CKA_PARAMETER_SET, cryptoki.CKA_VALUE}
	}
	given := cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PUBLIC_KEY)}
	for _, t := range needed {
		if len(private.Bytes(t)) == 0 {
			return nil, false
		}
	}
	for _, t := range append(needed, cryptoki.CKA_KEY_TYPE, cryptoki.CKA_TOKEN, cryptoki.CKA_LABEL, cryptoki.CKA_ID,
		cryptoki.CKA_SUBJECT, cryptoki.CKA_START_DATE, cryptoki.CKA_END_DATE, cryptoki.CKA_MODIFIABLE, cryptoki.CKA_COPYABLE,
		cryptoki.CKA_DESTROYABLE, cryptoki.CKA_LOCAL, cryptoki.CKA_KEY_GEN_MECHANISM, cryptoki.CKA_PUBLIC_KEY_INFO) {
		if value, ok := private.Get(t); ok && (len(value) > 0 || t != cryptoki.CKA_PUBLIC_KEY_INFO) {
			given = append(given, cryptoki.Attribute{Type: t, Value: bytes.Clone(value)})
		}
	}
	for _, pair := range [][2]cryptoki.AttributeType{
		{cryptoki.CKA_SIGN, cryptoki.CKA_VERIFY},
		{cryptoki.CKA_DECRYPT, cryptoki.CKA_ENCRYPT},
		{cryptoki.CKA_UNWRAP, cryptoki.CKA_WRAP},
		{cryptoki.CKA_DERIVE, cryptoki.CKA_DERIVE},
	} {
		given = append(given, cryptoki.Bool(pair[1], private.Bool(pair[0])))
	}
	return defaults(Create, 0, publicKey, f, given), true
}

// Profile returns a profile object, which says what an application may rely on (CKP_BASELINE_PROVIDER…).
func Profile(id uint64) cryptoki.Attributes {
	return cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PROFILE),
		cryptoki.Bool(cryptoki.CKA_TOKEN, true),
		cryptoki.Bool(cryptoki.CKA_PRIVATE, false),
		cryptoki.Bool(cryptoki.CKA_MODIFIABLE, false),
		cryptoki.Bool(cryptoki.CKA_COPYABLE, false),
		cryptoki.Bool(cryptoki.CKA_DESTROYABLE, false),
		cryptoki.Ulong(cryptoki.CKA_PROFILE_ID, id),
	}
}
