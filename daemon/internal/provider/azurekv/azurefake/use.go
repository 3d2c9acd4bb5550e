package azurefake

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // RSA-OAEP
	_ "crypto/sha512"
	"net/http"
	"strings"
)

// operand is the body of sign, decrypt and encrypt.
type operand struct {
	Algorithm string `json:"alg"`
	Value     number `json:"value"`
	IV        number `json:"iv"`
	AAD       number `json:"aad"`
	Tag       number `json:"tag"`
}

var digests = map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}

// use signs, decrypts or encrypts.
func (v *Vault) use(r *http.Request, c call) (any, *refusal) {
	var in operand
	if wrong := body(r, &in); wrong != nil {
		return nil, wrong
	}
	v.mu.Lock()
	e, k, wrong := v.find(c)
	if wrong == nil {
		wrong = k.usable(c.operation, v.options.Now())
	}
	v.mu.Unlock()
	if wrong != nil {
		return nil, wrong
	}
	answer := map[string]any{"kid": v.id(r, e, k.Version)}
	var value []byte
	switch {
	case c.operation == "sign":
		value, wrong = k.sign(in)
	case k.secret != nil:
		value, wrong = k.symmetric(c.operation, in, answer)
	case c.operation == "encrypt":
		wrong = bad("the fake leaves encryption with public keys to those who have them")
	default:
		value, wrong = k.decrypt(in)
	}
	if wrong != nil {
		return nil, wrong
	}
	answer["value"] = number(value)
	return answer, nil
}

// sign wants a digest of exactly the algorithm's length.
func (k *Key) sign(in operand) ([]byte, *refusal) {
	if len(in.Algorithm) < 5 || in.IV != nil || in.AAD != nil || in.Tag != nil {
		return nil, bad("Property alg has invalid value " + in.Algorithm)
	}
	hash, ok := digests[in.Algorithm[2:]]
	if !ok {
		return nil, bad("Property alg has invalid value " + in.Algorithm)
	}
	if len(in.Value) != hash.Size() {
		return nil, bad("Property value has an invalid length: the digest does not fit the algorithm")
	}
	var out []byte
	var err error
	switch kind := in.Algorithm[:2]; {
	case kind == "RS" && k.rsa != nil:
		out, err = rsa.SignPKCS1v15(rand.Reader, k.rsa, hash, in.Value)
	case kind == "PS" && k.rsa != nil:
		out, err = rsa.SignPSS(rand.Reader, k.rsa, hash, in.Value, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash})
	case k.ec != nil && in.Algorithm == map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[k.ec.Params().Name]:
		r, s, failed := ecdsa.Sign(rand.Reader, k.ec, in.Value)
		if err = failed; err == nil {
			size := (k.ec.Params().BitSize + 7) / 8
			out = append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
		}
	default:
		return nil, bad("Key and signing algorithm are incompatible. Key type is '" + k.Kty + "', algorithm is '" + in.Algorithm + "'.")
	}
	if err != nil {
		return nil, bad(err.Error())
	}
	return out, nil
}

// decrypt decrypts with RSA.
func (k *Key) decrypt(in operand) ([]byte, *refusal) {
	if k.rsa == nil || in.IV != nil || in.AAD != nil || in.Tag != nil || len(in.Value) != k.rsa.Size() {
		return nil, bad("The parameter is incorrect.\r\n")
	}
	var out []byte
	var err error
	switch in.Algorithm {
	case "RSA1_5":
		//lint:ignore SA1019 the service does it, too
		out, err = rsa.DecryptPKCS1v15(nil, k.rsa, in.Value)
	case "RSA-OAEP":
		out, err = k.rsa.Decrypt(nil, in.Value, &rsa.OAEPOptions{Hash: crypto.SHA1})
	case "RSA-OAEP-256":
		out, err = k.rsa.Decrypt(nil, in.Value, &rsa.OAEPOptions{Hash: crypto.SHA256})
	default:
		return nil, bad("Property alg has invalid value " + in.Algorithm)
	}
	if err != nil {
		return nil, bad("The parameter is incorrect.\r\n")
	}
	return out, nil
}

// symmetric does AES. In GCM the service chooses the initialisation vector.
func (k *Key) symmetric(operation string, in operand, answer map[string]any) ([]byte, *refusal) {
	block, err := aes.NewCipher(k.secret)
	if err != nil {
		return nil, bad(err.Error())
	}
	mode, ok := strings.CutPrefix(in.Algorithm, map[int]string{16: "A128", 24: "A192", 32: "A256"}[len(k.secret)])
	if !ok {
		return nil, bad("Key and algorithm are incompatible: " + in.Algorithm)
	}
	if mode == "GCM" {
		return gcm(block, operation, in, answer)
	}
	data := bytes.Clone(in.Value)
	if mode == "CBCPAD" && operation == "encrypt" {
		n := aes.BlockSize - len(data)%aes.BlockSize
		data = append(data, bytes.Repeat([]byte{byte(n)}, n)...)
	}
	if mode != "CBC" && mode != "CBCPAD" || len(in.IV) != aes.BlockSize || in.AAD != nil || in.Tag != nil ||
		len(data) == 0 || len(data)%aes.BlockSize != 0 {
		return nil, bad("The parameter is incorrect.\r\n")
	}
	answer["iv"] = in.IV
	if operation == "encrypt" {
		cipher.NewCBCEncrypter(block, in.IV).CryptBlocks(data, data)
		return data, nil
	}
	cipher.NewCBCDecrypter(block, in.IV).CryptBlocks(data, data)
	if mode == "CBC" {
		return data, nil
	}
	n := int(data[len(data)-1])
	if n < 1 || n > aes.BlockSize || !bytes.HasSuffix(data, bytes.Repeat([]byte{byte(n)}, n)) {
		return nil, bad("The parameter is incorrect.\r\n")
	}
	return data[:len(data)-n], nil
}

func gcm(block cipher.Block, operation string, in operand, answer map[string]any) ([]byte, *refusal) {
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, bad(err.Error())
	}
	if operation == "encrypt" {
		if in.IV != nil || in.Tag != nil {
			return nil, bad("The initialisation vector of an authenticated algorithm is chosen by the service")
		}
		iv := make([]byte, aead.NonceSize())
		_, _ = rand.Read(iv)
		sealed := aead.Seal(nil, iv, in.Value, in.AAD)
		cut := len(sealed) - aead.Overhead()
		answer["iv"], answer["tag"] = number(iv), number(sealed[cut:])
		return sealed[:cut], nil
	}
	if len(in.IV) != aead.NonceSize() || len(in.Tag) != aead.Overhead() {
		return nil, bad("The parameter is incorrect.\r\n")
	}
	out, err := aead.Open(nil, in.IV, append(bytes.Clone(in.Value), in.Tag...), in.AAD)
	if err != nil {
		return nil, bad("The parameter is incorrect.\r\n")
	}
	return out, nil
}

// random gives at most 128 bytes.
func (v *Vault) random(r *http.Request) (any, *refusal) {
	var in struct {
		Count int `json:"count"`
	}
	if wrong := body(r, &in); wrong != nil {
		return nil, wrong
	}
	if in.Count < 1 || in.Count > 128 {
		return nil, bad("Property count has invalid value: 1 to 128")
	}
	out := make([]byte, in.Count)
	_, _ = rand.Read(out)
	return map[string]any{"value": number(out)}, nil
}
