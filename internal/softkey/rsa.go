package softkey

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"errors"
	"math"
	"math/big"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

const (
	// An RSA key of 1024 bits can be brought along and used; a new one has 2048 at least.
	minRSA, minNewRSA, maxRSA = 1024, 2048, 8192
	defaultExponent           = 65537
)

func (k *Key) readRSA(as cryptoki.Attributes, private bool) error {
	n, e := integer(as, cryptoki.CKA_MODULUS), integer(as, cryptoki.CKA_PUBLIC_EXPONENT)
	switch {
	case n == nil:
		return missing(cryptoki.CKA_MODULUS)
	case e == nil:
		return missing(cryptoki.CKA_PUBLIC_EXPONENT)
	case n.BitLen() < minRSA || n.BitLen() > maxRSA:
		return fault.New(fault.KeySizeRange, "an RSA key of %d bits is not supported; use %d to %d", n.BitLen(), minRSA, maxRSA)
	case n.Bit(0) == 0:
		return wrong(cryptoki.CKA_MODULUS, "is even")
	case e.Cmp(big.NewInt(3)) < 0 || e.Bit(0) == 0 || e.Cmp(big.NewInt(math.MaxInt32)) > 0:
		return wrong(cryptoki.CKA_PUBLIC_EXPONENT, "is not an odd number from 3 to 2^31-1")
	}
	k.rsaPublic = &rsa.PublicKey{N: n, E: int(e.Int64())}
	if !private {
		return nil
	}
	d := integer(as, cryptoki.CKA_PRIVATE_EXPONENT)
	if d == nil {
		return missing(cryptoki.CKA_PRIVATE_EXPONENT)
	}
	p, q := integer(as, cryptoki.CKA_PRIME_1), integer(as, cryptoki.CKA_PRIME_2)
	if p == nil || q == nil {
		var ok bool
		if p, q, ok = primes(n, e, d); !ok {
			return wrong(cryptoki.CKA_PRIVATE_EXPONENT, "does not belong to the modulus")
		}
	}
	key := &rsa.PrivateKey{PublicKey: *k.rsaPublic, D: d, Primes: []*big.Int{p, q}}
	k.rsaPrivate = key
	if new(big.Int).Mul(p, q).Cmp(n) != 0 {
		return wrong(cryptoki.CKA_PRIME_1, "times CKA_PRIME_2 is not the modulus")
	}
	key.Precompute()
	if err := key.Validate(); err != nil {
		// The library's sentence names no number.
		return fault.New(fault.AttributeValueInvalid, "the numbers of the RSA key do not fit each other; check the key: %w", err)
	}
	for t, want := range map[cryptoki.AttributeType]*big.Int{
		cryptoki.CKA_EXPONENT_1: key.Precomputed.Dp, cryptoki.CKA_EXPONENT_2: key.Precomputed.Dq,
		cryptoki.CKA_COEFFICIENT: key.Precomputed.Qinv,
	} {
		if given := integer(as, t); given != nil && (want == nil || given.Cmp(want) != 0) {
			return wrong(t, "does not fit the primes")
		}
	}
	var err error
	k.crt, err = newCRT(key)
	return err
}

// integer reads a big integer; nil if it is not there or empty.
func integer(as cryptoki.Attributes, t cryptoki.AttributeType) *big.Int {
	value := as.Bytes(t)
	if len(value) == 0 {
		return nil
	}
	return new(big.Int).SetBytes(value)
}

// primes finds the primes of a key that came without them. (e·d-1) is a multiple of the order of every number, so among
// the square roots of 1 that it gives is soon one that splits the modulus. It happens at import, not in use.
func primes(n, e, d *big.Int) (p, q *big.Int, ok bool) {
	if d.Sign() <= 0 || d.Cmp(n) >= 0 {
		return nil, nil, false
	}
	one := big.NewInt(1)
	order := new(big.Int).Mul(e, d)
	order.Sub(order, one)
	if order.Sign() <= 0 {
		return nil, nil, false
	}
	halvings := order.TrailingZeroBits()
	odd := new(big.Int).Rsh(order, halvings)
	last := new(big.Int).Sub(n, one)
	for base := int64(2); base < 100; base++ {
		root := new(big.Int).Exp(big.NewInt(base), odd, n)
		for range halvings {
			if root.Cmp(one) == 0 || root.Cmp(last) == 0 {
				break
			}
			square := new(big.Int).Mul(root, root)
			square.Mod(square, n)
			if square.Cmp(one) == 0 {
				p = new(big.Int).GCD(nil, nil, root.Sub(root, one), n)
				q = new(big.Int).Div(n, p)
				if p.Cmp(q) < 0 {
					p, q = q, p
				}
				return p, q, q.Cmp(one) > 0
			}
			root = square
		}
	}
	return nil, nil, false
}

func (k *Key) signRSA(m cryptoki.Mechanism, data []byte) ([]byte, error) {
	size := k.rsaPublic.Size()
	switch m.Type {
	case cryptoki.CKM_RSA_PKCS:
		if len(data) > size-11 {
			return nil, dataLength(m, len(data))
		}
		if k.rsaBy != nil {
			return k.raw(m, pad(data, size))
		}
		// crypto/rsa checks the result with the public exponent before it gives it out.
		signature, err := rsa.SignPKCS1v15(nil, k.rsaPrivate, crypto.Hash(0), data)
		return signature, failed(m, err)
	case cryptoki.CKM_RSA_X_509:
		if len(data) > size {
			return nil, dataLength(m, len(data))
		}
		return k.raw(m, data)
	case cryptoki.CKM_RSA_PKCS_PSS:
		return k.signPSS(m, data)
	default:
		return nil, cryptoki.CKR_MECHANISM_INVALID
	}
}

