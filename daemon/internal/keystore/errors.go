package keystore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// otherFault is what errors mean that are not the driver's.
func otherFault(err error) error {
	var known *fault.Error
	var rv cryptoki.RV
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known), errors.As(err, &rv):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return fault.New(fault.DeadlineExceeded, "the store did not answer in time: %w; call again", err)
	case errors.Is(err, context.Canceled):
		return fault.New(fault.FunctionCanceled, "the call was cancelled: %w", err)
	case errors.Is(err, sql.ErrConnDone):
		return fault.New(fault.DeviceError, "the store is closed: %w; call again when the daemon runs", err)
	}
	return fault.New(fault.Internal, "the store failed: %w", err)
}
