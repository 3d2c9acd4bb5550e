//go:build cgo && !no_openssl

package software

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"hash"
	"math/big"
	"sync"

	"github.com/golang-fips/openssl/v2"
	"github.com/golang-fips/openssl/v2/bbig"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/signature"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// libcrypto is loaded when the first RSA or P-256 key is used. Building needs no OpenSSL, and without the library on the
// machine, or with the build tag no_openssl, Go does the work, in nearly three times the time for RSA. Of the other curves
// Go is the faster.
const libcrypto = "libcrypto.so.3"

var loadOpenSSL = sync.OnceValue(func() bool { return openssl.Init(libcrypto) == nil })

// Arithmetic tells what computes with RSA and P-256 keys.
func Arithmetic() string {
	if loadOpenSSL() {
		return openssl.VersionText()
	}
	return "Go (no " + libcrypto + " found)"
}

// opensslRSA is a private RSA key in OpenSSL's memory, which frees and wipes it when Go's garbage collector finds that
// nobody uses it any more.
type opensslRSA struct{ key *openssl.PrivateKeyRSA }

func doRSA(k *rsa.PrivateKey) (softkey.RSA, error) {
	if !loadOpenSSL() {
		return nil, nil
	}
	n := bbig.Enc
	key, err := openssl.NewPrivateKeyRSA(n(k.N), n(big.NewInt(int64(k.E))), n(k.D), n(k.Primes[0]), n(k.Primes[1]),
		n(k.Precomputed.Dp), n(k.Precomputed.Dq), n(k.Precomputed.Qinv))
	if err != nil {
		return nil, err
	}
	return opensslRSA{key}, nil
}

// Raw computes input^d mod n; the library checks the result with the public exponent.
func (k opensslRSA) Raw(input []byte) ([]byte, error) {
	return openssl.DecryptRSANoPadding(k.key, input)
}

// opensslP256 is a private key in OpenSSL's memory, like opensslRSA.
type opensslP256 struct{ key *openssl.PrivateKeyECDSA }

func doECDSA(k *ecdsa.PrivateKey) (softkey.ECDSA, error) {
	if k.Curve != elliptic.P256() || !loadOpenSSL() {
		return nil, nil
	}
	n := bbig.Enc
	//lint:ignore SA1019 there is no other way to the numbers that the library wants.
	key, err := openssl.NewPrivateKeyECDSA("P-256", n(k.X), n(k.Y), n(k.D))
	if err != nil {
		return nil, err
	}
	return opensslP256{key}, nil
}

// Sign returns r‖s, each 32 bytes long.
func (k opensslP256) Sign(digest []byte) ([]byte, error) {
	encoded, err := openssl.SignMarshalECDSA(k.key, digest)
	if err != nil {
		return nil, err
	}
	return signature.FromDER(encoded, 32)
}

var opensslHashes = map[crypto.Hash]func() hash.Hash{
	crypto.SHA1: openssl.NewSHA1, crypto.SHA224: openssl.NewSHA224, crypto.SHA256: openssl.NewSHA256,
	crypto.SHA384: openssl.NewSHA384, crypto.SHA512: openssl.NewSHA512,
	crypto.SHA3_224: openssl.NewSHA3_224, crypto.SHA3_256: openssl.NewSHA3_256,
	crypto.SHA3_384: openssl.NewSHA3_384, crypto.SHA3_512: openssl.NewSHA3_512,
}

// DecryptOAEP removes the padding.
func (k opensslRSA) DecryptOAEP(ciphertext []byte, options *rsa.OAEPOptions) ([]byte, error) {
	mask := options.MGFHash
	if mask == 0 {
		mask = options.Hash
	}
	newHash, newMask := opensslHashes[options.Hash], opensslHashes[mask]
	if newHash == nil || newMask == nil {
		return nil, fault.New(fault.MechanismParamInvalid, "OAEP with %v and a mask of %v is not supported; use SHA-1, SHA-2 or SHA-3", options.Hash, mask)
	}
	return openssl.DecryptRSAOAEP(newHash(), newMask(), k.key, ciphertext, options.Label)
}
