package wire

import (
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// StatusFromError makes a gRPC status with a Fault detail of any error; nil stays nil. What already is a status that
// carries a Fault is passed on as it is.
func StatusFromError(err error) error {
	if err == nil {
		return nil
	}
	var f *fault.Error
	if !errors.As(err, &f) {
		if s, ok := status.FromError(err); ok && detail(s) != nil {
			return s.Err()
		}
		f = fault.From(err)
	}
	row := f.Kind.Row()
	// A label or file name in the sentence need not be UTF-8, a message's string must.
	sentence := strings.ToValidUTF8(f.Message, "\uFFFD")
	s := status.New(row.Code, sentence)
	with, detailErr := s.WithDetails(&anyhsmv1.Fault{
		Kind: uint32(f.Kind), CkRv: uint64(row.RV), Message: sentence, Retry: row.Retry,
	})
	if detailErr != nil {
		return s.Err()
	}
	return with.Err()
}

// ErrorFromStatus makes a *fault.Error of what a call returned; nil stays nil. Without a Fault detail the error came
// from gRPC itself, and its code tells what happened on the way.
func ErrorFromStatus(err error) error {
	if err == nil {
		return nil
	}
	var f *fault.Error
	if errors.As(err, &f) {
		return f
	}
	s, ok := status.FromError(err)
	if !ok {
		s = status.FromContextError(err)
	}
	d := detail(s)
	if d == nil {
		return fromCode(s, err)
	}
	kind := fault.Kind(d.GetKind())
	if !kind.Valid() {
		// A kind of a newer daemon: the CK_RV says what this version must answer.
		kind = fault.KindOf(cryptoki.RV(d.GetCkRv()))
	}
	return fault.New(kind, "%s", d.GetMessage())
}

func detail(s *status.Status) *anyhsmv1.Fault {
	for _, d := range s.Details() {
		if f, ok := d.(*anyhsmv1.Fault); ok {
			return f
		}
	}
	return nil
}

func fromCode(s *status.Status, err error) *fault.Error {
	switch s.Code() {
	case codes.Unavailable:
		return fault.New(fault.DeviceError, "the daemon cannot be reached; check that anyhsmd runs and where the module looks for it: %w", err)
	case codes.DeadlineExceeded:
		return fault.New(fault.DeadlineExceeded, "the daemon did not answer in time; check its load and the configured timeout: %w", err)
	case codes.Canceled:
		return fault.New(fault.FunctionCanceled, "the call was cancelled before the daemon answered: %w", err)
	case codes.Unimplemented:
		return fault.New(fault.FunctionNotSupported, "the daemon does not know this call; it is older than the caller, so upgrade it: %w", err)
	case codes.ResourceExhausted:
		// Without a detail only gRPC's own limit on a message's size says this.
		return fault.New(fault.DataLenRange, "the message is larger than %d bytes; send less data at once: %w", MaxMessage, err)
	case codes.Unauthenticated:
		return fault.New(fault.Unauthenticated, "the daemon does not accept the caller's identity; enroll again or check its certificate: %w", err)
	case codes.PermissionDenied:
		return fault.New(fault.NotGranted, "the daemon refused the caller; ask its administrator for a grant: %w", err)
	default:
		return fault.New(fault.Internal, "the daemon failed without a reason; its log has more: %w", err)
	}
}
