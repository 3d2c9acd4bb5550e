package gcpfake

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // HMAC and OAEP are done with it.
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"strings"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"filippo.io/mldsa"
	"filippo.io/mldsa/mldsacrypto"
	"google.golang.org/grpc/codes"
)

// limit is the number of bytes that a version takes at once.
func (v version) limit() int {
	if v.meta.GetProtectionLevel() == kmspb.ProtectionLevel_HSM {
		return 8 << 10
	}
	return 64 << 10
}

// hashOf is the hash in an algorithm's name.
func hashOf(a kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm) crypto.Hash {
	name := a.String()
	switch name[strings.LastIndex(name, "_")+1:] {
	case "SHA1":
		return crypto.SHA1
	case "SHA224":
		return crypto.SHA224
	case "SHA256":
		return crypto.SHA256
	case "SHA384":
		return crypto.SHA384
	case "SHA512":
		return crypto.SHA512
	}
	return 0
}

// AsymmetricSign signs a digest of the key's hash, or data where the algorithm takes them as they are.
func (k *KMS) AsymmetricSign(_ context.Context, in *kmspb.AsymmetricSignRequest) (*kmspb.AsymmetricSignResponse, error) {
	v, err := k.usable(in.GetName(), kmspb.CryptoKey_ASYMMETRIC_SIGN)
	if err != nil {
		return nil, err
	}
	a := v.meta.GetAlgorithm()
	name := a.String()
	direct := strings.HasPrefix(name, "RSA_SIGN_RAW_PKCS1_") || a == kmspb.CryptoKeyVersion_EC_SIGN_ED25519 ||
		strings.HasPrefix(name, "PQ_SIGN_ML_DSA_") && !strings.HasSuffix(name, "_EXTERNAL_MU")
	var digest []byte
	switch d := in.GetDigest().GetDigest().(type) {
	case nil:
	case *kmspb.Digest_Sha256:
		digest, err = exactly(d.Sha256, hashOf(a), crypto.SHA256)
	case *kmspb.Digest_Sha384:
		digest, err = exactly(d.Sha384, hashOf(a), crypto.SHA384)
	case *kmspb.Digest_Sha512:
		digest, err = exactly(d.Sha512, hashOf(a), crypto.SHA512)
	case *kmspb.Digest_ExternalMu:
		if digest = d.ExternalMu; len(digest) != 64 || !strings.HasSuffix(name, "_EXTERNAL_MU") {
			err = refuse(codes.InvalidArgument, "The algorithm %s takes no external_mu, or it has not 64 bytes.", a)
		}
	default:
		err = refuse(codes.InvalidArgument, "The digest's type is not supported.")
	}
	switch {
	case err != nil:
		return nil, err
	case (in.GetDigest() == nil) == (len(in.GetData()) == 0):
		return nil, refuse(codes.InvalidArgument, "Exactly one of digest and data must be given.")
	case direct != (digest == nil):
		return nil, refuse(codes.InvalidArgument, "The algorithm %s needs the other one of digest and data.", a)
	case len(in.GetData()) > v.limit():
		return nil, refuse(codes.InvalidArgument, "The data must be no larger than %d bytes.", v.limit())
	}
	checkedDigest, err := arrived("digest", digest, in.GetDigestCrc32C())
	if err != nil {
		return nil, err
	}
	checkedData, err := arrived("data", in.GetData(), in.GetDataCrc32C())
	if err != nil {
		return nil, err
	}
	made, err := v.sign(digest, in.GetData())
	if err != nil {
		return nil, refuse(codes.InvalidArgument, "%v", err)
	}
	return &kmspb.AsymmetricSignResponse{
		Signature: made, SignatureCrc32C: sum(made), Name: in.GetName(), ProtectionLevel: v.meta.GetProtectionLevel(),
		VerifiedDigestCrc32C: checkedDigest, VerifiedDataCrc32C: checkedData,
	}, nil
}

