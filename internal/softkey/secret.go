package softkey

import (
	"bytes"
	"crypto/aes"
	"crypto/hmac"
	"crypto/subtle"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// maxSecret bounds a generic secret in bytes.
const maxSecret = 4096

func (k *Key) readSecret(as cryptoki.Attributes) error {
	value, ok := as.Get(cryptoki.CKA_VALUE)
	if !ok {
		return missing(cryptoki.CKA_VALUE)
	}
	if len(value) == 0 || len(value) > maxSecret {
		return wrong(cryptoki.CKA_VALUE, "does not have 1 to 4096 bytes")
	}
	k.secret = bytes.Clone(value)
	if k.keyType != cryptoki.CKK_AES {
		return nil
	}
	var err error
	if k.block, err = aes.NewCipher(k.secret); err != nil {
		return wrong(cryptoki.CKA_VALUE, "does not have 16, 24 or 32 bytes")
	}
	return nil
}

// mac computes an HMAC, cut to the parameter's length if there is one.
func (k *Key) mac(m cryptoki.Mechanism, info mechanism.Info, data []byte) []byte {
	h := hmac.New(info.Hash.New, k.secret)
	h.Write(data)
	sum := h.Sum(nil)
	if p, ok := m.Params.(cryptoki.MACGeneralParams); ok {
		return sum[:p.Length]
	}
	return sum
}

func (k *Key) verifyMAC(m cryptoki.Mechanism, info mechanism.Info, data, signature []byte) error {
	expected := k.mac(m, info, data)
	if len(signature) != len(expected) {
		return signatureLength(len(signature))
	}
	if subtle.ConstantTimeCompare(expected, signature) != 1 {
		return cryptoki.CKR_SIGNATURE_INVALID
	}
	return nil
}
