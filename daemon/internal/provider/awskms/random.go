package awskms

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// chunk is the most that GenerateRandom gives at once, maxRandom what is worth so many calls.
const (
	chunk     = 1024
	maxRandom = 1 << 20
)

// Random returns random bytes of AWS's HSMs.
func (p *Provider) Random(ctx context.Context, length int) ([]byte, error) {
	if err := p.ready(ctx, "make random numbers"); err != nil {
		return nil, err
	}
	if length < 0 || length > maxRandom {
		return nil, fault.New(fault.ArgumentsBad, "%d random bytes cannot be had of AWS KMS at once; ask for at most %d", length, maxRandom)
	}
	var sizes []int
	for left := length; left > 0; left -= chunk {
		sizes = append(sizes, min(left, chunk))
	}
	parts, err := parallel(ctx, sizes, func(ctx context.Context, size int) ([]byte, error) {
		out, err := call(ctx, p, "GenerateRandom", "*", p.client.GenerateRandom, &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(int32(size))})
		if err == nil && len(out.Plaintext) != size {
			return nil, fault.New(fault.FunctionFailed, "AWS KMS sent %d random bytes instead of %d; look at the endpoint", len(out.Plaintext), size)
		}
		if err != nil {
			return nil, err
		}
		return out.Plaintext, nil
	})
	if err != nil {
		return nil, err
	}
	all := make([]byte, 0, length)
	for _, part := range parts {
		all = append(all, part...)
	}
	return all, nil
}

// Health tells whether the service answers and accepts the credentials, by the cheapest call that needs them.
func (p *Provider) Health(ctx context.Context) error {
	_, err := call(ctx, p, "ListKeys", "*", p.client.ListKeys, &kms.ListKeysInput{Limit: aws.Int32(1)})
	return err
}
