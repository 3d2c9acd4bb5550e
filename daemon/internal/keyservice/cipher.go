package keyservice

import (
	"context"
	"crypto/aes"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// Encrypt encrypts (C_Encrypt). more: data is whole blocks of a message that goes on, no padding is added and the
// caller chains.
func (s *Service) Encrypt(ctx context.Context, call Call, key KeyRef, m cryptoki.Mechanism, data []byte, more bool) (ciphertext []byte, reply Reply, err error) {
	r := begin(call, "encrypt").with(m)
	defer s.end(ctx, r, &err)

	a, err := s.enterToUse(ctx, call, r)
	if err != nil {
		return nil, Reply{}, err
	}
	t, err := s.resolveKey(ctx, a, key, r)
	if err != nil {
		return nil, Reply{}, err
	}
	if err := t.permit(m, cryptoki.CKF_ENCRYPT); err != nil {
		return nil, Reply{}, err
	}
	if len(data) > mechanism.MaxInput(m, cryptoki.CKF_ENCRYPT, t.Attributes) {
		return nil, Reply{}, cryptoki.CKR_DATA_LEN_RANGE
	}
	if len(t.places) == 0 {
		ciphertext, err = encryptPublic(t, m, data)
		return ciphertext, a.reply, err
	}
	if err := checkParts(m, cryptoki.CKF_ENCRYPT, len(data), more); err != nil {
		return nil, Reply{}, err
	}
	raw := unpadded(m, cryptoki.CKF_ENCRYPT, more)
	t, err = s.able(ctx, t, task{what: "encrypt", use: cryptoki.CKF_ENCRYPT, asked: m.Type, raw: raw, length: len(data)})
	if err != nil {
		return nil, Reply{}, err
	}
	ciphertext, err = use(ctx, s, t, "encrypt", func(ctx context.Context, b *backend, key provider.Encrypter) ([]byte, error) {
		if raw := raw(b); raw.Type != m.Type && !more {
			return key.Encrypt(ctx, raw, pad(data))
		}
		return key.Encrypt(ctx, raw(b), data)
	})
	return ciphertext, a.reply, err
}

// Decrypt decrypts (C_Decrypt). more: data is whole blocks of a message that goes on, no padding is removed and the
// caller chains.
func (s *Service) Decrypt(ctx context.Context, call Call, key KeyRef, m cryptoki.Mechanism, data []byte, more bool) (plaintext []byte, reply Reply, err error) {
	r := begin(call, "decrypt").with(m)
	defer s.end(ctx, r, &err)

	a, err := s.enterToUse(ctx, call, r)
	if err != nil {
		return nil, Reply{}, err
	}
	t, err := s.resolveKey(ctx, a, key, r)
	if err != nil {
		return nil, Reply{}, err
	}
	if err := t.permit(m, cryptoki.CKF_DECRYPT); err != nil {
		return nil, Reply{}, err
	}
	if len(data) > mechanism.MaxInput(m, cryptoki.CKF_DECRYPT, t.Attributes) {
		return nil, Reply{}, cryptoki.CKR_ENCRYPTED_DATA_LEN_RANGE
	}
	if err := checkParts(m, cryptoki.CKF_DECRYPT, len(data), more); err != nil {
		return nil, Reply{}, err
	}
	raw := unpadded(m, cryptoki.CKF_DECRYPT, more)
	t, err = s.able(ctx, t, task{what: "decrypt", use: cryptoki.CKF_DECRYPT, asked: m.Type, raw: raw, length: len(data)})
	if err != nil {
		return nil, Reply{}, err
	}
	if err := s.confirm(ctx, a, t, m, data); err != nil {
		return nil, Reply{}, err
	}
	plaintext, err = use(ctx, s, t, "decrypt", func(ctx context.Context, b *backend, key provider.Decrypter) ([]byte, error) {
		plaintext, err := key.Decrypt(ctx, raw(b), data)
		if err == nil && raw(b).Type != m.Type && !more {
			return unpad(plaintext)
		}
		return plaintext, err
	})
	return plaintext, a.reply, err
}

// checkParts refuses a part of a message that is not whole blocks, or whose mechanism does not take parts.
func checkParts(m cryptoki.Mechanism, use cryptoki.Flags, length int, more bool) error {
	if more {
		switch m.Type {
		case cryptoki.CKM_AES_CBC, cryptoki.CKM_AES_CBC_PAD, cryptoki.CKM_AES_CTR, cryptoki.CKM_AES_ECB:
		default:
			return fault.New(fault.ArgumentsBad, "%v takes a message as a whole; send it in one call", m.Type)
		}
		if length%aes.BlockSize != 0 {
			kind := fault.DataLenRange
			if use == cryptoki.CKF_DECRYPT {
				kind = fault.EncryptedDataLenRange
			}
			return fault.New(kind, "a part of a message must be whole blocks of %d bytes, not %d bytes; keep the rest for the next part", aes.BlockSize, length)
		}
	}
	if m.Type == cryptoki.CKM_AES_CBC_PAD && use == cryptoki.CKF_DECRYPT && !more && (length == 0 || length%aes.BlockSize != 0) {
		return cryptoki.CKR_ENCRYPTED_DATA_LEN_RANGE
	}
	return nil
}

// unpadded returns the mechanism that a provider gets: CKM_AES_CBC for the inner blocks of a CKM_AES_CBC_PAD message,
// and for all of it where the provider does not pad.
func unpadded(m cryptoki.Mechanism, use cryptoki.Flags, more bool) func(*backend) cryptoki.Mechanism {
	return func(b *backend) cryptoki.Mechanism {
		raw := m
		if m.Type == cryptoki.CKM_AES_CBC_PAD && (more || !b.capabilities.Can(m.Type, use)) {
			raw.Type = cryptoki.CKM_AES_CBC
		}
		return raw
	}
}

// pad adds the padding of PKCS#7.
func pad(data []byte) []byte {
	n := aes.BlockSize - len(data)%aes.BlockSize
	padded := make([]byte, len(data)+n)
	for i := copy(padded, data); i < len(padded); i++ {
		padded[i] = byte(n)
	}
	return padded
}

// unpad removes it. Which byte was wrong does not show in the time it takes.
func unpad(padded []byte) ([]byte, error) {
	if len(padded) == 0 || len(padded)%aes.BlockSize != 0 {
		return nil, cryptoki.CKR_ENCRYPTED_DATA_INVALID
	}
	n := int(padded[len(padded)-1])
	wrong := 0
	for i := 1; i <= aes.BlockSize; i++ {
		// inside is -1 (all ones) where the byte belongs to the padding.
		inside := (i - n - 1) >> 31
		wrong |= inside & (int(padded[len(padded)-i]) ^ n)
	}
	wrong |= (n - 1) >> 31
	wrong |= (aes.BlockSize - n) >> 31
	if wrong != 0 {
		return nil, cryptoki.CKR_ENCRYPTED_DATA_INVALID
	}
	return padded[:len(padded)-n], nil
}

// encryptPublic encrypts with a public key, for which no provider is needed.
func encryptPublic(t target, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	public, err := softkey.FromAttributes(t.Attributes)
	if err != nil {
		return nil, err
	}
	return public.Encrypt(m, data)
}
