package admin

import (
	"context"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

type auditServer struct {
	anyhsmv1.UnimplementedAuditServiceServer
	config Config
}

const (
	defaultEvents = 100
	maxEvents     = 1000
	// maxWait bounds how long a call waits for an event, pollInterval how often it looks.
	maxWait      = 30 * time.Second
	pollInterval = 200 * time.Millisecond
)

// ListEvents returns events after a sequence number.
func (s auditServer) ListEvents(ctx context.Context, request *anyhsmv1.ListEventsRequest) (*anyhsmv1.ListEventsResponse, error) {
	if _, err := administrator(ctx); err != nil {
		return nil, err
	}
	limit := int(min(request.GetLimit(), maxEvents))
	if limit == 0 {
		limit = defaultEvents
	}
	var events []audit.Event
	var err error
	if request.GetNewest() {
		events, err = s.config.Store.NewestEvents(ctx, limit)
	} else {
		wait := min(time.Duration(request.GetWaitSeconds())*time.Second, maxWait)
		events, err = s.await(ctx, request.GetAfter(), limit, wait)
	}
	if err != nil {
		return nil, err
	}
	response := &anyhsmv1.ListEventsResponse{}
	for _, e := range events {
		response.Events = append(response.Events, &anyhsmv1.AuditEvent{
			Sequence: e.Sequence, Time: timestamp(e.Time), Application: text(e.Application), Identity: text(e.Identity),
			Operation: text(e.Operation), Token: text(e.Token), Object: text(e.Object), Mechanism: text(e.Mechanism), Outcome: text(e.Outcome),
			Detail: text(e.Detail), Hash: e.Hash,
		})
	}
	return response, nil
}

// await returns the events there are, or the first that come within the wait. Other replicas write events as well, so
// it is the store that is asked.
func (s auditServer) await(ctx context.Context, after uint64, limit int, wait time.Duration) ([]audit.Event, error) {
	deadline := time.Now().Add(wait)
	for {
		events, err := s.config.Store.Events(ctx, after, limit)
		if err != nil || len(events) > 0 || !time.Now().Before(deadline) {
			return events, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.config.Draining:
			return nil, nil // the caller asks again, and finds the next daemon
		case <-time.After(min(pollInterval, time.Until(deadline)+time.Millisecond)):
		}
	}
}

// VerifyChain recomputes the hash chain.
func (s auditServer) VerifyChain(ctx context.Context, _ *anyhsmv1.VerifyChainRequest) (*anyhsmv1.VerifyChainResponse, error) {
	if _, err := administrator(ctx); err != nil {
		return nil, err
	}
	report, err := audit.Verify(ctx, s.config.Store, s.config.Authenticator)
	if err != nil {
		return nil, err
	}
	response := &anyhsmv1.VerifyChainResponse{Events: report.Events, Intact: report.Break == nil, Head: report.Hash}
	if report.Break != nil {
		response.BrokenAt, response.Detail = report.Break.Sequence, text(report.Break.Reason)
	}
	return response, nil
}
