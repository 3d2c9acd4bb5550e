package audit

import (
	"context"
	"time"
)

const (
	// timeout is how long one batch may take.
	timeout = 30 * time.Second
	// The pauses between tries of a batch that could not be written.
	firstPause, longestPause = 50 * time.Millisecond, 2 * time.Second
	// lastTries is how often Close tries to write what is left.
	lastTries = 3
)

// commit writes batches until the queue is closed and empty.
func (l *Log) commit() {
	defer close(l.stopped)
	batch := make([]entry, 0, l.options.Batch)
	for {
		first, ok := <-l.queue
		if !ok {
			return
		}
		batch = l.gather(append(batch[:0], first))
		l.write(batch)
	}
}

// gather adds what is queued to a batch, and what comes within the delay.
func (l *Log) gather(batch []entry) []entry {
	var late <-chan time.Time
	if !l.options.Strict {
		timer := time.NewTimer(l.options.Delay)
		defer timer.Stop()
		late = timer.C
	}
	for len(batch) < l.options.Batch {
		select {
		case e, ok := <-l.queue:
			if !ok {
				return batch
			}
			batch = append(batch, e)
			continue
		default:
		}
		if late == nil {
			return batch
		}
		select {
		case e, ok := <-l.queue:
			if !ok {
				return batch
			}
			batch = append(batch, e)
		case <-late:
			return batch
		}
	}
	return batch
}

// write writes a batch. A strict log's callers hear of a failure and the batch is given up; else it is tried again
// until it is written, while the queue fills and Record begins to fail.
func (l *Log) write(batch []entry) {
	pause := firstPause
	for try := 1; ; try++ {
		err := l.append(batch)
		closed := l.note(err)
		if err != nil {
			l.options.Logger.Error("audit events could not be written", "events", len(batch), "try", try, "error", err)
		}
		if l.options.Strict {
			for _, e := range batch {
				e.done <- err
			}
			return
		}
		if err == nil || closed && try >= lastTries {
			return
		}
		time.Sleep(pause)
		pause = min(2*pause, longestPause)
	}
}

func (l *Log) append(batch []entry) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	events := make([]Event, len(batch))
	for i, e := range batch {
		events[i] = e.event
	}
	return l.appender.AppendEvents(ctx, events)
}

// note keeps why the store takes no events, and tells whether the log is closed.
func (l *Log) note(err error) (closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failure = err
	return l.closed
}
