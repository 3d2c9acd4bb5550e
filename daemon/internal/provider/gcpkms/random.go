package gcpkms

import (
	"context"

	"cloud.google.com/go/kms/apiv1/kmspb"

	"github.com/anyhsm/anyhsm/internal/fault"
)

var (
	randomBytes = permission{name: "cloudkms.locations.generateRandomBytes"}
	keyRingGet  = permission{name: "cloudkms.keyRings.get"}
)

const (
	// The service gives that many random bytes with one call.
	leastRandom, mostRandom = 8, 1024
	// maxRandom bounds what is worth so many calls.
	maxRandom = 1 << 20
)

// Random returns random bytes of the service's HSMs, which are asked whatever the protection level of the keys is.
func (p *Provider) Random(ctx context.Context, length int) ([]byte, error) {
	if length < 0 || length > maxRandom {
		return nil, fault.New(fault.ArgumentsBad, "Google Cloud KMS is asked for 0 to %d random bytes, not %d", maxRandom, length)
	}
	if err := p.ready(ctx, "make random numbers"); err != nil {
		return nil, err
	}
	out := make([]byte, 0, length)
	where := location(p.config.KeyRing)
	for len(out) < length {
		missing := length - len(out)
		asked := max(leastRandom, min(missing, mostRandom))
		answer, err := exchange(ctx, p, randomBytes, where, p.client.GenerateRandomBytes, &kmspb.GenerateRandomBytesRequest{
			Location: where, LengthBytes: int32(asked), ProtectionLevel: kmspb.ProtectionLevel_HSM,
		}, func(r *kmspb.GenerateRandomBytesResponse) bool {
			return len(r.GetData()) == asked && intact(r.GetData(), r.GetDataCrc32C())
		})
		if err != nil {
			return nil, err
		}
		out = append(out, answer.GetData()[:min(missing, asked)]...)
	}
	return out, nil
}

// Health tells whether the key ring can be reached with the credentials that there are.
func (p *Provider) Health(ctx context.Context) error {
	_, err := call(ctx, p, keyRingGet, p.config.KeyRing, p.client.GetKeyRing, &kmspb.GetKeyRingRequest{Name: p.config.KeyRing})
	return err
}
