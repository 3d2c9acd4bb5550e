package gcpkms

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/subtle"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// Encrypt encrypts with AES-CBC or AES-CTR. What is longer than one call takes goes in several, chained.
func (k *key) Encrypt(ctx context.Context, m cryptoki.Mechanism, plaintext []byte) ([]byte, error) {
	if err := k.provider.ready(ctx, "encrypt"); err != nil {
		return nil, err
	}
	if err := k.check(m, cryptoki.CKF_ENCRYPT); err != nil {
		return nil, err
	}
	switch {
	case m.Type == cryptoki.CKM_AES_CBC_PAD:
		n := aes.BlockSize - len(plaintext)%aes.BlockSize
		padded := append(bytes.Clone(plaintext), bytes.Repeat([]byte{byte(n)}, n)...)
		defer clear(padded)
		plaintext = padded
	case m.Type == cryptoki.CKM_AES_CBC && len(plaintext)%aes.BlockSize != 0:
		return nil, fault.New(fault.DataLenRange, "%s encrypts whole blocks of %d bytes, not %d bytes", m.Type, aes.BlockSize, len(plaintext))
	}
	return k.chain(ctx, m, plaintext, true)
}

// Decrypt decrypts with RSA-OAEP or AES.
func (k *key) Decrypt(ctx context.Context, m cryptoki.Mechanism, ciphertext []byte) ([]byte, error) {
	if err := k.provider.ready(ctx, "decrypt"); err != nil {
		return nil, err
	}
	if err := k.check(m, cryptoki.CKF_DECRYPT); err != nil {
		return nil, err
	}
	switch m.Type {
	case cryptoki.CKM_RSA_PKCS_OAEP:
		return k.unseal(ctx, ciphertext)
	case cryptoki.CKM_AES_GCM:
		return k.open(ctx, m, ciphertext)
	case cryptoki.CKM_AES_CBC_PAD:
		if len(ciphertext) == 0 {
			return nil, fault.New(fault.EncryptedDataLenRange, "%s gives at least one block", m.Type)
		}
		fallthrough
	case cryptoki.CKM_AES_CBC:
		if len(ciphertext)%aes.BlockSize != 0 {
			return nil, fault.New(fault.EncryptedDataLenRange, "%s decrypts whole blocks of %d bytes, not %d bytes", m.Type, aes.BlockSize, len(ciphertext))
		}
	}
	plaintext, err := k.chain(ctx, m, ciphertext, false)
	if err != nil || m.Type != cryptoki.CKM_AES_CBC_PAD {
		return plaintext, err
	}
	return unpad(plaintext)
}

// unpad takes PKCS#7's padding off; how long that takes does not tell what is wrong with it.
func unpad(plaintext []byte) ([]byte, error) {
	last := plaintext[len(plaintext)-aes.BlockSize:]
	n := int(last[aes.BlockSize-1])
	good := subtle.ConstantTimeLessOrEq(1, n) & subtle.ConstantTimeLessOrEq(n, aes.BlockSize)
	for i, b := range last {
		inside := subtle.ConstantTimeLessOrEq(aes.BlockSize-i, n)
		good &= 1 ^ inside&(1^subtle.ConstantTimeByteEq(b, byte(n)))
	}
	if good != 1 {
		return nil, fault.New(fault.EncryptedDataInvalid, "the ciphertext does not decrypt to padded data")
	}
	return plaintext[:len(plaintext)-n], nil
}

// chain encrypts or decrypts in pieces that the service takes.
func (k *key) chain(ctx context.Context, m cryptoki.Mechanism, in []byte, encrypt bool) ([]byte, error) {
	if params, ok := m.Params.(cryptoki.CTRParams); ok && !mechanism.CounterFits(params, len(in)) {
		return nil, fault.New(fault.DataLenRange, "a counter of %d bits does not reach for %d bytes", params.CounterBits, len(in))
	}
	out := make([]byte, 0, len(in))
	for len(in) > 0 {
		piece := in[:min(len(in), k.provider.limit)]
		in = in[len(piece):]
		var err error
		var made []byte
		if encrypt {
			made, err = k.encrypt(ctx, m, piece)
		} else {
			made, err = k.decrypt(ctx, m, piece, nil, 0)
		}
		if err == nil && len(made) != len(piece) {
			err = fault.New(fault.DeviceError, "Google Cloud KMS made %d bytes of %d; look at the endpoint", len(made), len(piece))
		}
		if err != nil {
			clear(out)
			return nil, err
		}
		out = append(out, made...)
		if len(in) > 0 {
			plaintext, ciphertext := piece, made
			if !encrypt {
				plaintext, ciphertext = made, piece
			}
			m, _ = mechanism.Next(m, plaintext, ciphertext)
		}
	}
	return out, nil
}

