package keyservice

import (
	"context"
	"log/slog"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// canGenerate refuses a new key that a provider does not make.
func (s *Service) canGenerate(ctx context.Context, b *backend, request provider.GenerateRequest) error {
	return s.limit(ctx, b, request.Mechanism, b.capabilities.CheckGenerate(request))
}

// limit logs what a provider does not do, with the provider's name: the application, which gets the CK_RV alone, cannot
// tell that another provider would.
func (s *Service) limit(ctx context.Context, b *backend, m cryptoki.Mechanism, err error) error {
	if err == nil {
		return nil
	}
	switch fault.From(err).Kind {
	case fault.MechanismInvalid, fault.MechanismParamInvalid, fault.KeySizeRange, fault.CurveNotSupported:
		s.log.LogAttrs(ctx, slog.LevelWarn, "a limit of the provider", slog.String("provider", b.name),
			slog.String("kind", b.capabilities.Kind), slog.String("mechanism", m.Type.String()), slog.String("limit", err.Error()), slog.String("would", s.wouldWork(b, m)))
	}
	return err
}

// signs refuses data that a provider does not sign because of its length.
func (b *backend) signs(length int) error {
	if least := b.capabilities.MinData; length < least {
		return fault.New(fault.DataLenRange, "the token's provider signs at least %d bytes, not %d; use a mechanism that hashes", least, length)
	}
	return b.takes(length)
}

// takes refuses input that is larger than a provider takes.
func (b *backend) takes(length int) error {
	if limit := b.capabilities.MaxData; limit > 0 && length > limit {
		return fault.New(fault.DataLenRange, "the token's provider takes at most %d bytes in one operation, not %d; use a mechanism that hashes", limit, length)
	}
	return nil
}
