package azurekv

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/subtle"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Decrypt decrypts with RSA, or with AES in a Managed HSM.
func (k *key) Decrypt(ctx context.Context, m cryptoki.Mechanism, ciphertext []byte) ([]byte, error) {
	if err := k.check(ctx, m, cryptoki.CKF_DECRYPT); err != nil {
		return nil, err
	}
	if !k.spec.private() {
		return k.decryptAES(ctx, m, ciphertext)
	}
	if len(ciphertext) != int(k.spec.bits/8) {
		return nil, fault.New(fault.EncryptedDataLenRange, "a ciphertext of this key has %d bytes, not %d", k.spec.bits/8, len(ciphertext))
	}
	algorithm := azkeys.EncryptionAlgorithmRSA15
	if params, ok := m.Params.(cryptoki.OAEPParams); ok {
		algorithm = azkeys.EncryptionAlgorithmRSAOAEP
		if params.Hash == cryptoki.CKM_SHA256 {
			algorithm = azkeys.EncryptionAlgorithmRSAOAEP256
		}
	}
	return k.cipher(ctx, opDecrypt, azkeys.KeyOperationParameters{Algorithm: &algorithm, Value: ciphertext})
}

// Encrypt encrypts with AES in a Managed HSM. Public keys are used in the module.
func (k *key) Encrypt(ctx context.Context, m cryptoki.Mechanism, plaintext []byte) ([]byte, error) {
	if err := k.check(ctx, m, cryptoki.CKF_ENCRYPT); err != nil {
		return nil, err
	}
	if m.Type == cryptoki.CKM_AES_CBC_PAD {
		n := aes.BlockSize - len(plaintext)%aes.BlockSize
		plaintext = append(bytes.Clone(plaintext), bytes.Repeat([]byte{byte(n)}, n)...)
		defer clear(plaintext)
	}
	if len(plaintext)%aes.BlockSize != 0 {
		return nil, fault.New(fault.DataLenRange, "%s takes whole blocks of 16 bytes, not %d bytes; pad the data, or use CKM_AES_CBC_PAD", m.Type, len(plaintext))
	}
	return k.chain(ctx, opEncrypt, m, plaintext)
}

func (k *key) decryptAES(ctx context.Context, m cryptoki.Mechanism, ciphertext []byte) ([]byte, error) {
	if params, ok := m.Params.(cryptoki.GCMParams); ok {
		return k.openGCM(ctx, params, ciphertext)
	}
	padded := m.Type == cryptoki.CKM_AES_CBC_PAD
	if len(ciphertext)%aes.BlockSize != 0 || padded && len(ciphertext) == 0 {
		return nil, fault.New(fault.EncryptedDataLenRange, "a ciphertext of %s has whole blocks of 16 bytes, not %d bytes", m.Type, len(ciphertext))
	}
	plaintext, err := k.chain(ctx, opDecrypt, m, ciphertext)
	if err != nil || !padded {
		return plaintext, err
	}
	length, ok := unpadded(plaintext)
	if !ok {
		clear(plaintext)
		return nil, fault.New(fault.EncryptedDataInvalid, "the ciphertext does not decrypt to padded data; look at the key and the initialisation vector")
	}
	return plaintext[:length], nil
}

// unpadded returns the length without PKCS #7's padding, in time that does not depend on what the padding is.
func unpadded(plaintext []byte) (length int, ok bool) {
	n := int(plaintext[len(plaintext)-1])
	good := subtle.ConstantTimeLessOrEq(1, n) & subtle.ConstantTimeLessOrEq(n, aes.BlockSize)
	for i := 1; i <= aes.BlockSize; i++ {
		same := subtle.ConstantTimeByteEq(plaintext[len(plaintext)-i], byte(n))
		good &= same | (1 ^ subtle.ConstantTimeLessOrEq(i, n))
	}
	return len(plaintext) - n, good == 1
}

// piece is how much one call takes. How much Azure takes is not documented; CBC can be continued after any block.
const piece = 16 << 10

