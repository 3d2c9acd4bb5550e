package vault

import (
	"context"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/signature"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// signing is the body of a request to sign.
type signing struct {
	Input     string `json:"input"`
	Version   int    `json:"key_version"`
	Prehashed bool   `json:"prehashed,omitempty"`
	Hash      string `json:"hash_algorithm,omitempty"`
	Algorithm string `json:"signature_algorithm,omitempty"`
	Salt      string `json:"salt_length,omitempty"`
}

// Sign signs, or computes a MAC.
func (k *key) Sign(ctx context.Context, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	if err := k.check(ctx, m, cryptoki.CKF_SIGN); err != nil {
		return nil, err
	}
	if k.spec.keyType == cryptoki.CKK_GENERIC_SECRET {
		return k.mac(ctx, m, data)
	}
	in := signing{Version: k.ref.version, Prehashed: true}
	switch m.Type {
	case cryptoki.CKM_RSA_PKCS:
		if most := int(k.spec.bits/8) - 11; len(data) > most {
			return nil, fault.New(fault.DataLenRange, "%d bytes are more than the %d that fit under the padding of this key", len(data), most)
		}
		in.Hash, in.Algorithm = "none", "pkcs1v15"
	case cryptoki.CKM_RSA_PKCS_PSS:
		params := m.Params.(cryptoki.PSSParams)
		h, _ := mechanism.HashOf(params.Hash)
		if len(data) != h.Size() {
			return nil, fault.New(fault.DataLenRange, "a digest of %s has %d bytes, not %d", params.Hash, h.Size(), len(data))
		}
		if most := k.spec.bits/8 - 2 - uint64(h.Size()); params.SaltLength > most {
			return nil, fault.New(fault.MechanismParamInvalid, "a salt of %d bytes is more than the %d that this key takes with %s", params.SaltLength, most, params.Hash)
		}
		in.Hash, _ = hashNamed(params.Hash)
		in.Algorithm, in.Salt = "pss", strconv.FormatUint(params.SaltLength, 10)
	case cryptoki.CKM_ECDSA:
		if len(data) == 0 {
			return nil, fault.New(fault.DataLenRange, "there is no digest to sign")
		}
		// The engine takes the leftmost bits itself; more than it needs is not worth the way.
		on, _ := curve.ByName(k.spec.curve)
		data = data[:min(len(data), on.Bytes())]
	case cryptoki.CKM_EDDSA:
		if len(data) > maxData {
			return nil, tooLong(len(data))
		}
		in.Prehashed = false
	}
	in.Input = base64.StdEncoding.EncodeToString(data)
	var out struct {
		Signature string `json:"signature"`
	}
	r := request{action: actionSign, key: k.ref.name, method: http.MethodPost, path: k.provider.path("sign", k.ref.name), in: in}
	if err := k.provider.call(ctx, r, &out); err != nil {
		return nil, k.settle(err)
	}
	made, err := unframe(out.Signature, k.ref.version)
	if err != nil {
		return nil, err
	}
	if m.Type == cryptoki.CKM_ECDSA {
		on, _ := curve.ByName(k.spec.curve)
		if made, err = signature.FromDER(made, on.Bytes()); err != nil {
			return nil, err
		}
	}
	// It costs a fraction of the call. A key that was deleted and made anew signs under the same name and version.
	if err := k.verifier.Verify(m, data, made); err != nil {
		k.provider.keys.drop(k.ref)
		return nil, fault.New(fault.FunctionFailed, "the signature that Vault made with %s does not verify by the public key known (%v); the key was made anew under its name, or address and mount are another Vault's", k.ref, err)
	}
	return made, nil
}

func tooLong(length int) error {
	return fault.New(fault.DataLenRange, "%d bytes are more than the %d that one call to Vault takes; hash the data first", length, maxData)
}

// mac computes an HMAC.
func (k *key) mac(ctx context.Context, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	if len(data) > maxData {
		return nil, tooLong(len(data))
	}
	name, _ := hashNamed(m.Type)
	in := map[string]any{"input": base64.StdEncoding.EncodeToString(data), "key_version": k.ref.version}
	var out struct {
		HMAC string `json:"hmac"`
	}
	r := request{action: actionMAC, key: k.ref.name, method: http.MethodPost, path: k.provider.path("hmac", k.ref.name, name), in: in}
	if err := k.provider.call(ctx, r, &out); err != nil {
		return nil, k.settle(err)
	}
	made, err := unframe(out.HMAC, k.ref.version)
	if err != nil {
		return nil, err
	}
	if h, _ := mechanism.HashOf(m.Type); len(made) != h.Size() {
		return nil, fault.New(fault.FunctionFailed, "Vault sent a MAC of %d bytes for %s; look at address and mount", len(made), m.Type)
	}
	if params, ok := m.Params.(cryptoki.MACGeneralParams); ok {
		made = made[:min(uint64(len(made)), params.Length)]
	}
	return made, nil
}

// frame is how the engine's signatures, MACs and ciphertexts begin.
func frame(version int) string { return "vault:v" + strconv.Itoa(version) + ":" }

// unframe takes a signature or MAC out of its frame, which must name the version that was asked for.
func unframe(text string, version int) ([]byte, error) {
	encoded, ok := strings.CutPrefix(text, frame(version))
	made, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(made) == 0 {
		return nil, fault.New(fault.FunctionFailed, "Vault's answer of %d characters is none of version %d of the key; look at address and mount", len(text), version)
	}
	return made, nil
}

// Decrypt decrypts RSA-OAEP, or AES-GCM: the engine's ciphertexts are the nonce, then what PKCS#11 calls the ciphertext.
func (k *key) Decrypt(ctx context.Context, m cryptoki.Mechanism, ciphertext []byte) ([]byte, error) {
	if err := k.check(ctx, m, cryptoki.CKF_DECRYPT); err != nil {
		return nil, err
	}
	in := map[string]string{}
	if params, ok := m.Params.(cryptoki.GCMParams); ok {
		if len(ciphertext) < tagSize || len(ciphertext)+len(params.AAD) > maxData+tagSize {
			return nil, fault.New(fault.EncryptedDataLenRange, "a ciphertext of AES-GCM for Vault has %d to %d bytes with its additional data, not %d and %d", tagSize, maxData+tagSize, len(ciphertext), len(params.AAD))
		}
		if len(params.AAD) > 0 {
			in["associated_data"] = base64.StdEncoding.EncodeToString(params.AAD)
		}
		ciphertext = append(append(make([]byte, 0, nonceSize+len(ciphertext)), params.IV...), ciphertext...)
	} else if len(ciphertext) != int(k.spec.bits/8) {
		return nil, fault.New(fault.EncryptedDataLenRange, "a ciphertext of this key has %d bytes, not %d", k.spec.bits/8, len(ciphertext))
	}
	in["ciphertext"] = frame(k.ref.version) + base64.StdEncoding.EncodeToString(ciphertext)
	var out struct {
		Plaintext *string `json:"plaintext"`
	}
	r := request{action: actionDecrypt, key: k.ref.name, method: http.MethodPost, path: k.provider.path("decrypt", k.ref.name), in: in}
	if err := k.provider.call(ctx, r, &out); err != nil {
		return nil, k.settle(err)
	}
	if out.Plaintext != nil {
		if plaintext, err := base64.StdEncoding.DecodeString(*out.Plaintext); err == nil {
			return plaintext, nil
		}
	}
	return nil, fault.New(fault.FunctionFailed, "Vault's answer holds no plaintext; look at address and mount")
}

// Encrypt refuses: the engine chooses the initialisation vector of AES-GCM.
func (k *key) Encrypt(ctx context.Context, m cryptoki.Mechanism, _ []byte) ([]byte, error) {
	return nil, k.refuse(ctx, m, cryptoki.CKF_ENCRYPT)
}

// Derive refuses: the engine has no key agreement.
func (k *key) Derive(ctx context.Context, m cryptoki.Mechanism, _ int) ([]byte, error) {
	return nil, k.refuse(ctx, m, cryptoki.CKF_DERIVE)
}

func (k *key) refuse(ctx context.Context, m cryptoki.Mechanism, use cryptoki.Flags) error {
	if err := k.check(ctx, m, use); err != nil {
		return err
	}
	return limited(m.Type, fault.New(fault.MechanismInvalid, "Vault does not do %s; use provider software or hsm", m.Type))
}
