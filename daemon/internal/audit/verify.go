package audit

import (
	"bytes"
	"context"
	"fmt"
)

// Source is where Verify reads events, ascending, those after a sequence number; keystore.Store is one.
type Source interface {
	Events(ctx context.Context, after uint64, limit int) ([]Event, error)
	AuditHead(ctx context.Context) (Head, error)
}

// Report is the result of Verify.
type Report struct {
	// Events is the number of events that are sound, counted from the first.
	Events uint64
	// Hash is the hash of the last sound event. Whoever notes it elsewhere can tell later that the whole store was set
	// back to an older copy, which nothing inside the store can show.
	Hash []byte
	// Break is nil if the chain is sound.
	Break *Break
}

// Break is the first place where the chain does not hold.
type Break struct {
	// Sequence is the number of the event concerned.
	Sequence uint64
	// Reason says what is wrong, for people.
	Reason string
}

// page is how many events Verify holds in memory.
const page = 4096

// Verify recomputes the whole chain up to the head that the store has now; it may run while events are added. An error
// means that it could not be read; a break is in the report. Without an authenticator the head's MAC is not checked.
func Verify(ctx context.Context, source Source, a Authenticator) (Report, error) {
	head, err := source.AuditHead(ctx)
	if err != nil {
		return Report{}, err
	}
	report := Report{Hash: make([]byte, HashSize)}
	for report.Events < head.Sequence {
		events, err := source.Events(ctx, report.Events, page)
		if err != nil {
			return Report{}, err
		}
		if len(events) == 0 {
			report.Break = &Break{report.Events + 1, fmt.Sprintf("the events %d to %d were removed from the end", report.Events+1, head.Sequence)}
			return report, nil
		}
		for _, e := range events {
			if report.Events == head.Sequence {
				break // added since
			}
			if report.Break = e.check(report.Events+1, report.Hash); report.Break != nil {
				return report, nil
			}
			report.Events, report.Hash = e.Sequence, e.Hash
		}
	}
	report.Break, err = checkHead(ctx, source, head, report, a)
	return report, err
}

// check tells what is wrong with an event that should have a number and follow a hash.
func (e *Event) check(number uint64, previous []byte) *Break {
	if e.Sequence > number {
		return &Break{number, fmt.Sprintf("event %d is missing: %d follows %d", number, e.Sequence, number-1)}
	}
	if e.Sequence < number {
		return &Break{number, fmt.Sprintf("event %d stands where %d is expected", e.Sequence, number)}
	}
	if !bytes.Equal(e.chained(previous), e.Hash) {
		return &Break{number, fmt.Sprintf("event %d was changed, or exchanged with another: its hash does not fit", number)}
	}
	return nil
}

// checkHead compares the head with the last event and its MAC.
func checkHead(ctx context.Context, source Source, head Head, report Report, a Authenticator) (*Break, error) {
	if head.Sequence > 0 && !bytes.Equal(head.Hash, report.Hash) {
		return &Break{head.Sequence, fmt.Sprintf("event %d is not the one that the head of the chain names: it and events before it were replaced", head.Sequence)}, nil
	}
	if a != nil && head.Sequence > 0 && !head.Authentic(a) {
		return &Break{head.Sequence, "the head of the chain was changed, or made without the root key: events may be missing from the end"}, nil
	}
	if head.Sequence > 0 {
		return nil, nil
	}
	// Somebody may have removed the head with all that it knew.
	events, err := source.Events(ctx, 0, 1)
	if err != nil || len(events) == 0 {
		return nil, err
	}
	current, err := source.AuditHead(ctx)
	if err != nil || current.Sequence > 0 {
		return nil, err // the first events came while this ran
	}
	return &Break{1, "there are events but the head of the chain is missing"}, nil
}