func (k *Key) verifyRSA(m cryptoki.Mechanism, data, signature []byte) error {
	size := k.rsaPublic.Size()
	if len(signature) != size {
		return signatureLength(len(signature))
	}
	switch m.Type {
	case cryptoki.CKM_RSA_PKCS:
		if len(data) > size-11 {
			return dataLength(m, len(data))
		}
		if rsa.VerifyPKCS1v15(k.rsaPublic, crypto.Hash(0), data, signature) != nil {
			return cryptoki.CKR_SIGNATURE_INVALID
		}
		return nil
	case cryptoki.CKM_RSA_X_509:
		if len(data) > size {
			return dataLength(m, len(data))
		}
		recovered, err := publicRSA(k.rsaPublic, signature)
		if err != nil || !bytes.Equal(recovered, leftPad(data, size)) {
			return cryptoki.CKR_SIGNATURE_INVALID
		}
		return nil
	case cryptoki.CKM_RSA_PKCS_PSS:
		return k.verifyPSS(m, data, signature)
	default:
		return cryptoki.CKR_MECHANISM_INVALID
	}
}

func (k *Key) encryptRSA(m cryptoki.Mechanism, plaintext []byte) ([]byte, error) {
	size := k.rsaPublic.Size()
	switch m.Type {
	case cryptoki.CKM_RSA_PKCS:
		if len(plaintext) > size-11 {
			return nil, dataLength(m, len(plaintext))
		}
		//lint:ignore SA1019 CKM_RSA_PKCS is this padding; the application has chosen it.
		ciphertext, err := rsa.EncryptPKCS1v15(rand.Reader, k.rsaPublic, plaintext)
		return ciphertext, failed(m, err)
	case cryptoki.CKM_RSA_X_509:
		if len(plaintext) > size {
			return nil, dataLength(m, len(plaintext))
		}
		ciphertext, err := publicRSA(k.rsaPublic, plaintext)
		if err != nil {
			return nil, notReduced()
		}
		return ciphertext, nil
	default:
		options := oaep(m)
		if len(plaintext) > size-2*options.Hash.Size()-2 {
			return nil, dataLength(m, len(plaintext))
		}
		ciphertext, err := rsa.EncryptOAEPWithOptions(rand.Reader, k.rsaPublic, plaintext, options)
		return ciphertext, failed(m, err)
	}
}

func (k *Key) decryptRSA(m cryptoki.Mechanism, ciphertext []byte) ([]byte, error) {
	if len(ciphertext) != k.rsaPublic.Size() {
		return nil, ciphertextLength(m, len(ciphertext))
	}
	var plaintext []byte
	var err error
	switch m.Type {
	case cryptoki.CKM_RSA_PKCS:
		//lint:ignore SA1019 CKM_RSA_PKCS is this padding; that an error shows is in the nature of C_Decrypt.
		plaintext, err = rsa.DecryptPKCS1v15(nil, k.rsaPrivate, ciphertext)
	case cryptoki.CKM_RSA_X_509:
		if plaintext, err = k.raw(m, ciphertext); err != nil && !fault.Is(err, fault.DataInvalid) {
			return nil, err
		}
	default:
		if k.rsaBy != nil {
			plaintext, err = k.rsaBy.DecryptOAEP(ciphertext, oaep(m))
		} else {
			plaintext, err = k.rsaPrivate.Decrypt(nil, ciphertext, oaep(m))
		}
	}
	if err != nil {
		// One answer for all that can be wrong with a padding.
		return nil, cryptoki.CKR_ENCRYPTED_DATA_INVALID
	}
	return plaintext, nil
}

// oaep reads the parameter, which CheckParams has approved. pkcs11-tool gives a source of 0 and no label: no label is an
// empty label.
func oaep(m cryptoki.Mechanism) *rsa.OAEPOptions {
	p := m.Params.(cryptoki.OAEPParams)
	hash, _ := mechanism.HashOf(p.Hash)
	mgf, _ := mechanism.MGFHash(p.MGF)
	return &rsa.OAEPOptions{Hash: hash, MGFHash: mgf, Label: p.Label}
}

// pad is EMSA-PKCS1-v1_5 of what is its last field already (RFC 8017, section 9.2); it fits.
func pad(data []byte, size int) []byte {
	padded := bytes.Repeat([]byte{0xff}, size)
	padded[0], padded[1], padded[size-len(data)-1] = 0, 1, 0
	copy(padded[size-len(data):], data)
	return padded
}

func leftPad(b []byte, size int) []byte {
	padded := make([]byte, size)
	subtle.ConstantTimeCopy(1, padded[size-len(b):], b)
	return padded
}

func notReduced() error {
	return fault.New(fault.DataInvalid, "the data as a number is not smaller than the modulus; CKM_RSA_X_509 takes smaller ones only")
}

// failed names what crypto/rsa refuses after all our checks: a key that a policy of Go's forbids, or a fault.
func failed(m cryptoki.Mechanism, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rsa.ErrMessageTooLong):
		return fault.New(fault.KeySizeRange, "the key is too short for %v; use a longer key", m.Type)
	default:
		return fault.New(fault.FunctionFailed, "%v failed with this key; check the key: %w", m.Type, err)
	}
}
