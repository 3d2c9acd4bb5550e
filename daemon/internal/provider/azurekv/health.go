package azurekv

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// absent is the name of a key that nobody makes.
const absent = "anyhsm-health-check"

// Health tells whether the vault would serve: it is asked for a key that it does not have. The answer that there is
// none takes the name server, the network, the sign-in and the permission to get keys.
func (p *Provider) Health(ctx context.Context) error {
	if err := p.ready(ctx, "answer"); err != nil {
		return err
	}
	_, err := call(ctx, p, request{operation: opGet, key: p.vault + "/keys/" + absent}, func(ctx context.Context) (azkeys.GetKeyResponse, error) {
		return p.client.GetKey(ctx, absent, "", nil)
	})
	if fault.Is(err, fault.KeyHandleInvalid) {
		return nil
	}
	return err
}

// managed is a Managed HSM, which alone has random numbers.
type managed struct {
	*Provider
}

// Random numbers: Azure gives at most maxBytes at once, and a call of ours at most maxRandom.
const (
	maxBytes  = 128
	maxRandom = 1 << 20
)

// Random returns random bytes of the HSM.
func (p *managed) Random(ctx context.Context, length int) ([]byte, error) {
	if err := p.ready(ctx, "make random numbers"); err != nil {
		return nil, err
	}
	if length < 0 || length > maxRandom {
		return nil, fault.New(fault.ArgumentsBad, "%d random bytes cannot be had at once; ask for at most 1 MiB", length)
	}
	out := make([]byte, 0, length)
	for len(out) < length {
		count := int32(min(length-len(out), maxBytes))
		answer, err := call(ctx, p.Provider, request{operation: opRandom, key: p.vault}, func(ctx context.Context) (azkeys.GetRandomBytesResponse, error) {
			return p.client.GetRandomBytes(ctx, azkeys.GetRandomBytesParameters{Count: &count}, nil)
		})
		if err != nil {
			return nil, err
		}
		if len(answer.Value) != int(count) {
			return nil, fault.New(fault.FunctionFailed, "Azure sent %d random bytes instead of %d; look at vault_url", len(answer.Value), count)
		}
		out = append(out, answer.Value...)
	}
	return out, nil
}
