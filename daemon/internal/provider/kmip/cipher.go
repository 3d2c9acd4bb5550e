package kmip

import (
	"bytes"
	"context"
	"crypto/aes"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// Encrypt encrypts.
func (k *key) Encrypt(ctx context.Context, m cryptoki.Mechanism, plaintext []byte) ([]byte, error) {
	const operation = "encrypt"
	err := k.ready(ctx, "encrypting", m, cryptoki.CKF_ENCRYPT, len(plaintext))
	if err == nil && (m.Type == cryptoki.CKM_AES_ECB || m.Type == cryptoki.CKM_AES_CBC) && len(plaintext)%aes.BlockSize != 0 {
		err = fault.New(fault.DataLenRange, "%s takes whole blocks of 16 bytes, not %d bytes", m.Type, len(plaintext))
	}
	if err != nil {
		return nil, k.explain(operation, err)
	}
	var out []byte
	switch m.Type {
	case cryptoki.CKM_AES_ECB:
		out, err = k.blocks(ctx, ttlv.ModeEcb, nil, plaintext, true)
	case cryptoki.CKM_AES_CBC:
		out, err = k.blocks(ctx, ttlv.ModeCbc, m.Params.(cryptoki.IVParams).IV, plaintext, true)
	case cryptoki.CKM_AES_CBC_PAD:
		out, err = k.crypt(ctx, ttlv.OpEncrypt, aesParameters(ttlv.ModeCbc, ttlv.PaddingPkcs5), m.Params.(cryptoki.IVParams).IV, plaintext)
	case cryptoki.CKM_AES_CTR:
		out, err = k.count(ctx, ttlv.OpEncrypt, m.Params.(cryptoki.CTRParams), plaintext)
	default:
		out, err = k.seal(ctx, m.Params.(cryptoki.GCMParams), plaintext)
	}
	return out, k.explain(operation, err)
}

// Decrypt decrypts.
func (k *key) Decrypt(ctx context.Context, m cryptoki.Mechanism, ciphertext []byte) ([]byte, error) {
	const operation = "decrypt"
	err := k.ready(ctx, "decrypting", m, cryptoki.CKF_DECRYPT, len(ciphertext))
	if err == nil {
		err = k.checkLength(m, len(ciphertext))
	}
	if err != nil {
		return nil, k.explain(operation, err)
	}
	var out []byte
	switch m.Type {
	case cryptoki.CKM_AES_ECB:
		out, err = k.blocks(ctx, ttlv.ModeEcb, nil, ciphertext, false)
	case cryptoki.CKM_AES_CBC:
		out, err = k.blocks(ctx, ttlv.ModeCbc, m.Params.(cryptoki.IVParams).IV, ciphertext, false)
	case cryptoki.CKM_AES_CBC_PAD:
		out, err = k.crypt(ctx, ttlv.OpDecrypt, aesParameters(ttlv.ModeCbc, ttlv.PaddingPkcs5), m.Params.(cryptoki.IVParams).IV, ciphertext)
	case cryptoki.CKM_AES_CTR:
		out, err = k.count(ctx, ttlv.OpDecrypt, m.Params.(cryptoki.CTRParams), ciphertext)
	case cryptoki.CKM_AES_GCM:
		out, err = k.open(ctx, m.Params.(cryptoki.GCMParams), ciphertext)
	default:
		out, err = k.decryptRSA(ctx, m, ciphertext)
	}
	if refused(err, ttlv.ReasonCryptographicFailure, ttlv.ReasonGeneralFailure, ttlv.ReasonInvalidField) {
		// Servers do not tell what is wrong with a ciphertext, or that it is the ciphertext.
		err = fault.New(fault.EncryptedDataInvalid, "the ciphertext does not decrypt, or the server failed: %w", err)
	}
	return out, k.explain(operation, err)
}

// checkLength refuses ciphertexts of impossible lengths.
func (k *key) checkLength(m cryptoki.Mechanism, length int) error {
	bad := false
	switch m.Type {
	case cryptoki.CKM_AES_ECB, cryptoki.CKM_AES_CBC:
		bad = length%aes.BlockSize != 0
	case cryptoki.CKM_AES_CBC_PAD:
		bad = length == 0 || length%aes.BlockSize != 0
	case cryptoki.CKM_AES_GCM:
		bad = length < int(m.Params.(cryptoki.GCMParams).TagBits/8)
	case cryptoki.CKM_AES_CTR:
	default:
		bad = length != (k.object.length+7)/8
	}
	if bad {
		return fault.New(fault.EncryptedDataLenRange, "no ciphertext of %s with this key has %d bytes", m.Type, length)
	}
	return nil
}

func aesParameters(mode, padding uint32) ttlv.Item {
	parameters := ttlv.Structure(ttlv.TagCryptographicParameters, ttlv.Enumeration(ttlv.TagBlockCipherMode, mode))
	if padding != 0 {
		parameters.Items = append(parameters.Items, ttlv.Enumeration(ttlv.TagPaddingMethod, padding))
	}
	parameters.Items = append(parameters.Items, ttlv.Enumeration(ttlv.TagCryptographicAlgorithm, ttlv.AlgorithmAes))
	return parameters
}

// crypt has the server encrypt or decrypt.
func (k *key) crypt(ctx context.Context, operation uint32, parameters ttlv.Item, iv, data []byte) ([]byte, error) {
	payload := []ttlv.Item{uid(k.parsed.ID), parameters, ttlv.ByteString(ttlv.TagData, data)}
	if iv != nil {
		payload = append(payload, ttlv.ByteString(ttlv.TagIVCounterNonce, iv))
	}
	answer, err := k.provider.call(ctx, operation, payload...)
	if err != nil {
		return nil, err
	}
	out, ok := answer.ByteValue(ttlv.TagData)
	if !ok && len(data) > aes.BlockSize {
		return nil, strangeLength("result", 0, len(data))
	}
	return out, nil
}

// blocks encrypts or decrypts whole blocks without padding.
func (k *key) blocks(ctx context.Context, mode uint32, iv, data []byte, encrypt bool) ([]byte, error) {
	if len(data) == 0 {
		return []byte{}, nil
	}
	operation := ttlv.OpDecrypt
	if encrypt {
		operation = ttlv.OpEncrypt
	}
	parameters := aesParameters(mode, ttlv.PaddingNone)
	if k.provider.server.quirks.padsAlways {
		parameters = aesParameters(mode, ttlv.PaddingPkcs5)
		if !encrypt {
			// The block of padding that the server would have written after these.
			var last []byte
			if mode == ttlv.ModeCbc {
				last = data[len(data)-aes.BlockSize:]
			}
			end, err := k.crypt(ctx, ttlv.OpEncrypt, parameters, last, []byte{})
			if err != nil {
				return nil, err
			}
			data = append(bytes.Clone(data), end...)
		}
	}
	out, err := k.crypt(ctx, operation, parameters, iv, data)
	if err != nil {
		return nil, err
	}
	want := len(data)
	if k.provider.server.quirks.padsAlways {
		if encrypt {
			want += aes.BlockSize
		} else {
			want -= aes.BlockSize
		}
	}
	if len(out) != want {
		return nil, strangeLength("result", len(out), want)
	}
	if k.provider.server.quirks.padsAlways && encrypt {
		out = out[:len(data)]
	}
	return out, nil
}

// count is CTR. The server counts in all 128 bits; where the counter does not run over it is the same.
func (k *key) count(ctx context.Context, operation uint32, params cryptoki.CTRParams, data []byte) ([]byte, error) {
	if !mechanism.CounterFits(params, len(data)) {
		return nil, fault.New(fault.DataLenRange, "a counter of %d bits runs over within %d bytes", params.CounterBits, len(data))
	}
	if len(data) == 0 {
		return []byte{}, nil
	}
	out, err := k.crypt(ctx, operation, aesParameters(ttlv.ModeCtr, 0), params.CounterBlock[:], data)
	if err == nil && len(out) != len(data) {
		err = strangeLength("result", len(out), len(data))
	}
	return out, err
}

// decryptRSA removes one of RSA's paddings.
func (k *key) decryptRSA(ctx context.Context, m cryptoki.Mechanism, ciphertext []byte) ([]byte, error) {
	parameters := ttlv.Structure(ttlv.TagCryptographicParameters)
	if oaep, ok := m.Params.(cryptoki.OAEPParams); ok {
		mask, err := maskNumber(oaep.MGF)
		if err != nil {
			return nil, err
		}
		parameters.Items = append(parameters.Items, ttlv.Enumeration(ttlv.TagPaddingMethod, ttlv.PaddingOaep),
			ttlv.Enumeration(ttlv.TagHashingAlgorithm, hashNumber(oaep.Hash)), ttlv.Enumeration(ttlv.TagCryptographicAlgorithm, ttlv.AlgorithmRsa),
			ttlv.Enumeration(ttlv.TagMaskGenerator, ttlv.MaskGeneratorMGF1), ttlv.Enumeration(ttlv.TagMaskGeneratorHashingAlgorithm, mask))
		if len(oaep.Label) > 0 {
			parameters.Items = append(parameters.Items, ttlv.ByteString(ttlv.TagPSource, oaep.Label))
		}
	} else {
		parameters.Items = append(parameters.Items, ttlv.Enumeration(ttlv.TagPaddingMethod, ttlv.PaddingPkcs1v15),
			ttlv.Enumeration(ttlv.TagCryptographicAlgorithm, ttlv.AlgorithmRsa))
	}
	return k.crypt(ctx, ttlv.OpDecrypt, parameters, nil, ciphertext)
}
