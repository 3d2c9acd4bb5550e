package audit

// Queued returns how many events wait to be written, for metrics.
func (l *Log) Queued() int { return len(l.queue) }
