package awsfake

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"hash"
	"slices"
	"strings"

	"filippo.io/mldsa/mldsacrypto"
)

// maxMessage bounds Sign and GenerateMac.
const maxMessage = 4096

// use finds a key that is ready for a use.
func (k *KMS) use(name, usage string) (*key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	found, err := k.find(name, true)
	if err != nil {
		return nil, err
	}
	if err := k.ready(found); err != nil {
		return nil, err
	}
	if found.usage != usage {
		return nil, refuse("InvalidKeyUsageException", "%s key usage is %s which is not valid for this operation.", k.arn(found.id), found.usage)
	}
	return found, nil
}

type signInput struct {
	KeyId, SigningAlgorithm, MessageType string
	Message                              []byte
	GrantTokens                          []string
	DryRun                               *bool
}

type signOutput struct {
	KeyId, SigningAlgorithm string
	Signature               []byte
}

var hashes = map[string]crypto.Hash{"SHA_224": crypto.SHA224, "SHA_256": crypto.SHA256, "SHA_384": crypto.SHA384, "SHA_512": crypto.SHA512}

func (k *KMS) sign(in signInput) (signOutput, error) {
	if len(in.Message) < 1 || len(in.Message) > maxMessage {
		return signOutput{}, invalid("1 validation error detected: Value at 'message' failed to satisfy constraint: Member must have length between 1 and 4096")
	}
	key, err := k.use(in.KeyId, "SIGN_VERIFY")
	if err != nil {
		return signOutput{}, err
	}
	if !slices.Contains(key.signing(), in.SigningAlgorithm) {
		return signOutput{}, refuse("InvalidKeyUsageException", "Algorithm %s is incompatible with key spec %s.", in.SigningAlgorithm, key.spec)
	}
	if in.MessageType == "" {
		in.MessageType = "RAW"
	}
	out := signOutput{KeyId: k.arn(key.id), SigningAlgorithm: in.SigningAlgorithm}
	if key.spec == "ECC_NIST_EDWARDS25519" {
		options := crypto.Hash(0)
		switch {
		case in.SigningAlgorithm == "ED25519_SHA_512" && in.MessageType != "RAW":
			return signOutput{}, invalid("MessageType %s is not valid for %s", in.MessageType, in.SigningAlgorithm)
		case in.SigningAlgorithm == "ED25519_PH_SHA_512":
			if options = crypto.SHA512; in.MessageType != "DIGEST" || len(in.Message) != options.Size() {
				return signOutput{}, invalid("Digest is invalid length for algorithm %s.", in.SigningAlgorithm)
			}
		}
		out.Signature, err = key.private.Sign(rand.Reader, in.Message, options)
		return out, err
	}
	if key.lattice() {
		options := crypto.SignerOpts(crypto.Hash(0))
		switch {
		case in.MessageType == "EXTERNAL_MU" && len(in.Message) != 64:
			return signOutput{}, invalid("The length of the message must be 64 bytes for the message type EXTERNAL_MU.")
		case in.MessageType == "EXTERNAL_MU":
			options = mldsacrypto.MLDSAMu
		case in.MessageType != "RAW":
			return signOutput{}, invalid("MessageType %s is not valid for %s", in.MessageType, in.SigningAlgorithm)
		}
		out.Signature, err = key.private.Sign(rand.Reader, in.Message, options)
		return out, err
	}
	h := hashes[in.SigningAlgorithm[len(in.SigningAlgorithm)-7:]]
	digest := in.Message
	switch in.MessageType {
	case "RAW":
		d := h.New()
		d.Write(in.Message)
		digest = d.Sum(nil)
	case "DIGEST":
		if len(digest) != h.Size() {
			return signOutput{}, invalid("Digest is invalid length for algorithm %s.", in.SigningAlgorithm)
		}
	default:
		return signOutput{}, invalid("Value '%s' at 'messageType' failed to satisfy constraint", in.MessageType)
	}
	var options crypto.SignerOpts = h
	if strings.HasPrefix(in.SigningAlgorithm, "RSASSA_PSS") {
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: h}
	}
	// A signer of an EC key answers in DER, as KMS does.
	out.Signature, err = key.private.Sign(rand.Reader, digest, options)
	return out, err
}

type macInput struct {
	KeyId, MacAlgorithm string
	Message             []byte
	GrantTokens         []string
	DryRun              *bool
}

type macOutput struct {
	KeyId, MacAlgorithm string
	Mac                 []byte
}

