package softkey

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"
	"math/big"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

func (k *Key) readEC(as cryptoki.Attributes, private bool) error {
	c, err := curve.Of(as)
	if err != nil {
		return fault.New(fault.From(err).Kind, "CKA_EC_PARAMS names no curve that is supported; use P-224, P-256, P-384, P-521 or Ed25519: %w", err)
	}
	if c.KeyType != k.keyType {
		return wrong(cryptoki.CKA_EC_PARAMS, "names a curve of another key type")
	}
	k.curve = c
	var point []byte
	if value, ok := as.Get(cryptoki.CKA_EC_POINT); ok {
		if point, ok = c.Point(value); !ok {
			return wrong(cryptoki.CKA_EC_POINT, "is not an uncompressed point of the curve")
		}
	} else if !private {
		return missing(cryptoki.CKA_EC_POINT)
	}
	if private {
		return k.readPrivateEC(as, point)
	}
	if c.Elliptic == nil {
		k.edPublic = bytes.Clone(point)
		return nil
	}
	if k.ecPublic, err = ecdsa.ParseUncompressedPublicKey(c.Elliptic, point); err != nil {
		return fault.New(fault.PublicKeyInvalid, "CKA_EC_POINT is not on %s; check the key", c.Name)
	}
	return nil
}

func (k *Key) readPrivateEC(as cryptoki.Attributes, point []byte) error {
	value, ok := as.Get(cryptoki.CKA_VALUE)
	if !ok {
		return missing(cryptoki.CKA_VALUE)
	}
	size := k.curve.Bytes()
	var own []byte
	if k.curve.Elliptic == nil {
		if len(value) != size {
			return wrong(cryptoki.CKA_VALUE, "is not a private key of the curve")
		}
		k.edPrivate = ed25519.NewKeyFromSeed(value)
		k.edPublic = k.edPrivate.Public().(ed25519.PublicKey)
		own = k.edPublic
	} else {
		scalar := bytes.TrimLeft(value, "\x00")
		if len(scalar) > size {
			return wrong(cryptoki.CKA_VALUE, "is not a private key of the curve")
		}
		scalar = leftPad(scalar, size)
		defer clear(scalar)
		var err error
		if k.ecPrivate, err = ecdsa.ParseRawPrivateKey(k.curve.Elliptic, scalar); err != nil {
			return wrong(cryptoki.CKA_VALUE, "is not a private key of the curve")
		}
		k.ecPublic = &k.ecPrivate.PublicKey
		if own, err = k.ecPublic.Bytes(); err != nil {
			return wrong(cryptoki.CKA_VALUE, "is not a private key of the curve")
		}
	}
	if point != nil && !bytes.Equal(point, own) {
		return wrong(cryptoki.CKA_EC_POINT, "does not belong to CKA_VALUE")
	}
	return nil
}

// signECDSA returns r‖s, each as long as the field.
func (k *Key) signECDSA(digest []byte) ([]byte, error) {
	if k.ecBy != nil && len(digest) > 0 {
		return k.signECDSABy(digest)
	}
	r, s, err := ecdsa.Sign(rand.Reader, k.ecPrivate, digest)
	if err != nil {
		return nil, fault.New(fault.FunctionFailed, "the ECDSA signature failed; check the key: %w", err)
	}
	size := k.curve.Bytes()
	signature := make([]byte, 2*size)
	r.FillBytes(signature[:size])
	s.FillBytes(signature[size:])
	return signature, nil
}

func (k *Key) verifyECDSA(digest, signature []byte) error {
	half := len(signature) / 2
	if half == 0 || len(signature)%2 != 0 || half > k.curve.Bytes() {
		return signatureLength(len(signature))
	}
	r, s := new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
	if !ecdsa.Verify(k.ecPublic, digest, r, s) {
		return cryptoki.CKR_SIGNATURE_INVALID
	}
	return nil
}

// edwards reads the parameter. Without one it is plain Ed25519; with one and neither prehash nor context it is too, since
// RFC 8032 wants no empty context and pkcs11-tool sends such a parameter.
func edwards(m cryptoki.Mechanism, data []byte) ([]byte, *ed25519.Options) {
	p, _ := m.Params.(cryptoki.EDDSAParams)
	options := &ed25519.Options{Context: string(p.Context)}
	if p.Prehash {
		options.Hash = crypto.SHA512
		digest := sha512.Sum512(data)
		data = digest[:]
	}
	return data, options
}