// modes are Azure's names of AES for the sizes of keys.
var modes = map[uint64]struct{ cbc, gcm azkeys.EncryptionAlgorithm }{
	16: {azkeys.EncryptionAlgorithmA128CBC, azkeys.EncryptionAlgorithmA128GCM},
	24: {azkeys.EncryptionAlgorithmA192CBC, azkeys.EncryptionAlgorithmA192GCM},
	32: {azkeys.EncryptionAlgorithmA256CBC, azkeys.EncryptionAlgorithmA256GCM},
}

// length is the key's in bytes, as the object has it: Azure wants to be told, and does not tell.
func (k *key) length() (uint64, error) {
	length, _ := k.reference.Attributes.Ulong(cryptoki.CKA_VALUE_LEN)
	if _, ok := modes[length]; !ok {
		return 0, fault.New(fault.KeySizeRange, "CKA_VALUE_LEN of the key %s is %d, and Azure needs to be told the size; adopt the key anew with 16, 24 or 32", k.id, length)
	}
	return length, nil
}

// tagSize is the length of GCM's tag, which stands at the end of a ciphertext of PKCS#11 and by itself in Azure.
const tagSize = 16

// openGCM decrypts what was encrypted elsewhere, or by Azure: its own choice of initialisation vector is no hindrance.
func (k *key) openGCM(ctx context.Context, params cryptoki.GCMParams, ciphertext []byte) ([]byte, error) {
	if len(ciphertext) < tagSize {
		return nil, fault.New(fault.EncryptedDataLenRange, "a ciphertext of AES-GCM has at least the %d bytes of its tag, not %d", tagSize, len(ciphertext))
	}
	length, err := k.length()
	if err != nil {
		return nil, err
	}
	algorithm, cut := modes[length].gcm, len(ciphertext)-tagSize
	return k.cipher(ctx, opDecrypt, azkeys.KeyOperationParameters{
		Algorithm: &algorithm, Value: ciphertext[:cut], IV: params.IV, AuthenticationTag: ciphertext[cut:], AdditionalAuthenticatedData: params.AAD,
	})
}

// chain does AES-CBC piece by piece.
func (k *key) chain(ctx context.Context, o operation, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	length, err := k.length()
	if err != nil {
		return nil, err
	}
	algorithm := modes[length].cbc
	iv := m.Params.(cryptoki.IVParams).IV
	out := make([]byte, 0, len(data))
	for len(data) > 0 {
		some := data[:min(len(data), piece)]
		data = data[len(some):]
		done, err := k.cipher(ctx, o, azkeys.KeyOperationParameters{Algorithm: &algorithm, Value: some, IV: iv})
		if err != nil {
			return nil, err
		}
		if len(done) != len(some) {
			return nil, fault.New(fault.FunctionFailed, "Azure made %d bytes of %d with %s; look at vault_url", len(done), len(some), algorithm)
		}
		iv = done[len(done)-aes.BlockSize:]
		if o == opDecrypt {
			iv = some[len(some)-aes.BlockSize:]
		}
		out = append(out, done...)
	}
	return out, nil
}

// cipher makes one call.
func (k *key) cipher(ctx context.Context, o operation, parameters azkeys.KeyOperationParameters) ([]byte, error) {
	result, err := call(ctx, k.provider, request{operation: o, key: k.id.String()}, func(ctx context.Context) (azkeys.KeyOperationResult, error) {
		if o == opEncrypt {
			answer, err := k.provider.client.Encrypt(ctx, k.id.name, k.id.version, parameters, nil)
			return answer.KeyOperationResult, err
		}
		answer, err := k.provider.client.Decrypt(ctx, k.id.name, k.id.version, parameters, nil)
		return answer.KeyOperationResult, err
	})
	if err != nil {
		return nil, k.settle(err)
	}
	if err := k.answered(result.KID); err != nil {
		return nil, err
	}
	if result.Result == nil {
		return []byte{}, nil
	}
	return result.Result, nil
}
