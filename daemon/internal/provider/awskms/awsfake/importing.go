package awsfake

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"time"
)

// importToken is what an import token is for.
type importToken struct {
	key     string
	expires time.Time
}

type parametersInput struct{ KeyId, WrappingAlgorithm, WrappingKeySpec string }

type parametersOutput struct {
	KeyId                  string
	ImportToken, PublicKey []byte
	ParametersValidTo      float64
}

func (k *KMS) getParametersForImport(in parametersInput) (parametersOutput, error) {
	if in.WrappingAlgorithm != "RSA_AES_KEY_WRAP_SHA_256" || in.WrappingKeySpec != "RSA_4096" {
		return parametersOutput{}, refuse("UnsupportedOperationException", "the fake wraps with RSA_AES_KEY_WRAP_SHA_256 and RSA_4096 alone")
	}
	public, now := must(x509.MarshalPKIXPublicKey(wrapping().Public())), k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	found, err := k.find(in.KeyId, false)
	if err != nil {
		return parametersOutput{}, err
	}
	if found.origin != "EXTERNAL" {
		return parametersOutput{}, refuse("UnsupportedOperationException", "%s origin is AWS_KMS which is not valid for this operation.", k.arn(found.id))
	}
	if found.state == "PendingDeletion" {
		return parametersOutput{}, k.ready(found)
	}
	token := make([]byte, 64)
	rand.Read(token)
	k.tokens[string(token)] = importToken{key: found.id, expires: now.Add(24 * time.Hour)}
	return parametersOutput{k.arn(found.id), token, public, float64(now.Add(24 * time.Hour).Unix())}, nil
}

type importInput struct {
	KeyId, ExpirationModel, ImportType string
	ImportToken, EncryptedKeyMaterial  []byte
	ValidTo                            *float64
}

type importOutput struct{ KeyId string }

func (k *KMS) importKeyMaterial(in importInput) (importOutput, error) {
	for _, blob := range [][]byte{in.ImportToken, in.EncryptedKeyMaterial} {
		if len(blob) < 1 || len(blob) > 6144 {
			return importOutput{}, invalid("1 validation error detected: a blob has not 1 to 6144 bytes")
		}
	}
	if in.ExpirationModel != "KEY_MATERIAL_DOES_NOT_EXPIRE" && in.ValidTo == nil {
		return importOutput{}, invalid("A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES")
	}
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	found, err := k.find(in.KeyId, false)
	if err != nil {
		return importOutput{}, err
	}
	token, ok := k.tokens[string(in.ImportToken)]
	switch {
	case found.origin != "EXTERNAL":
		return importOutput{}, refuse("UnsupportedOperationException", "%s origin is AWS_KMS which is not valid for this operation.", k.arn(found.id))
	case found.state != "PendingImport" && found.state != "Enabled":
		return importOutput{}, k.ready(found)
	case !ok || token.key != found.id:
		return importOutput{}, refuse("InvalidImportTokenException", "the import token is not one of this key")
	case now.After(token.expires):
		return importOutput{}, refuse("ExpiredImportTokenException", "the import token has expired")
	}
	value, err := unwrap(wrapping(), in.EncryptedKeyMaterial)
	if err != nil {
		return importOutput{}, refuse("InvalidCiphertextException", "")
	}
	filled := *found
	if err := filled.take(value); err != nil {
		return importOutput{}, refuse("IncorrectKeyMaterialException", "%v", err)
	}
	if found.state == "Enabled" && !filled.same(found) {
		return importOutput{}, refuse("IncorrectKeyMaterialException", "the key material is not the one that was imported before")
	}
	found.private, found.secret, found.state = filled.private, filled.secret, "Enabled"
	return importOutput{k.arn(found.id)}, nil
}

// take reads key material, which must be of the key's kind.
func (k *key) take(value []byte) error {
	if length := secretLength[k.spec]; length > 0 {
		if len(value) != length {
			return errors.New("the key material has another length than the key spec")
		}
		k.secret = value
		return nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(value)
	if err != nil {
		return errors.New("the key material is no PKCS#8 private key")
	}
	ok := false
	switch private := parsed.(type) {
	case *rsa.PrivateKey:
		ok = private.N.BitLen() == bitsOf[k.spec]
	case *ecdsa.PrivateKey:
		ok = private.Curve == curveOf[k.spec]
	case ed25519.PrivateKey:
		ok = k.spec == "ECC_NIST_EDWARDS25519"
	}
	if !ok {
		return errors.New("the key material is of another kind than the key spec")
	}
	k.private = parsed.(crypto.Signer)
	return nil
}

func (k *key) same(other *key) bool {
	if k.private == nil {
		return bytes.Equal(k.secret, other.secret)
	}
	return bytes.Equal(must(k.spki()), must(other.spki()))
}

// unwrap undoes RSA_AES_KEY_WRAP_SHA_256. It is written by RFC 5649 on its own, so that the provider's wrapping is
// checked by another hand.
func unwrap(private *rsa.PrivateKey, wrapped []byte) ([]byte, error) {
	if len(wrapped) < private.Size()+16 {
		return nil, errors.New("too short")
	}
	kek, err := rsa.DecryptOAEP(sha256.New(), nil, private, wrapped[:private.Size()], nil)
	if err != nil {
		return nil, err
	}
	if len(kek) != 32 {
		return nil, errors.New("the wrapping key is none of AES-256")
	}
	return unwrapPadded(kek, wrapped[private.Size():])
}

func unwrapPadded(kek, wrapped []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	if len(wrapped) < 16 || len(wrapped)%8 != 0 {
		return nil, errors.New("no whole blocks")
	}
	plain := bytes.Clone(wrapped)
	if n := len(wrapped)/8 - 1; n == 1 {
		block.Decrypt(plain, plain)
	} else {
		a, r := bytes.Clone(wrapped[:8]), plain[8:]
		for t := 6 * n; t >= 1; t-- {
			i := (t - 1) % n
			var buffer [16]byte
			binary.BigEndian.PutUint64(buffer[:8], binary.BigEndian.Uint64(a)^uint64(t))
			copy(buffer[8:], r[8*i:8*i+8])
			block.Decrypt(buffer[:], buffer[:])
			copy(a, buffer[:8])
			copy(r[8*i:], buffer[8:])
		}
		copy(plain, a)
	}
	length := int(binary.BigEndian.Uint32(plain[4:]))
	rest := len(plain) - 8 - length
	if !bytes.Equal(plain[:4], []byte{0xa6, 0x59, 0x59, 0xa6}) || rest < 0 || rest > 7 || !bytes.Equal(plain[8+length:], make([]byte, rest)) {
		return nil, errors.New("the integrity check fails")
	}
	return plain[8 : 8+length], nil
}
