package softkey

import (
	"crypto/ecdsa"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// ECDSA signs with one private key in place of Go's crypto. Its methods are safe for concurrent use.
type ECDSA interface {
	// Sign returns r‖s, each as long as the field.
	Sign(digest []byte) ([]byte, error)
}

// DoECDSA has the signatures of a private key made by what open makes of its numbers, which open must copy. For other
// keys, and where open returns nil, nothing changes.
func (k *Key) DoECDSA(open func(*ecdsa.PrivateKey) (ECDSA, error)) error {
	if k.ecPrivate == nil {
		return nil
	}
	by, err := open(k.ecPrivate)
	if err != nil {
		return failed(cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, err)
	}
	k.ecBy = by
	return nil
}

// signECDSABy signs; OpenSSL takes no empty digest.
func (k *Key) signECDSABy(digest []byte) ([]byte, error) {
	signature, err := k.ecBy.Sign(digest)
	if err != nil {
		return nil, fault.New(fault.FunctionFailed, "the ECDSA signature failed; check the key: %w", err)
	}
	return signature, nil
}
