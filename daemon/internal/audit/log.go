package audit

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// Appender appends events to the chain in one transaction, durable when it returns. It gives them their Sequence,
// Hash and, where it is zero, Time.
type Appender interface {
	AppendEvents(ctx context.Context, events []Event) error
}

// Options are the settings of a Log.
type Options struct {
	// Strict makes Record wait until the event is durable.
	Strict bool
	// Delay is how long a batch may wait for company; 10 ms if 0, since a transaction costs as much as 50 events. A strict
	// log does not wait: what comes while one batch is written makes the next.
	Delay time.Duration
	// Batch is the most events of one transaction; 1024 if 0.
	Batch int
	// Queue is the most events that wait; 8192 if 0.
	Queue int
	// Logger hears of batches that could not be written; slog.Default() if nil.
	Logger *slog.Logger
}

// Log is the group committer of key uses. Events reach the store in the order in which they were recorded.
type Log struct {
	appender Appender
	options  Options
	queue    chan entry
	// closing is closed when Close begins, stopped when all is written.
	closing, stopped chan struct{}
	// senders are in enqueue; the queue is closed when they are out.
	senders sync.WaitGroup

	// mu is never held while anything waits.
	mu     sync.Mutex
	closed bool
	// failure is why the last batch could not be written; nil when it could.
	failure error
}

type entry struct {
	event Event
	// done hears of the outcome; nil unless the log is strict.
	done chan error
}

// NewLog starts a log; end it with Close.
func NewLog(appender Appender, options Options) *Log {
	if options.Delay <= 0 {
		options.Delay = 10 * time.Millisecond
	}
	if options.Batch <= 0 {
		options.Batch = 1024
	}
	if options.Queue <= 0 {
		options.Queue = 8192
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	l := &Log{
		appender: appender, options: options, queue: make(chan entry, options.Queue),
		closing: make(chan struct{}), stopped: make(chan struct{}),
	}
	go l.commit()
	return l
}

// Record hands an event over; its Time is set if it is zero. A strict log returns when the event is durable. Another
// one returns as soon as it is queued, waits while the queue is full, and fails where the queue is full because the
// store takes no events: then the caller must not use the key.
func (l *Log) Record(ctx context.Context, event Event) error {
	if event.Time.IsZero() {
		event.Time = time.Now()
	}
	e := entry{event: event}
	if l.options.Strict {
		e.done = make(chan error, 1)
	}
	if err := l.enqueue(ctx, e); err != nil || e.done == nil {
		return err
	}
	select {
	case err := <-e.done:
		return err
	case <-ctx.Done():
		return waiting(ctx)
	}
}

func (l *Log) enqueue(ctx context.Context, e entry) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return errStopping
	}
	failure := l.failure
	l.senders.Add(1)
	l.mu.Unlock()
	defer l.senders.Done()
	select {
	case l.queue <- e:
		return nil
	default:
	}
	if failure != nil {
		return failure
	}
	select {
	case l.queue <- e:
		return nil
	case <-l.closing:
		return errStopping
	case <-ctx.Done():
		return waiting(ctx)
	}
}

var errStopping = fault.New(fault.DeviceError, "the daemon is stopping and takes no more audit events; call again when it runs")

func waiting(ctx context.Context) error {
	return fault.New(fault.DeadlineExceeded, "the audit event was not written in time: %w; look at the store's disk", context.Cause(ctx))
}

// Close writes what is queued and ends the log. It returns why events were lost, if any were.
func (l *Log) Close() error {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.mu.Unlock()
	if first {
		close(l.closing)
		l.senders.Wait()
		close(l.queue)
	}
	<-l.stopped
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure
}
