package server

import (
	"log/slog"
	"sync"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/authn"
)

const (
	strangerInterval = time.Minute
	strangerLimit    = 1024
)

// strangers logs callers that belong to no application: their slot list is empty, and whoever looks for the reason
// finds it in the log. Each is logged once a minute at most.
type strangers struct {
	logger *slog.Logger
	mu     sync.Mutex
	logged map[string]time.Time
}

func newStrangers(logger *slog.Logger) *strangers {
	return &strangers{logger: logger, logged: map[string]time.Time{}}
}

func (s *strangers) note(caller authn.Caller) {
	now := time.Now()
	s.mu.Lock()
	last, known := s.logged[caller.Identity]
	quiet := known && now.Sub(last) < strangerInterval
	if !quiet {
		if len(s.logged) >= strangerLimit {
			clear(s.logged)
		}
		s.logged[caller.Identity] = now
	}
	s.mu.Unlock()
	if !quiet {
		s.logger.Info("a caller that belongs to no application sees no slots; run: anyhsm app add NAME, then anyhsm app grant", "identity", caller.Identity)
	}
}
