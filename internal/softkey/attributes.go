package softkey

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"math/big"

	"filippo.io/mldsa"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// PrivateAttributes makes attributes of what ParsePKCS8 returns: *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey,
// *mldsa.PrivateKey. Open holds CKA_KEY_TYPE and the public attributes, secret the private ones.
func PrivateAttributes(key any) (open, secret cryptoki.Attributes, err error) {
	switch private := key.(type) {
	case *rsa.PrivateKey:
		if len(private.Primes) != 2 {
			return nil, nil, fault.New(fault.AttributeValueInvalid, "an RSA key of %d primes is not supported; use one of two", len(private.Primes))
		}
		if open, err = PublicAttributes(&private.PublicKey); err != nil {
			return nil, nil, err
		}
		return open, rsaSecrets(private), nil
	case *ecdsa.PrivateKey:
		if open, err = PublicAttributes(&private.PublicKey); err != nil {
			return nil, nil, err
		}
		value, err := private.Bytes()
		if err != nil {
			return nil, nil, fault.New(fault.AttributeValueInvalid, "the private key has no encoding; check it: %w", err)
		}
		return open, cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_VALUE, value)}, nil
	case ed25519.PrivateKey:
		if open, err = PublicAttributes(private.Public()); err != nil {
			return nil, nil, err
		}
		return open, cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_VALUE, private.Seed())}, nil
	case *mldsa.PrivateKey:
		if open, err = PublicAttributes(private.PublicKey()); err != nil {
			return nil, nil, err
		}
		return open, cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_SEED, private.Bytes())}, nil
	default:
		return nil, nil, fault.New(fault.KeyTypeInconsistent, "private keys of type %T are not supported; use RSA, a NIST curve, Ed25519 or ML-DSA", key)
	}
}

func rsaSecrets(private *rsa.PrivateKey) cryptoki.Attributes {
	p, q := private.Primes[0], private.Primes[1]
	one := big.NewInt(1)
	exponent := func(prime *big.Int) []byte {
		return new(big.Int).Mod(private.D, new(big.Int).Sub(prime, one)).Bytes()
	}
	return cryptoki.Attributes{
		cryptoki.Bytes(cryptoki.CKA_PRIVATE_EXPONENT, private.D.Bytes()),
		cryptoki.Bytes(cryptoki.CKA_PRIME_1, p.Bytes()),
		cryptoki.Bytes(cryptoki.CKA_PRIME_2, q.Bytes()),
		cryptoki.Bytes(cryptoki.CKA_EXPONENT_1, exponent(p)),
		cryptoki.Bytes(cryptoki.CKA_EXPONENT_2, exponent(q)),
		cryptoki.Bytes(cryptoki.CKA_COEFFICIENT, new(big.Int).ModInverse(q, p).Bytes()),
	}
}

// PublicAttributes makes attributes of what ParsePKIX returns: CKA_KEY_TYPE and the public ones.
func PublicAttributes(key any) (cryptoki.Attributes, error) {
	switch public := key.(type) {
	case *rsa.PublicKey:
		return cryptoki.Attributes{
			cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_RSA),
			cryptoki.Bytes(cryptoki.CKA_MODULUS, public.N.Bytes()),
			cryptoki.Bytes(cryptoki.CKA_PUBLIC_EXPONENT, big.NewInt(int64(public.E)).Bytes()),
		}, nil
	case *ecdsa.PublicKey:
		c, ok := curveOf(public.Curve)
		point, err := public.Bytes()
		if !ok || err != nil {
			return nil, fault.New(fault.CurveNotSupported, "the key's curve is not supported; use P-224, P-256, P-384 or P-521")
		}
		return pointAttributes(c, point), nil
	case ed25519.PublicKey:
		c, _ := curve.ByName("Ed25519")
		return pointAttributes(c, public), nil
	case *mldsa.PublicKey:
		return publicMLDSA(public), nil
	default:
		return nil, fault.New(fault.KeyTypeInconsistent, "public keys of type %T are not supported; use RSA, a NIST curve, Ed25519 or ML-DSA", key)
	}
}

func curveOf(c elliptic.Curve) (*curve.Curve, bool) {
	if c == nil {
		return nil, false
	}
	return curve.ByName(c.Params().Name)
}

func pointAttributes(c *curve.Curve, point []byte) cryptoki.Attributes {
	return cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, c.KeyType),
		cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, c.Params),
		cryptoki.Bytes(cryptoki.CKA_EC_POINT, curve.OctetString(point)),
	}
}