func (k *Key) signEdDSA(m cryptoki.Mechanism, data []byte) ([]byte, error) {
	data, options := edwards(m, data)
	signature, err := k.edPrivate.Sign(nil, data, options)
	if err != nil {
		return nil, fault.New(fault.FunctionFailed, "the EdDSA signature failed; check the parameter: %w", err)
	}
	return signature, nil
}

func (k *Key) verifyEdDSA(m cryptoki.Mechanism, data, signature []byte) error {
	if len(signature) != ed25519.SignatureSize {
		return signatureLength(len(signature))
	}
	data, options := edwards(m, data)
	if ed25519.VerifyWithOptions(k.edPublic, data, signature, options) != nil {
		return cryptoki.CKR_SIGNATURE_INVALID
	}
	return nil
}

func (k *Key) deriveECDH(p cryptoki.ECDH1Params, length int) ([]byte, error) {
	point, ok := k.curve.Point(p.PublicData)
	if !ok {
		return nil, otherSide(k.curve)
	}
	peer, err := ecdsa.ParseUncompressedPublicKey(k.curve.Elliptic, point)
	if err != nil {
		return nil, otherSide(k.curve)
	}
	shared, err := k.agree(peer, point)
	if err != nil {
		return nil, err
	}
	if p.KDF != cryptoki.CKD_NULL {
		defer clear(shared)
		return stretch(p, shared, length)
	}
	if length > len(shared) || length < 0 {
		clear(shared)
		return nil, fault.New(fault.KeySizeRange, "a shared secret on %s has %d bytes; ask for at most that many", k.curve.Name, len(shared))
	}
	if length == 0 {
		length = len(shared)
	}
	derived := bytes.Clone(shared[len(shared)-length:])
	clear(shared)
	return derived, nil
}

// agree computes the x coordinate of the shared point.
func (k *Key) agree(peer *ecdsa.PublicKey, point []byte) ([]byte, error) {
	if k.curve.Elliptic == elliptic.P224() {
		// crypto/ecdh leaves P-224 out; below elliptic is the same constant-time code. The point is on the curve.
		scalar, err := k.ecPrivate.Bytes()
		if err != nil {
			return nil, fault.New(fault.Internal, "the private key has no encoding: %w", err)
		}
		defer clear(scalar)
		size := k.curve.Bytes()
		x, y := new(big.Int).SetBytes(point[1:1+size]), new(big.Int).SetBytes(point[1+size:])
		//lint:ignore SA1019 see above
		x, _ = elliptic.P224().ScalarMult(x, y, scalar)
		return x.FillBytes(make([]byte, size)), nil
	}
	private, err := k.ecPrivate.ECDH()
	if err != nil {
		return nil, fault.New(fault.Internal, "the private key cannot derive: %w", err)
	}
	public, err := peer.ECDH()
	if err != nil {
		return nil, otherSide(k.curve)
	}
	shared, err := private.ECDH(public)
	if err != nil {
		return nil, otherSide(k.curve)
	}
	return shared, nil
}

// stretch is the key derivation of ANSI X9.63, or the one-step one of SP 800-56A: they differ in where the counter
// stands. Without a length one hash is given.
func stretch(p cryptoki.ECDH1Params, shared []byte, length int) ([]byte, error) {
	hash, sp800, _ := mechanism.KDFHash(p.KDF)
	if length == 0 {
		length = hash.Size()
	}
	if length < 0 || length > 1<<16 {
		return nil, fault.New(fault.KeySizeRange, "%d bytes cannot be derived; ask for less", length)
	}
	var derived []byte
	for counter := uint32(1); len(derived) < length; counter++ {
		h := hash.New()
		word := binary.BigEndian.AppendUint32(nil, counter)
		if sp800 {
			h.Write(word)
			h.Write(shared)
		} else {
			h.Write(shared)
			h.Write(word)
		}
		h.Write(p.SharedData)
		derived = h.Sum(derived)
	}
	clear(derived[length:])
	return derived[:length], nil
}

func otherSide(c *curve.Curve) error {
	return fault.New(fault.MechanismParamInvalid, "the public data is not an uncompressed point on %s; check the other side's key", c.Name)
}
