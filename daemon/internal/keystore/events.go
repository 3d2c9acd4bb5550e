package keystore

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/internal/fault"
)

const (
	metaAuditHead = "audit.head"
	eventColumns  = `sequence, time, application, identity, operation, token, object, mechanism, outcome, detail, hash`
)

// AppendEvents implements audit.Appender.
func (s *Store) AppendEvents(ctx context.Context, events []audit.Event) error {
	return s.transact(ctx, func(tx *Tx) error { return tx.appendEvents(events) })
}

// appendEvents chains events to the audit's head in the transaction that it is in. The head's row is what writers
// queue up for.
func (tx *Tx) appendEvents(events []audit.Event) error {
	if len(events) == 0 {
		return nil
	}
	head, err := tx.AuditHead(tx.ctx)
	if err != nil {
		return err
	}
	// A head that was forged while the daemon was down must not be made good by adding to it.
	if tx.auth != nil && head.Sequence > 0 && !head.Authentic(tx.auth) {
		return fault.New(fault.StoreDamaged, "the head of the audit in the store %s was changed from outside; run: anyhsm audit verify, and restore the store from a backup", tx.engine.name())
	}
	for i := range events {
		legible(&events[i])
	}
	head = audit.Append(head, events, tx.now, tx.auth)
	for written := 0; written < len(events); {
		// Many rows in one statement, of few lengths: each length is a statement that is prepared once.
		rows := 1
		for rows*4 <= min(len(events)-written, 256) {
			rows *= 4
		}
		if err := tx.insertEvents(events[written : written+rows]); err != nil {
			return err
		}
		written += rows
	}
	last := events[len(events)-1]
	tx.mark = &mark{last.Sequence, last.Hash}
	return tx.PutMeta(metaAuditHead, head.Encode())
}

func (tx *Tx) insertEvents(events []audit.Event) error {
	const row = `(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	args := make([]any, 0, 11*len(events))
	for i := range events {
		e := &events[i]
		args = append(args, signed(e.Sequence), micro(e.Time), e.Application, e.Identity, e.Operation, e.Token, e.Object, e.Mechanism, e.Outcome,
			e.Detail, e.Hash)
	}
	err := tx.exec(`INSERT INTO audit (`+eventColumns+`) VALUES `+row+strings.Repeat(`, `+row, len(events)-1), args...)
	if fault.Is(err, fault.AlreadyExists) {
		return fault.New(fault.StoreDamaged, "the audit in the store %s has an event after %d already, which its head does not know; run: anyhsm audit verify, and restore the store from a backup",
			tx.engine.name(), events[0].Sequence-1)
	}
	return err
}

// legible makes an event's texts such that each database keeps them as they are: a label can be any bytes.
func legible(e *audit.Event) {
	for _, text := range []*string{&e.Application, &e.Identity, &e.Operation, &e.Token, &e.Object, &e.Mechanism, &e.Outcome, &e.Detail} {
		if strings.ContainsRune(*text, 0) || !utf8.ValidString(*text) {
			*text = strings.ReplaceAll(strings.ToValidUTF8(*text, "\uFFFD"), "\x00", "\uFFFD")
		}
	}
}

// AuditHead returns the end of the audit's chain.
func (r *Reader) AuditHead(ctx context.Context) (audit.Head, error) {
	stored, err := r.Meta(ctx, metaAuditHead)
	if err != nil {
		return audit.Head{}, err
	}
	head, ok := audit.DecodeHead(stored)
	if !ok {
		return head, fault.New(fault.StoreDamaged, "the head of the audit in the store %s is damaged; restore the store from a backup", r.engine.name())
	}
	return head, nil
}

// Events returns audit events after a sequence number, ascending; all if limit is 0.
func (r *Reader) Events(ctx context.Context, after uint64, limit int) ([]audit.Event, error) {
	if limit <= 0 {
		return r.events(ctx, `WHERE sequence > ? ORDER BY sequence`, signed(after))
	}
	return r.events(ctx, `WHERE sequence > ? ORDER BY sequence LIMIT ?`, signed(after), limit)
}

// NewestEvents returns the last audit events, ascending.
func (r *Reader) NewestEvents(ctx context.Context, limit int) ([]audit.Event, error) {
	events, err := r.events(ctx, `ORDER BY sequence DESC LIMIT ?`, max(limit, 0))
	slices.Reverse(events)
	return events, err
}

func (r *Reader) events(ctx context.Context, where string, args ...any) ([]audit.Event, error) {
	return all(ctx, r, `SELECT `+eventColumns+` FROM audit `+where, args, func(row *sql.Rows) (e audit.Event, err error) {
		var time int64
		err = row.Scan(&e.Sequence, &time, &e.Application, &e.Identity, &e.Operation, &e.Token, &e.Object, &e.Mechanism, &e.Outcome, &e.Detail, &e.Hash)
		e.Time = moment(time)
		return e, err
	})
}