func exactly(digest []byte, want, given crypto.Hash) ([]byte, error) {
	if want != given || len(digest) != want.Size() {
		return nil, refuse(codes.InvalidArgument, "The digest must be one of the key's hash, %v, and have its length.", want)
	}
	return digest, nil
}

func (v version) sign(digest, data []byte) ([]byte, error) {
	a := v.meta.GetAlgorithm()
	switch private := v.material.(type) {
	case *rsa.PrivateKey:
		if strings.HasPrefix(a.String(), "RSA_SIGN_PSS_") {
			return rsa.SignPSS(rand.Reader, private, hashOf(a), digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		if digest == nil {
			return rsa.SignPKCS1v15(rand.Reader, private, 0, data)
		}
		return rsa.SignPKCS1v15(rand.Reader, private, hashOf(a), digest)
	case *ecdsa.PrivateKey:
		return ecdsa.SignASN1(rand.Reader, private, digest)
	case ed25519.PrivateKey:
		return ed25519.Sign(private, data), nil
	case *mldsa.PrivateKey:
		if digest != nil {
			return private.Sign(nil, digest, mldsacrypto.MLDSAMu)
		}
		return private.Sign(nil, data, nil)
	}
	return nil, refuse(codes.Internal, "no key")
}

// AsymmetricDecrypt decrypts RSA-OAEP with the key's hash for data and mask, and an empty label.
func (k *KMS) AsymmetricDecrypt(_ context.Context, in *kmspb.AsymmetricDecryptRequest) (*kmspb.AsymmetricDecryptResponse, error) {
	v, err := k.usable(in.GetName(), kmspb.CryptoKey_ASYMMETRIC_DECRYPT)
	if err != nil {
		return nil, err
	}
	checked, err := arrived("ciphertext", in.GetCiphertext(), in.GetCiphertextCrc32C())
	if err != nil {
		return nil, err
	}
	private, ok := v.material.(*rsa.PrivateKey)
	if !ok {
		return nil, refuse(codes.Internal, "no key")
	}
	plaintext, err := rsa.DecryptOAEP(hashOf(v.meta.GetAlgorithm()).New(), nil, private, in.GetCiphertext(), nil)
	if err != nil || len(in.GetCiphertext()) != private.Size() {
		return nil, refuse(codes.InvalidArgument, "Decryption failed: the ciphertext is invalid.")
	}
	return &kmspb.AsymmetricDecryptResponse{
		Plaintext: plaintext, PlaintextCrc32C: sum(plaintext), VerifiedCiphertextCrc32C: checked, ProtectionLevel: v.meta.GetProtectionLevel(),
	}, nil
}

// MacSign computes an HMAC.
func (k *KMS) MacSign(_ context.Context, in *kmspb.MacSignRequest) (*kmspb.MacSignResponse, error) {
	v, err := k.usable(in.GetName(), kmspb.CryptoKey_MAC)
	if err != nil {
		return nil, err
	}
	if len(in.GetData()) == 0 || len(in.GetData()) > v.limit() {
		return nil, refuse(codes.InvalidArgument, "The data must have 1 to %d bytes.", v.limit())
	}
	checked, err := arrived("data", in.GetData(), in.GetDataCrc32C())
	if err != nil {
		return nil, err
	}
	h := hmac.New(newHash(hashOf(v.meta.GetAlgorithm())), v.material.([]byte))
	h.Write(in.GetData())
	mac := h.Sum(nil)
	return &kmspb.MacSignResponse{Name: in.GetName(), Mac: mac, MacCrc32C: sum(mac), VerifiedDataCrc32C: checked, ProtectionLevel: v.meta.GetProtectionLevel()}, nil
}

func newHash(h crypto.Hash) func() hash.Hash {
	switch h {
	case crypto.SHA224:
		return sha256.New224
	case crypto.SHA384:
		return sha512.New384
	}
	return h.New
}

// RawEncrypt encrypts with AES. For GCM the service chooses the IV.
func (k *KMS) RawEncrypt(_ context.Context, in *kmspb.RawEncryptRequest) (*kmspb.RawEncryptResponse, error) {
	v, err := k.usable(in.GetName(), kmspb.CryptoKey_RAW_ENCRYPT_DECRYPT)
	if err != nil {
		return nil, err
	}
	mode, iv := v.mode(), in.GetInitializationVector()
	switch {
	case len(in.GetPlaintext()) == 0 || len(in.GetPlaintext()) > v.limit():
		return nil, refuse(codes.InvalidArgument, "The plaintext must have 1 to %d bytes.", v.limit())
	case mode == "GCM" && len(iv) > 0:
		return nil, refuse(codes.InvalidArgument, "The initialization vector must not be given for AES-GCM.")
	case mode != "GCM" && len(iv) != 0 && len(iv) != aes.BlockSize:
		return nil, refuse(codes.InvalidArgument, "The initialization vector must have %d bytes.", aes.BlockSize)
	case mode != "GCM" && len(in.GetAdditionalAuthenticatedData()) > 0:
		return nil, refuse(codes.InvalidArgument, "Additional authenticated data is for AES-GCM.")
	case mode == "CBC" && len(in.GetPlaintext())%aes.BlockSize != 0:
		return nil, refuse(codes.InvalidArgument, "The plaintext must be a multiple of the block size.")
	}
	out := &kmspb.RawEncryptResponse{Name: in.GetName(), ProtectionLevel: v.meta.GetProtectionLevel()}
	if out.VerifiedPlaintextCrc32C, err = arrived("plaintext", in.GetPlaintext(), in.GetPlaintextCrc32C()); err != nil {
		return nil, err
	}
	if out.VerifiedInitializationVectorCrc32C, err = arrived("initialization_vector", iv, in.GetInitializationVectorCrc32C()); err != nil {
		return nil, err
	}
	if out.VerifiedAdditionalAuthenticatedDataCrc32C, err = arrived("additional_authenticated_data", in.GetAdditionalAuthenticatedData(), in.GetAdditionalAuthenticatedDataCrc32C()); err != nil {
		return nil, err
	}
	if len(iv) == 0 {
		iv = make([]byte, map[string]int{"GCM": 12, "CBC": 16, "CTR": 16}[mode])
		_, _ = rand.Read(iv)
	}
	block, err := aes.NewCipher(v.material.([]byte))
	if err != nil {
		return nil, refuse(codes.Internal, "%v", err)
	}
	switch mode {
	case "GCM":
		aead, _ := cipher.NewGCM(block)
		out.Ciphertext, out.TagLength = aead.Seal(nil, iv, in.GetPlaintext(), in.GetAdditionalAuthenticatedData()), 16
	case "CBC":
		out.Ciphertext = make([]byte, len(in.GetPlaintext()))
		cipher.NewCBCEncrypter(block, iv).CryptBlocks(out.Ciphertext, in.GetPlaintext())
	default:
		out.Ciphertext = make([]byte, len(in.GetPlaintext()))
		cipher.NewCTR(block, iv).XORKeyStream(out.Ciphertext, in.GetPlaintext())
	}
	out.CiphertextCrc32C = sum(out.Ciphertext)
	out.InitializationVector, out.InitializationVectorCrc32C = iv, sum(iv)
	return out, nil
}

// RawDecrypt decrypts with AES.
func (k *KMS) RawDecrypt(_ context.Context, in *kmspb.RawDecryptRequest) (*kmspb.RawDecryptResponse, error) {
	v, err := k.usable(in.GetName(), kmspb.CryptoKey_RAW_ENCRYPT_DECRYPT)
	if err != nil {
		return nil, err
	}
	mode, iv, ciphertext := v.mode(), in.GetInitializationVector(), in.GetCiphertext()
	overhead := 0
	if mode == "GCM" {
		overhead = 16
	}
	switch {
	case len(ciphertext) == 0 || len(ciphertext) > v.limit()+overhead:
		return nil, refuse(codes.InvalidArgument, "The ciphertext must have 1 to %d bytes.", v.limit()+overhead)
	case mode == "GCM" && (len(iv) != 12 || in.GetTagLength() != 0 && in.GetTagLength() != 16):
		return nil, refuse(codes.InvalidArgument, "AES-GCM takes an initialization vector of 12 bytes and a tag of 16.")
	case mode != "GCM" && (len(iv) != aes.BlockSize || in.GetTagLength() != 0 || len(in.GetAdditionalAuthenticatedData()) > 0):
		return nil, refuse(codes.InvalidArgument, "AES-%s takes an initialization vector of 16 bytes, no tag and no additional authenticated data.", mode)
	case mode == "CBC" && len(ciphertext)%aes.BlockSize != 0:
		return nil, refuse(codes.InvalidArgument, "The ciphertext must be a multiple of the block size.")
	}
	out := &kmspb.RawDecryptResponse{ProtectionLevel: v.meta.GetProtectionLevel()}
	if out.VerifiedCiphertextCrc32C, err = arrived("ciphertext", ciphertext, in.GetCiphertextCrc32C()); err != nil {
		return nil, err
	}
	if out.VerifiedInitializationVectorCrc32C, err = arrived("initialization_vector", iv, in.GetInitializationVectorCrc32C()); err != nil {
		return nil, err
	}
	if out.VerifiedAdditionalAuthenticatedDataCrc32C, err = arrived("additional_authenticated_data", in.GetAdditionalAuthenticatedData(), in.GetAdditionalAuthenticatedDataCrc32C()); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(v.material.([]byte))
	if err != nil {
		return nil, refuse(codes.Internal, "%v", err)
	}
	switch mode {
	case "GCM":
		aead, _ := cipher.NewGCM(block)
		if out.Plaintext, err = aead.Open(nil, iv, ciphertext, in.GetAdditionalAuthenticatedData()); err != nil {
			return nil, refuse(codes.InvalidArgument, "Decryption failed: the ciphertext is invalid.")
		}
	case "CBC":
		out.Plaintext = make([]byte, len(ciphertext))
		cipher.NewCBCDecrypter(block, iv).CryptBlocks(out.Plaintext, ciphertext)
	default:
		out.Plaintext = make([]byte, len(ciphertext))
		cipher.NewCTR(block, iv).XORKeyStream(out.Plaintext, ciphertext)
	}
	out.PlaintextCrc32C = sum(out.Plaintext)
	return out, nil
}

func (v version) mode() string {
	name := v.meta.GetAlgorithm().String()
	return name[strings.LastIndex(name, "_")+1:]
}

// GenerateRandomBytes asks the HSMs, which not all locations have.
func (k *KMS) GenerateRandomBytes(_ context.Context, in *kmspb.GenerateRandomBytesRequest) (*kmspb.GenerateRandomBytesResponse, error) {
	switch {
	case !strings.HasPrefix(KeyRing, in.GetLocation()+"/keyRings/"):
		return nil, refuse(codes.NotFound, "Location %s not found.", in.GetLocation())
	case in.GetLengthBytes() < 8 || in.GetLengthBytes() > 1024:
		return nil, refuse(codes.InvalidArgument, "length_bytes must be between 8 and 1024.")
	case in.GetProtectionLevel() != kmspb.ProtectionLevel_HSM:
		return nil, refuse(codes.InvalidArgument, "Only the protection level HSM is supported.")
	}
	data := make([]byte, in.GetLengthBytes())
	_, _ = rand.Read(data)
	return &kmspb.GenerateRandomBytesResponse{Data: data, DataCrc32C: sum(data)}, nil
}
