package softkey

import (
	"crypto/rsa"
	"math/big"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// RSA does the operations of one private RSA key in place of Go's crypto, which needs nearly three times the time that
// OpenSSL does. It must check its results against faults before it gives them out. Sizes and parameters are checked
// before it is asked; its methods are safe for concurrent use.
type RSA interface {
	// DecryptOAEP removes the padding; any error means that there is none.
	DecryptOAEP(ciphertext []byte, options *rsa.OAEPOptions) ([]byte, error)
	// Raw computes input^d mod n of an input as long as the modulus and smaller than it.
	Raw(input []byte) ([]byte, error)
}

// DoRSA has the operations of a private RSA key done by what open makes of its numbers, which open must copy. For other
// keys, and where open returns nil, nothing changes.
func (k *Key) DoRSA(open func(*rsa.PrivateKey) (RSA, error)) error {
	if k.rsaPrivate == nil {
		return nil
	}
	by, err := open(k.rsaPrivate)
	if err != nil {
		return failed(cryptoki.Mechanism{Type: cryptoki.CKM_RSA_X_509}, err)
	}
	k.rsaBy = by
	return nil
}

// raw is the private operation without padding.
func (k *Key) raw(m cryptoki.Mechanism, input []byte) ([]byte, error) {
	if k.rsaBy == nil {
		return k.crt.private(input)
	}
	if new(big.Int).SetBytes(input).Cmp(k.rsaPublic.N) >= 0 {
		return nil, notReduced()
	}
	result, err := k.rsaBy.Raw(leftPad(input, k.rsaPublic.Size()))
	return result, failed(m, err)
}
