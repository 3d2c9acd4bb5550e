package provider

import (
	"bytes"
	"slices"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

// CheckUse tells why a provider with these capabilities does not use a key so: the mechanism is not one of its own,
// its parameter is wrong or too much for the provider, or the key is of the wrong type. Usage flags and
// CKA_ALLOWED_MECHANISMS are keyservice's to check: by now a hashing mechanism has become a raw one.
func (c Capabilities) CheckUse(m cryptoki.Mechanism, use cryptoki.Flags, key cryptoki.KeyType) error {
	row, ok := c.Mechanism(m.Type)
	if !ok || row.Flags&use != use {
		return fault.New(fault.MechanismInvalid, "provider %s does not do %s for this use; `anyhsm provider list` shows what it does", c.Kind, m.Type)
	}
	if info, ok := mechanism.Lookup(m.Type); ok && !slices.Contains(info.KeyTypes, key) {
		return fault.New(fault.KeyTypeInconsistent, "%s takes no %s key", m.Type, key)
	}
	if err := mechanism.CheckParams(m, use); err != nil {
		return err
	}
	if err := row.Limit().Check(m); err != nil {
		return fault.New(fault.MechanismParamInvalid, "provider %s: %w", c.Kind, err)
	}
	return nil
}

// Limit is what the mechanism takes in its parameter.
func (m Mechanism) Limit() mechanism.Limit {
	return mechanism.Limit{
		Type: m.Type, Hashes: m.Hashes, SameMGF: m.SameMGF, NoLabel: m.NoLabel, SaltIsHash: m.SaltIsHash, MinSalt: m.MinSalt,
		IVSize: m.IVSize, TagSize: m.TagSize,
	}
}

// CheckGenerate tells why a provider with these capabilities does not make a key: the mechanism is not one of its own,
// or the size or curve is beyond it.
func (c Capabilities) CheckGenerate(request GenerateRequest) error {
	row, ok := c.Mechanism(request.Mechanism.Type)
	if !ok || row.Flags&(cryptoki.CKF_GENERATE|cryptoki.CKF_GENERATE_KEY_PAIR) == 0 {
		return fault.New(fault.MechanismInvalid, "provider %s does not do %s; `anyhsm provider list` shows what it does", c.Kind, request.Mechanism.Type)
	}
	switch request.Mechanism.Type {
	case cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN:
		bits, ok := request.Public.Ulong(cryptoki.CKA_MODULUS_BITS)
		if !ok {
			return fault.New(fault.TemplateIncomplete, "CKA_MODULUS_BITS is missing")
		}
		return row.checkSize(bits, "bits")
	case cryptoki.CKM_EC_KEY_PAIR_GEN, cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN:
		return c.checkCurve(row.Type, request.Public)
	case cryptoki.CKM_ML_DSA_KEY_PAIR_GEN:
		set, err := parameterset.Of(request.Public)
		if err != nil {
			return err
		}
		return row.checkSize(uint64(set.Public), "bytes of public key")
	}
	length, ok := request.Private.Ulong(cryptoki.CKA_VALUE_LEN)
	if !ok {
		return fault.New(fault.TemplateIncomplete, "CKA_VALUE_LEN is missing")
	}
	if row.Type == cryptoki.CKM_GENERIC_SECRET_KEY_GEN {
		return row.checkSize(min(length, row.MaxSize)*8, "bits")
	}
	if length%8 != 0 {
		return fault.New(fault.AttributeValueInvalid, "an AES key has 16, 24 or 32 bytes, not %d", length)
	}
	return row.checkSize(length, "bytes")
}

func (m Mechanism) checkSize(size uint64, unit string) error {
	if size < m.MinSize || size > m.MaxSize {
		// C_GenerateKey and C_GenerateKeyPair have no CKR_KEY_SIZE_RANGE.
		return fault.New(fault.AttributeValueInvalid, "%s takes %d to %d %s here, not %d", m.Type, m.MinSize, m.MaxSize, unit, size)
	}
	if m.Sizes != nil && !slices.Contains(m.Sizes, size) {
		return fault.New(fault.AttributeValueInvalid, "%s takes one of %d %s here, not %d", m.Type, m.Sizes, unit, size)
	}
	return nil
}

func (c Capabilities) checkCurve(t cryptoki.MechanismType, public cryptoki.Attributes) error {
	if !public.Has(cryptoki.CKA_EC_PARAMS) {
		return fault.New(fault.TemplateIncomplete, "CKA_EC_PARAMS is missing")
	}
	on, err := curve.Of(public)
	if err != nil {
		return err
	}
	if (on.KeyType == cryptoki.CKK_EC_EDWARDS) != (t == cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN) {
		return fault.New(fault.CurveNotSupported, "%s makes no keys on %s", t, on.Name)
	}
	if !slices.ContainsFunc(c.Curves, func(params []byte) bool { return bytes.Equal(params, on.Params) }) {
		return fault.New(fault.CurveNotSupported, "provider %s has no keys on %s", c.Kind, on.Name)
	}
	return nil
}
