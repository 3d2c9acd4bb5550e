package awskms

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// maxAttempts bounds the SDK's attempts of one call; the deadline mostly comes first.
const maxAttempts = 8

// retryer is the SDK's standard one for one call. It gives up as soon as the next attempt would come after the deadline,
// with the error that the service gave: "throttled" is a better answer than "too late".
type retryer struct {
	aws.RetryerV2
	deadline time.Time
	// once tells that only an attempt which the service has certainly refused is repeated: another one of CreateKey
	// could make a second key.
	once bool
}

// standard is shared, so that its token bucket holds retries back while KMS fails for all calls.
func standard() aws.RetryerV2 {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = maxAttempts
		o.Backoff = retry.BackoffDelayerFunc(backoff)
	})
}

// The quotas of AWS KMS are counted by the second: waits begin well below one, and never leave a handshake waiting for
// long when the quota is free again.
const (
	firstWait = 50 * time.Millisecond
	longest   = 2 * time.Second
)

// backoff returns how long to wait after an attempt, which counts from 0 or 1: between half and all of a wait that
// doubles, so that those who were refused together do not come back together.
func backoff(attempt int, _ error) (time.Duration, error) {
	wait := min(firstWait<<min(max(attempt, 0), 10), longest)
	return wait/2 + rand.N(wait/2), nil
}

// bounded is the option of one call.
func (p *Provider) bounded(ctx context.Context, once bool) func(*kms.Options) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(p.config.CallTimeout)
	}
	return func(o *kms.Options) {
		o.Retryer = &retryer{RetryerV2: p.retryer, deadline: deadline, once: once}
	}
}

// IsErrorRetryable tells whether another attempt may help.
func (r *retryer) IsErrorRetryable(err error) bool {
	if r.once && !refused(err) {
		return false
	}
	return r.RetryerV2.IsErrorRetryable(err)
}

// RetryDelay tells how long to wait for the next attempt.
func (r *retryer) RetryDelay(attempt int, err error) (time.Duration, error) {
	delay, failure := r.RetryerV2.RetryDelay(attempt, err)
	if failure != nil {
		return delay, errors.Join(err, failure)
	}
	if time.Until(r.deadline) <= delay {
		return 0, err
	}
	return delay, nil
}

// refused tells that the service has looked at a request and not carried it out.
func refused(err error) bool {
	code := codeOf(err)
	return throttling[code] || credentialCodes[code]
}
