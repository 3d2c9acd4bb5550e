package hsm

import (
	"bytes"
	"context"
	"errors"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// block is the block length of AES in bytes.
const block = 16

// Encrypt encrypts in the token.
func (k *key) Encrypt(ctx context.Context, m cryptoki.Mechanism, plaintext []byte) ([]byte, error) {
	const operation = "encrypt"
	if err := k.ready(ctx, operation, m, cryptoki.CKF_ENCRYPT); err != nil {
		return nil, err
	}
	return withKey(ctx, k, operation, func(s *session, o *object) ([]byte, error) {
		switch m.Type {
		case cryptoki.CKM_AES_ECB, cryptoki.CKM_AES_CBC:
			if len(plaintext)%block != 0 {
				return nil, fault.New(fault.DataLenRange, "%s encrypts whole blocks of 16 bytes, not %d bytes", m.Type, len(plaintext))
			}
		}
		// The longest result is a tag or a block of padding longer than the message.
		encrypt := func(handle pkcs11.SessionHandle, data []byte) ([]byte, error) {
			return s.Encrypt(handle, data, len(data)+2*block)
		}
		return s.operate(s.EncryptInit, encrypt, m, o, plaintext)
	})
}

// Decrypt decrypts in the token.
func (k *key) Decrypt(ctx context.Context, m cryptoki.Mechanism, ciphertext []byte) ([]byte, error) {
	const operation = "decrypt"
	if err := k.ready(ctx, operation, m, cryptoki.CKF_DECRYPT); err != nil {
		return nil, err
	}
	return withKey(ctx, k, operation, func(s *session, o *object) ([]byte, error) {
		if err := decryptable(o, m, ciphertext); err != nil {
			return nil, err
		}
		params, oaep := m.Params.(cryptoki.OAEPParams)
		var plaintext []byte
		var err error
		// SoftHSM takes a label and does not look at it; opencryptoki takes a mask's hash that it does not have for another.
		ours := oaep && (len(params.Label) > 0 || !oneHash(params)) && k.provider.traits.rawDecrypt
		if m.Type == cryptoki.CKM_AES_CBC_PAD && k.provider.capabilities.Can(cryptoki.CKM_AES_CBC, cryptoki.CKF_DECRYPT) {
			return s.decryptPadded(m, o, ciphertext)
		}
		if !ours {
			plaintext, err = s.operate(s.DecryptInit, s.Decrypt, m, o, ciphertext)
		}
		if ours || oaep && unsupported(err) && k.provider.traits.rawDecrypt {
			raw, err := s.operate(s.DecryptInit, s.Decrypt, cryptoki.Mechanism{Type: cryptoki.CKM_RSA_X_509}, o, ciphertext)
			if err != nil {
				return nil, undecryptable(m, err)
			}
			// Some libraries leave the leading zeros out.
			return decodeOAEP(append(make([]byte, max(o.size-len(raw), 0)), raw...), params)
		}
		if err != nil {
			return nil, undecryptable(m, err)
		}
		return plaintext, nil
	})
}

// decryptPadded takes the padding off here: opencryptoki does not look whether it is one.
func (s *session) decryptPadded(m cryptoki.Mechanism, o *object, ciphertext []byte) ([]byte, error) {
	padded, err := s.operate(s.DecryptInit, s.Decrypt, cryptoki.Mechanism{Type: cryptoki.CKM_AES_CBC, Params: m.Params}, o, ciphertext)
	if err != nil {
		return nil, undecryptable(m, err)
	}
	return unpad(padded)
}

// unpad takes the padding of CBC off; it wipes what has none.
func unpad(padded []byte) ([]byte, error) {
	if len(padded) > 0 {
		n := int(padded[len(padded)-1])
		if n >= 1 && n <= min(block, len(padded)) && bytes.Count(padded[len(padded)-n:], []byte{byte(n)}) == n {
			return padded[:len(padded)-n], nil
		}
	}
	clear(padded)
	return nil, errUndecryptable
}

// oneHash tells whether data and mask have the same hash.
func oneHash(params cryptoki.OAEPParams) bool {
	data, _ := mechanism.HashOf(params.Hash)
	generator, _ := mechanism.MGFHash(params.MGF)
	return data == generator
}

// undecryptable gives the refusal of a ciphertext its proper kind. The length was checked, so what the library cannot
// name is that the data is wrong.
func undecryptable(m cryptoki.Mechanism, err error) error {
	var begin *initError
	if errors.As(err, &begin) {
		return err
	}
	if is(err, cryptoki.CKR_AEAD_DECRYPT_FAILED) {
		// Applications of C_Decrypt know the older value; Java takes it for a bad tag.
		return errUndecryptable
	}
	switch m.Type {
	case cryptoki.CKM_RSA_PKCS, cryptoki.CKM_RSA_PKCS_OAEP, cryptoki.CKM_RSA_X_509, cryptoki.CKM_AES_CBC_PAD, cryptoki.CKM_AES_GCM:
		if failed(err) {
			return errUndecryptable
		}
	}
	return err
}

// decryptable checks the ciphertext's length: some libraries write past their buffers when it is wrong.
func decryptable(o *object, m cryptoki.Mechanism, ciphertext []byte) error {
	good := true
	switch m.Type {
	case cryptoki.CKM_RSA_PKCS, cryptoki.CKM_RSA_X_509, cryptoki.CKM_RSA_PKCS_OAEP:
		good = len(ciphertext) == o.size
	case cryptoki.CKM_AES_ECB, cryptoki.CKM_AES_CBC:
		good = len(ciphertext)%block == 0
	case cryptoki.CKM_AES_CBC_PAD:
		good = len(ciphertext)%block == 0 && len(ciphertext) > 0
	case cryptoki.CKM_AES_GCM:
		params, _ := m.Params.(cryptoki.GCMParams)
		good = uint64(len(ciphertext)) >= (params.TagBits+7)/8
	}
	if !good {
		return fault.New(fault.EncryptedDataLenRange, "%d bytes are no ciphertext of %s with this key", len(ciphertext), m.Type)
	}
	return nil
}
