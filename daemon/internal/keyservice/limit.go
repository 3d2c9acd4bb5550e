package keyservice

import (
	"bytes"
	"context"
	"log/slog"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// limited refuses what a provider does not do. The log line names the provider, which the application never learns.
func (s *Service) limited(ctx context.Context, b *backend, m cryptoki.MechanismType, use cryptoki.Flags) error {
	if b.capabilities.Can(m, use) {
		return nil
	}
	s.log.LogAttrs(ctx, slog.LevelWarn, "the provider does not have this mechanism for this use",
		slog.String("provider", b.name), slog.String("kind", b.capabilities.Kind),
		slog.String("mechanism", m.String()), slog.String("use", useName(use)))
	return fault.New(fault.MechanismInvalid, "the token's provider does not %s with %v; C_GetMechanismList tells what the token has", useName(use), m)
}

// limitedSize refuses a new key whose size or curve a provider does not have.
func (s *Service) limitedSize(ctx context.Context, b *backend, m cryptoki.MechanismType, attributes cryptoki.Attributes) error {
	if params, ok := attributes.Get(cryptoki.CKA_EC_PARAMS); ok {
		return s.limitedCurve(ctx, b, params)
	}
	row, ok := b.rows[m]
	if !ok || row.MaxSize == 0 {
		return nil
	}
	size, known := attributes.Ulong(cryptoki.CKA_MODULUS_BITS)
	if !known {
		if size, known = attributes.Ulong(cryptoki.CKA_VALUE_LEN); known && m == cryptoki.CKM_GENERIC_SECRET_KEY_GEN {
			size *= 8
		}
	}
	if known && (size < row.MinSize || size > row.MaxSize) {
		s.log.LogAttrs(ctx, slog.LevelWarn, "the provider has no keys of this size",
			slog.String("provider", b.name), slog.String("mechanism", m.String()),
			slog.Uint64("size", size), slog.Uint64("min", row.MinSize), slog.Uint64("max", row.MaxSize))
		return fault.New(fault.KeySizeRange, "the token's provider makes keys of %d to %d with %v, not of %d; choose a size within", row.MinSize, row.MaxSize, m, size)
	}
	return nil
}

func (s *Service) limitedCurve(ctx context.Context, b *backend, params []byte) error {
	c, err := curve.Parse(params)
	if err != nil {
		return err
	}
	if len(b.capabilities.Curves) == 0 {
		return nil
	}
	for _, have := range b.capabilities.Curves {
		if bytes.Equal(have, c.Params) {
			return nil
		}
	}
	s.log.LogAttrs(ctx, slog.LevelWarn, "the provider does not have this curve",
		slog.String("provider", b.name), slog.String("curve", c.Name))
	return fault.New(fault.CurveNotSupported, "the token's provider does not have the curve %s; choose another", c.Name)
}

// limitedData refuses input that is larger than a provider takes.
func (b *backend) limitedData(length int) error {
	if limit := b.capabilities.MaxData; limit > 0 && length > limit {
		return fault.New(fault.DataLenRange, "the token's provider takes at most %d bytes in one operation, not %d; use a mechanism that hashes", limit, length)
	}
	return nil
}

func useName(use cryptoki.Flags) string {
	switch use {
	case cryptoki.CKF_SIGN:
		return "sign"
	case cryptoki.CKF_VERIFY:
		return "verify"
	case cryptoki.CKF_ENCRYPT:
		return "encrypt"
	case cryptoki.CKF_DECRYPT:
		return "decrypt"
	case cryptoki.CKF_DERIVE:
		return "derive"
	case cryptoki.CKF_GENERATE, cryptoki.CKF_GENERATE_KEY_PAIR:
		return "generate"
	}
	return "work"
}
