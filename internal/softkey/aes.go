package softkey

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

func (k *Key) encryptAES(m cryptoki.Mechanism, plaintext []byte) ([]byte, error) {
	switch p := m.Params.(type) {
	case cryptoki.IVParams:
		if m.Type == cryptoki.CKM_AES_CBC_PAD {
			pad := aes.BlockSize - len(plaintext)%aes.BlockSize
			padded := append(append(make([]byte, 0, len(plaintext)+pad), plaintext...), bytes.Repeat([]byte{byte(pad)}, pad)...)
			cipher.NewCBCEncrypter(k.block, p.IV).CryptBlocks(padded, padded)
			return padded, nil
		}
		if len(plaintext)%aes.BlockSize != 0 {
			return nil, dataLength(m, len(plaintext))
		}
		ciphertext := make([]byte, len(plaintext))
		cipher.NewCBCEncrypter(k.block, p.IV).CryptBlocks(ciphertext, plaintext)
		return ciphertext, nil
	case cryptoki.CTRParams:
		return k.count(m, p, plaintext)
	case cryptoki.GCMParams:
		return k.seal(p, plaintext)
	default:
		if len(plaintext)%aes.BlockSize != 0 {
			return nil, dataLength(m, len(plaintext))
		}
		return eachBlock(k.block.Encrypt, plaintext), nil
	}
}

func (k *Key) decryptAES(m cryptoki.Mechanism, ciphertext []byte) ([]byte, error) {
	switch p := m.Params.(type) {
	case cryptoki.IVParams:
		if len(ciphertext)%aes.BlockSize != 0 || m.Type == cryptoki.CKM_AES_CBC_PAD && len(ciphertext) == 0 {
			return nil, ciphertextLength(m, len(ciphertext))
		}
		plaintext := make([]byte, len(ciphertext))
		cipher.NewCBCDecrypter(k.block, p.IV).CryptBlocks(plaintext, ciphertext)
		if m.Type == cryptoki.CKM_AES_CBC_PAD {
			return unpad(plaintext)
		}
		return plaintext, nil
	case cryptoki.CTRParams:
		return k.count(m, p, ciphertext)
	case cryptoki.GCMParams:
		return k.open(m, p, ciphertext)
	default:
		if len(ciphertext)%aes.BlockSize != 0 {
			return nil, ciphertextLength(m, len(ciphertext))
		}
		return eachBlock(k.block.Decrypt, ciphertext), nil
	}
}

func eachBlock(do func(dst, src []byte), input []byte) []byte {
	output := make([]byte, len(input))
	for i := 0; i < len(input); i += aes.BlockSize {
		do(output[i:i+aes.BlockSize], input[i:i+aes.BlockSize])
	}
	return output
}

// unpad removes PKCS#7's padding; the time does not tell which byte of it was wrong.
func unpad(plaintext []byte) ([]byte, error) {
	last := plaintext[len(plaintext)-aes.BlockSize:]
	pad := int(last[aes.BlockSize-1])
	good := subtle.ConstantTimeLessOrEq(1, pad) & subtle.ConstantTimeLessOrEq(pad, aes.BlockSize)
	for i, b := range last {
		inside := subtle.ConstantTimeLessOrEq(aes.BlockSize-i, pad)
		good &= subtle.ConstantTimeSelect(inside, subtle.ConstantTimeByteEq(b, byte(pad)), 1)
	}
	if good != 1 {
		clear(plaintext)
		return nil, cryptoki.CKR_ENCRYPTED_DATA_INVALID
	}
	return plaintext[:len(plaintext)-pad], nil
}

// count is counter mode, both ways: the standard wants CKR_DATA_LEN_RANGE for either when the counter would overflow. As
// it does not, the whole block can count.
func (k *Key) count(m cryptoki.Mechanism, p cryptoki.CTRParams, input []byte) ([]byte, error) {
	if !mechanism.CounterFits(p, len(input)) {
		return nil, dataLength(m, len(input))
	}
	output := make([]byte, len(input))
	cipher.NewCTR(k.block, p.CounterBlock[:]).XORKeyStream(output, input)
	return output, nil
}

// gcm returns an AEAD with a full tag; the standard library has short ones only for the usual nonce, and none below 12
// bytes.
func (k *Key) gcm(p cryptoki.GCMParams) (cipher.AEAD, error) {
	aead, err := cipher.NewGCMWithNonceSize(k.block, len(p.IV))
	if err != nil {
		return nil, fault.New(fault.MechanismParamInvalid, "an initialisation vector of %d bytes does not do for GCM: %w", len(p.IV), err)
	}
	return aead, nil
}

func (k *Key) seal(p cryptoki.GCMParams, plaintext []byte) ([]byte, error) {
	aead, err := k.gcm(p)
	if err != nil {
		return nil, err
	}
	sealed := aead.Seal(make([]byte, 0, len(plaintext)+aes.BlockSize), p.IV, plaintext, p.AAD)
	return sealed[:len(plaintext)+int(p.TagBits/8)], nil
}

// open checks the tag before it gives anything out. A short tag is compared with the beginning of the full one, which
// sealing the plaintext again gives; that the first Seal turns ciphertext into plaintext is counter mode's symmetry.
func (k *Key) open(m cryptoki.Mechanism, p cryptoki.GCMParams, ciphertext []byte) ([]byte, error) {
	aead, err := k.gcm(p)
	if err != nil {
		return nil, err
	}
	tag := int(p.TagBits / 8)
	if len(ciphertext) < tag {
		return nil, ciphertextLength(m, len(ciphertext))
	}
	if tag == aead.Overhead() {
		plaintext, err := aead.Open(nil, p.IV, ciphertext, p.AAD)
		if err != nil {
			return nil, cryptoki.CKR_ENCRYPTED_DATA_INVALID
		}
		return plaintext, nil
	}
	body, given := ciphertext[:len(ciphertext)-tag], ciphertext[len(ciphertext)-tag:]
	plaintext := aead.Seal(nil, p.IV, body, nil)[:len(body)]
	full := aead.Seal(nil, p.IV, plaintext, p.AAD)
	if subtle.ConstantTimeCompare(full[len(body):len(body)+tag], given) != 1 {
		clear(plaintext)
		return nil, cryptoki.CKR_ENCRYPTED_DATA_INVALID
	}
	return plaintext, nil
}
