package kmip

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"errors"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// plainNonce is the length of nonce that every server takes. With others GCM is put together here from ECB: the server
// encrypts the counters, and the hash is computed with what it gives.
const plainNonce = 12

// seal is encryption with GCM.
func (k *key) seal(ctx context.Context, params cryptoki.GCMParams, plaintext []byte) ([]byte, error) {
	size := int(params.TagBits / 8)
	if len(params.IV) != plainNonce {
		aead, err := k.composed(ctx, params, len(plaintext))
		if err != nil {
			return nil, err
		}
		sealed := aead.Seal(nil, params.IV, plaintext, params.AAD)
		return sealed[:len(plaintext)+size], nil
	}
	answer, err := k.provider.call(ctx, ttlv.OpEncrypt, k.gcmPayload(params, plaintext)...)
	if err != nil {
		return nil, err
	}
	ciphertext, _ := answer.ByteValue(ttlv.TagData)
	tag, ok := answer.ByteValue(ttlv.TagAuthenticatedEncryptionTag)
	if !ok && len(ciphertext) == len(plaintext)+size {
		return ciphertext, nil
	}
	if len(ciphertext) != len(plaintext) || len(tag) != size {
		return nil, strangeLength("ciphertext with tag", len(ciphertext)+len(tag), len(plaintext)+size)
	}
	return append(ciphertext[:len(ciphertext):len(ciphertext)], tag...), nil
}

// open is decryption with GCM.
func (k *key) open(ctx context.Context, params cryptoki.GCMParams, ciphertext []byte) ([]byte, error) {
	at := len(ciphertext) - int(params.TagBits/8)
	if len(params.IV) != plainNonce {
		aead, err := k.composed(ctx, params, at)
		if err != nil {
			return nil, err
		}
		// The other way is the same stream of keys; the tag, which may be a part of the whole one, follows from both.
		plaintext := aead.Seal(nil, params.IV, ciphertext[:at], nil)[:at]
		again := aead.Seal(nil, params.IV, plaintext, params.AAD)
		if subtle.ConstantTimeCompare(again[at:len(ciphertext)], ciphertext[at:]) != 1 {
			return nil, fault.New(fault.EncryptedDataInvalid, "the ciphertext is not one of this key, or was changed")
		}
		return plaintext, nil
	}
	payload := append(k.gcmPayload(params, ciphertext[:at]), ttlv.ByteString(ttlv.TagAuthenticatedEncryptionTag, ciphertext[at:]))
	answer, err := k.provider.call(ctx, ttlv.OpDecrypt, payload...)
	if err != nil {
		return nil, err
	}
	plaintext, _ := answer.ByteValue(ttlv.TagData)
	if len(plaintext) != at {
		return nil, strangeLength("plaintext", len(plaintext), at)
	}
	return plaintext, nil
}

func (k *key) gcmPayload(params cryptoki.GCMParams, data []byte) []ttlv.Item {
	parameters := aesParameters(ttlv.ModeGcm, 0)
	parameters.Items = append(parameters.Items, ttlv.Integer(ttlv.TagTagLength, int32(params.TagBits/8)))
	payload := []ttlv.Item{uid(k.parsed.ID), parameters, ttlv.ByteString(ttlv.TagData, data), ttlv.ByteString(ttlv.TagIVCounterNonce, params.IV)}
	if len(params.AAD) > 0 {
		payload = append(payload, ttlv.ByteString(ttlv.TagAuthenticatedEncryptionAdditionalData, params.AAD))
	}
	return payload
}

// composed makes a GCM for one message from blocks that the server encrypts.
func (k *key) composed(ctx context.Context, params cryptoki.GCMParams, length int) (cipher.AEAD, error) {
	server := &recorded{blocks: map[[16]byte][16]byte{}}
	// First the block that the hash's key is made of, then the counters, which depend on it.
	for range 2 {
		server.wanted = nil
		aead, err := cipher.NewGCMWithNonceSize(server, len(params.IV))
		if err != nil {
			return nil, fault.New(fault.MechanismParamInvalid, "no GCM has a nonce of %d bytes: %w", len(params.IV), err)
		}
		if len(server.wanted) == 0 {
			aead.Seal(nil, params.IV, make([]byte, length), nil)
		}
		encrypted, err := k.blocks(ctx, ttlv.ModeEcb, nil, server.wanted, true)
		if err != nil {
			return nil, err
		}
		server.learn(encrypted)
	}
	return cipher.NewGCMWithNonceSize(server, len(params.IV))
}

// recorded is a block cipher that knows some blocks, and notes those that it does not know.
type recorded struct {
	blocks map[[16]byte][16]byte
	wanted []byte
}

// BlockSize is that of AES.
func (r *recorded) BlockSize() int { return aes.BlockSize }

// Encrypt looks a block up.
func (r *recorded) Encrypt(dst, src []byte) {
	block, ok := r.blocks[[16]byte(src)]
	if !ok {
		r.wanted = append(r.wanted, src[:aes.BlockSize]...)
	}
	copy(dst, block[:])
}

// Decrypt is not used by GCM.
func (r *recorded) Decrypt(_, _ []byte) { panic(errors.New("GCM decrypts no blocks")) }

func (r *recorded) learn(encrypted []byte) {
	for i := 0; i+aes.BlockSize <= len(encrypted); i += aes.BlockSize {
		r.blocks[[16]byte(r.wanted[i:i+aes.BlockSize])] = [16]byte(encrypted[i : i+aes.BlockSize])
	}
}
