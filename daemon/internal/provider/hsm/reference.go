package hsm

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// reference names a key in the token over restarts, which object handles do not survive. For one key it is always the
// same bytes, so that a key that is listed can be known again.
type reference struct {
	Class   cryptoki.ObjectClass `json:"class"`
	KeyType cryptoki.KeyType     `json:"type"`
	ID      hexadecimal          `json:"id,omitempty"`
	// Label is there only where class, type and id do not tell two keys apart.
	Label hexadecimal `json:"label,omitempty"`
	// Public is the SHA-256 of the public key, so that a key that has taken another's id is not taken for it.
	Public hexadecimal `json:"public,omitempty"`
}

// hexadecimal is a byte string that is written as text people can compare with pkcs11-tool's output.
type hexadecimal []byte

// MarshalText writes hexadecimal digits.
func (h hexadecimal) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

// UnmarshalText reads hexadecimal digits.
func (h *hexadecimal) UnmarshalText(text []byte) error {
	value, err := hex.AppendDecode(nil, text)
	*h = value
	return err
}

// maxReference is far above what encode makes: CKA_ID and CKA_LABEL have no limit of their own.
const maxReference = 64 << 10

func (r reference) encode() []byte {
	// Numbers, text and bytes marshal.
	text, _ := json.Marshal(r)
	return text
}

// parseReference reads what encode made. All else is no key of ours.
func parseReference(ref []byte) (reference, error) {
	var r reference
	if len(ref) > maxReference {
		return r, fault.New(fault.KeyHandleInvalid, "the key's reference is too long for one of provider hsm")
	}
	decoder := json.NewDecoder(bytes.NewReader(ref))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil || decoder.More() {
		return r, fault.New(fault.KeyHandleInvalid, "the key's reference is not one of provider hsm; the store is damaged, or the key belongs to another provider")
	}
	if r.Class != cryptoki.CKO_PRIVATE_KEY && r.Class != cryptoki.CKO_SECRET_KEY || len(r.ID) == 0 && len(r.Label) == 0 {
		return r, fault.New(fault.KeyHandleInvalid, "the key's reference names no key of an HSM; the store is damaged")
	}
	return r, nil
}

// fingerprint is the SHA-256 of a public key's modulus or point; nil where there is neither.
func fingerprint(public cryptoki.Attributes) hexadecimal {
	value := bytes.TrimLeft(public.Bytes(cryptoki.CKA_MODULUS), "\x00")
	if len(value) == 0 {
		value = public.Bytes(cryptoki.CKA_EC_POINT)
	}
	if len(value) == 0 {
		return nil
	}
	sum := sha256.Sum256(value)
	return sum[:]
}
