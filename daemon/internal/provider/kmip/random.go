package kmip

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// withRandom is a provider whose server has random numbers.
type withRandom struct{ *Provider }

const (
	maxRandom = 1 << 20
	// randomAtOnce is what servers give at once, by experience.
	randomAtOnce = 4096
)

// Random returns random bytes of the server.
func (p *withRandom) Random(ctx context.Context, length int) ([]byte, error) {
	const operation = "get random numbers"
	if err := p.ready(ctx, operation); err != nil {
		return nil, p.explain(operation, err)
	}
	if length < 0 || length > maxRandom {
		return nil, fault.New(fault.ArgumentsBad, "%d random bytes cannot be had at once; ask for at most 1 MiB", length)
	}
	value := make([]byte, 0, length)
	for len(value) < length {
		want := min(length-len(value), randomAtOnce)
		payload, err := p.call(ctx, ttlv.OpRngRetrieve, ttlv.Integer(ttlv.TagDataLength, int32(want)))
		if err != nil {
			return nil, p.explain(operation, err)
		}
		got, _ := payload.ByteValue(ttlv.TagData)
		if len(got) == 0 || len(got) > want {
			return nil, p.explain(operation, fault.New(fault.DeviceError, "the KMIP server gave %d random bytes, not %d", len(got), want))
		}
		value = append(value, got...)
	}
	return value, nil
}
