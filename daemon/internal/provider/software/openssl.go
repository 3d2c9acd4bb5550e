//go:build cgo && !no_openssl

package software

import (
	"crypto"
	"crypto/rsa"
	"hash"
	"math/big"
	"sync"

	"github.com/golang-fips/openssl/v2"
	"github.com/golang-fips/openssl/v2/bbig"

	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// libcrypto is loaded when the first RSA key is used. Building needs no OpenSSL, and without the library on the machine,
// or with the build tag no_openssl, Go's own RSA does the work, in nearly three times the time.
const libcrypto = "libcrypto.so.3"

var loadOpenSSL = sync.OnceValue(func() bool { return openssl.Init(libcrypto) == nil })

// Arithmetic tells what computes with RSA keys.
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