// vector is the IV or counter block of a mechanism.
func vector(m cryptoki.Mechanism) []byte {
	switch params := m.Params.(type) {
	case cryptoki.IVParams:
		return params.IV
	case cryptoki.CTRParams:
		return params.CounterBlock[:]
	case cryptoki.GCMParams:
		return params.IV
	}
	return nil
}

func (k *key) encrypt(ctx context.Context, m cryptoki.Mechanism, plaintext []byte) ([]byte, error) {
	p, iv := k.provider, vector(m)
	request := &kmspb.RawEncryptRequest{
		Name: k.version, Plaintext: plaintext, PlaintextCrc32C: checksum(plaintext),
		InitializationVector: iv, InitializationVectorCrc32C: checksum(iv),
	}
	answer, err := exchange(ctx, p, useToEncrypt, k.version, p.client.RawEncrypt, request, func(r *kmspb.RawEncryptResponse) bool {
		return r.GetName() == k.version && intact(r.GetCiphertext(), r.GetCiphertextCrc32C()) &&
			r.GetVerifiedPlaintextCrc32C() && r.GetVerifiedInitializationVectorCrc32C() && bytes.Equal(r.GetInitializationVector(), iv)
	})
	if err != nil {
		return nil, k.settle(err)
	}
	return answer.GetCiphertext(), nil
}

func (k *key) decrypt(ctx context.Context, m cryptoki.Mechanism, ciphertext, aad []byte, tag int32) ([]byte, error) {
	p, iv := k.provider, vector(m)
	request := &kmspb.RawDecryptRequest{
		Name: k.version, Ciphertext: ciphertext, CiphertextCrc32C: checksum(ciphertext),
		InitializationVector: iv, InitializationVectorCrc32C: checksum(iv), TagLength: tag,
	}
	if len(aad) > 0 {
		request.AdditionalAuthenticatedData, request.AdditionalAuthenticatedDataCrc32C = aad, checksum(aad)
	}
	answer, err := exchange(ctx, p, useToDecrypt, k.version, p.client.RawDecrypt, request, func(r *kmspb.RawDecryptResponse) bool {
		return intact(r.GetPlaintext(), r.GetPlaintextCrc32C()) && r.GetVerifiedCiphertextCrc32C() &&
			r.GetVerifiedInitializationVectorCrc32C() && (len(aad) == 0 || r.GetVerifiedAdditionalAuthenticatedDataCrc32C())
	})
	if err != nil {
		return nil, k.settle(undecryptable(err))
	}
	return answer.GetPlaintext(), nil
}

// open decrypts AES-GCM, which cannot go in pieces.
func (k *key) open(ctx context.Context, m cryptoki.Mechanism, ciphertext []byte) ([]byte, error) {
	params, _ := m.Params.(cryptoki.GCMParams)
	switch {
	case len(ciphertext) < tagSize:
		return nil, fault.New(fault.EncryptedDataLenRange, "%s gives at least the %d bytes of its tag, not %d", m.Type, tagSize, len(ciphertext))
	case len(ciphertext)-tagSize+len(params.AAD) > k.provider.limit:
		return nil, fault.New(fault.EncryptedDataLenRange, "Google Cloud KMS takes at most %d bytes with keys of protection level %s, not %d", k.provider.limit, k.provider.level, len(ciphertext)-tagSize+len(params.AAD))
	}
	return k.decrypt(ctx, m, ciphertext, params.AAD, tagSize)
}

// unseal decrypts RSA-OAEP.
func (k *key) unseal(ctx context.Context, ciphertext []byte) ([]byte, error) {
	if want := int(k.algorithm.size / 8); len(ciphertext) != want {
		return nil, fault.New(fault.EncryptedDataLenRange, "a key of %d bits decrypts %d bytes, not %d", k.algorithm.size, want, len(ciphertext))
	}
	p := k.provider
	request := &kmspb.AsymmetricDecryptRequest{Name: k.version, Ciphertext: ciphertext, CiphertextCrc32C: checksum(ciphertext)}
	answer, err := exchange(ctx, p, useToDecrypt, k.version, p.client.AsymmetricDecrypt, request, func(r *kmspb.AsymmetricDecryptResponse) bool {
		return intact(r.GetPlaintext(), r.GetPlaintextCrc32C()) && r.GetVerifiedCiphertextCrc32C()
	})
	if err != nil {
		return nil, k.settle(undecryptable(err))
	}
	return answer.GetPlaintext(), nil
}

// undecryptable: what the service finds wrong with the argument of a decryption is the ciphertext, since all else was
// checked before.
func undecryptable(err error) error {
	if refused, ok := refusalOf(err); ok && refused.Code() == codes.InvalidArgument && !damaged(err) {
		return fault.New(fault.EncryptedDataInvalid, "Google Cloud KMS cannot decrypt the ciphertext with this key: %w", err)
	}
	return err
}
