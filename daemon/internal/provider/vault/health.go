package vault

import (
	"context"
	"encoding/base64"
	"net/http"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// Health tells whether the engine would serve: the server is unsealed and not a mere copy, and accepts the daemon.
func (p *Provider) Health(ctx context.Context) error {
	r := request{action: "tell its health", method: http.MethodGet, path: pathHealth}
	if err := p.ready(ctx, r.action); err != nil {
		return err
	}
	ctx, cancel := p.bounded(ctx)
	defer cancel()
	if _, err := p.attempt(ctx, r, ""); err != nil {
		switch statusOf(err) {
		case http.StatusServiceUnavailable:
			return fault.New(fault.DeviceError, "%s is sealed; unseal it with vault operator unseal", p.service())
		case http.StatusNotImplemented:
			return fault.New(fault.DeviceError, "%s has not been initialized; do it with vault operator init", p.service())
		case 472: // Vault's own.
			return fault.New(fault.DeviceError, "%s is a copy for disaster recovery, which serves nobody; give the address of the primary", p.service())
		}
		return p.explain(ctx, r, err)
	}
	return p.call(ctx, request{action: "look at the token", method: http.MethodGet, path: pathSelf}, nil)
}

// Random numbers: Vault gives at most maxBytes at once, and a call of ours at most maxRandom.
const (
	maxBytes  = 128 << 10
	maxRandom = 1 << 20
)

// Random returns random bytes of Vault.
func (p *Provider) Random(ctx context.Context, length int) ([]byte, error) {
	if err := p.ready(ctx, actionRandom); err != nil {
		return nil, err
	}
	if length < 0 || length > maxRandom {
		return nil, fault.New(fault.ArgumentsBad, "%d random bytes cannot be had at once; ask for at most 1 MiB", length)
	}
	all := make([]byte, 0, length)
	for len(all) < length {
		count := min(length-len(all), maxBytes)
		var out struct {
			Random string `json:"random_bytes"`
		}
		in := map[string]any{"bytes": count, "format": "base64"}
		if err := p.call(ctx, request{action: actionRandom, method: http.MethodPost, path: p.path("random"), in: in}, &out); err != nil {
			return nil, err
		}
		some, err := base64.StdEncoding.DecodeString(out.Random)
		if err != nil || len(some) != count {
			return nil, fault.New(fault.FunctionFailed, "Vault sent %d random bytes instead of %d; look at address and mount", len(some), count)
		}
		all = append(all, some...)
	}
	return all, nil
}