func (k *KMS) generateMac(in macInput) (macOutput, error) {
	if len(in.Message) < 1 || len(in.Message) > maxMessage {
		return macOutput{}, invalid("1 validation error detected: Value at 'message' failed to satisfy constraint: Member must have length between 1 and 4096")
	}
	key, err := k.use(in.KeyId, "GENERATE_VERIFY_MAC")
	if err != nil {
		return macOutput{}, err
	}
	if !slices.Contains(key.macs(), in.MacAlgorithm) {
		return macOutput{}, refuse("InvalidKeyUsageException", "Algorithm %s is incompatible with key spec %s.", in.MacAlgorithm, key.spec)
	}
	mac := hmac.New(hashes[strings.TrimPrefix(in.MacAlgorithm, "HMAC_")].New, key.secret)
	mac.Write(in.Message)
	return macOutput{k.arn(key.id), in.MacAlgorithm, mac.Sum(nil)}, nil
}

type decryptInput struct {
	KeyId, EncryptionAlgorithm string
	CiphertextBlob             []byte
	EncryptionContext          map[string]string
	GrantTokens                []string
	DryRun                     *bool
}

type decryptOutput struct {
	KeyId, EncryptionAlgorithm string
	Plaintext                  []byte
}

func (k *KMS) decrypt(in decryptInput) (decryptOutput, error) {
	if len(in.CiphertextBlob) < 1 || len(in.CiphertextBlob) > 6144 {
		return decryptOutput{}, invalid("1 validation error detected: Value at 'ciphertextBlob' failed to satisfy constraint: Member must have length between 1 and 6144")
	}
	if in.KeyId == "" {
		return decryptOutput{}, refuse("InvalidCiphertextException", "")
	}
	key, err := k.use(in.KeyId, "ENCRYPT_DECRYPT")
	if err != nil {
		return decryptOutput{}, err
	}
	private, ok := key.private.(*rsa.PrivateKey)
	if !slices.Contains(key.encryption(), in.EncryptionAlgorithm) || !ok {
		return decryptOutput{}, refuse("InvalidKeyUsageException", "Algorithm %s is incompatible with key spec %s.", in.EncryptionAlgorithm, key.spec)
	}
	var h hash.Hash = sha1.New()
	if in.EncryptionAlgorithm == "RSAES_OAEP_SHA_256" {
		h = sha256.New()
	}
	plaintext, err := rsa.DecryptOAEP(h, nil, private, in.CiphertextBlob, nil)
	if err != nil {
		return decryptOutput{}, refuse("InvalidCiphertextException", "")
	}
	return decryptOutput{k.arn(key.id), in.EncryptionAlgorithm, plaintext}, nil
}

type deriveInput struct {
	KeyId, KeyAgreementAlgorithm string
	PublicKey                    []byte
	GrantTokens                  []string
	DryRun                       *bool
}

type deriveOutput struct {
	KeyId, KeyAgreementAlgorithm, KeyOrigin string
	SharedSecret                            []byte
}

func (k *KMS) deriveSharedSecret(in deriveInput) (deriveOutput, error) {
	if len(in.PublicKey) < 1 || len(in.PublicKey) > 8192 {
		return deriveOutput{}, invalid("1 validation error detected: Value at 'publicKey' failed to satisfy constraint")
	}
	key, err := k.use(in.KeyId, "KEY_AGREEMENT")
	if err != nil {
		return deriveOutput{}, err
	}
	if in.KeyAgreementAlgorithm != "ECDH" {
		return deriveOutput{}, invalid("Value '%s' at 'keyAgreementAlgorithm' failed to satisfy constraint", in.KeyAgreementAlgorithm)
	}
	own := key.private.(*ecdsa.PrivateKey)
	parsed, err := x509.ParsePKIXPublicKey(in.PublicKey)
	other, ok := parsed.(*ecdsa.PublicKey)
	if err != nil || !ok || other.Curve != own.Curve {
		return deriveOutput{}, invalid("The public key is not a DER-encoded X.509 public key on the curve of %s", key.spec)
	}
	secret, err := must(own.ECDH()).ECDH(must(other.ECDH()))
	return deriveOutput{k.arn(key.id), in.KeyAgreementAlgorithm, key.origin, secret}, err
}

type randomInput struct{ NumberOfBytes *int }

type randomOutput struct{ Plaintext []byte }

func (k *KMS) generateRandom(in randomInput) (randomOutput, error) {
	if in.NumberOfBytes == nil || *in.NumberOfBytes < 1 || *in.NumberOfBytes > 1024 {
		return randomOutput{}, invalid("1 validation error detected: Value at 'numberOfBytes' failed to satisfy constraint: Member must have value between 1 and 1024")
	}
	out := randomOutput{make([]byte, *in.NumberOfBytes)}
	rand.Read(out.Plaintext)
	return out, nil
}
