package keyservice

import (
	"context"
	"errors"
	"log/slog"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// outcomeOK is the outcome of what was done; that of a refusal is the name of its CK_RV.
const outcomeOK = "OK"

// record is the audit event of a call while it runs.
type record struct {
	event audit.Event
	// written tells that the event stands in the store already, with the change that it is about.
	written bool
}

// begin starts the record of a call. Every call that uses or changes something is recorded, refusals as well.
func begin(call Call, operation string) *record {
	return &record{event: audit.Event{
		Application: call.Caller.Application, Identity: call.Caller.Identity, Operation: operation, Token: call.Token,
	}}
}

// with names the mechanism.
func (r *record) with(m cryptoki.Mechanism) *record {
	r.event.Mechanism = m.Type.String()
	return r
}

// end writes the record unless the change has done so, and turns the error into what the caller gets. Where the audit
// is strict and cannot be written, the call fails.
func (s *Service) end(ctx context.Context, r *record, err *error) {
	*err = settle(*err)
	if r.written && *err == nil {
		return
	}
	r.event.Outcome = outcomeOK
	if *err != nil {
		r.event.Outcome = fault.RV(*err).String()
		r.event.Detail = fault.From(*err).Message
	}
	if ctx.Err() != nil {
		// The call is over but what it did must not go unrecorded.
		ctx = context.WithoutCancel(ctx)
	}
	if failed := s.audit.Record(ctx, r.event); failed != nil {
		s.log.Error("the audit could not be written", "operation", r.event.Operation, "error", failed)
		if *err == nil {
			*err = failed
		}
	}
	if *err != nil && fault.Is(*err, fault.Internal) {
		s.log.LogAttrs(ctx, slog.LevelError, "call failed", slog.String("operation", r.event.Operation),
			slog.String("caller", r.event.Application+" "+r.event.Identity), slog.String("token", r.event.Token),
			slog.String("object", r.event.Object), slog.String("error", (*err).Error()))
	}
}

// settle gives a call that ran out of time or was given up the kind that says so.
func settle(err error) error {
	var known *fault.Error
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return fault.New(fault.DeadlineExceeded, "the call took longer than the caller waits; try again or raise the timeout: %w", err)
	case errors.Is(err, context.Canceled):
		return fault.New(fault.FunctionCanceled, "the caller gave the call up: %w", err)
	}
	return err
}
