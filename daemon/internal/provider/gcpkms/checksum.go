package gcpkms

import (
	"context"
	"errors"
	"hash/crc32"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/anyhsm/anyhsm/internal/fault"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is what the service's *_crc32c fields hold.
func checksum(data []byte) *wrapperspb.Int64Value {
	return wrapperspb.Int64(int64(crc32.Checksum(data, castagnoli)))
}

// intact tells that data has the checksum that came with it. One that did not come is none.
func intact(data []byte, sum *wrapperspb.Int64Value) bool {
	return sum != nil && sum.GetValue() == int64(crc32.Checksum(data, castagnoli))
}

// exchange makes a call whose request and answer are guarded by checksums, once more if they arrived damaged. sound
// tells whether the answer is what was asked for.
func exchange[In, Out any](ctx context.Context, p *Provider, allowed permission, resource string, method callee[In, Out], in *In, sound func(*Out) bool) (*Out, error) {
	for attempt := 1; ; attempt++ {
		out, err := call(ctx, p, allowed, resource, method, in)
		if err == nil && sound(out) {
			return out, nil
		}
		if err != nil && !damaged(err) {
			return nil, err
		}
		if attempt == 2 {
			return nil, fault.New(fault.DeviceError, "what came from Google Cloud KMS for %s %s, or arrived there, has a wrong checksum, or is another key's, twice; "+
				"look for a broken machine or proxy on the way to the service", allowed.name, resource)
		}
		p.log.WarnContext(ctx, "damaged on the way, and sent again", "permission", allowed.name, "resource", resource)
	}
}

// damaged tells that the service complains of a checksum of ours.
func damaged(err error) bool {
	refused, ok := refusalOf(err)
	if !ok || refused.Code() != codes.InvalidArgument {
		return false
	}
	text := strings.ToLower(refused.Message())
	return strings.Contains(text, "crc32c") || strings.Contains(text, "checksum")
}

// refusalOf finds the service's own status in an error.
func refusalOf(err error) (*status.Status, bool) {
	var refused interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &refused) {
		return nil, false
	}
	return refused.GRPCStatus(), true
}
