package catalog

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/config"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/fault"
)

const (
	// attemptTime bounds one attempt to open a provider: a server may take a connection and never answer.
	attemptTime = 30 * time.Second
	// The pause between attempts doubles from the one to the other.
	firstPause = 500 * time.Millisecond
	lastPause  = 10 * time.Second
)

// startWait is how long the daemon's start waits for providers. Tests make it shorter.
var startWait = 5 * time.Second

// late is a provider that is opened in the background.
type late struct {
	name, kind string
	log        *slog.Logger

	// stop ends the attempts, ended is closed when there are no more.
	stop  context.CancelFunc
	ended chan struct{}
	// tried is closed after the first attempt.
	tried chan struct{}

	mu     sync.Mutex
	opened provider.Provider
	// reason is why it is not open.
	reason error
}

// open begins to open a provider. The values of the context go with it, its end does not.
func open(ctx context.Context, p config.Provider, environment Environment) *late {
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := &late{
		name: p.Name, kind: p.Kind, log: environment.Logger.With("provider", p.Name), stop: stop,
		ended: make(chan struct{}), tried: make(chan struct{}),
		reason: fault.New(fault.DeviceError, "it is being opened; try again in a moment"),
	}
	go l.run(life, func() (provider.Provider, error) {
		// A provider may keep its context, so one that is open keeps it alive.
		attempt, cancel := context.WithCancel(life)
		timer := time.AfterFunc(attemptTime, cancel)
		defer timer.Stop()
		opened, err := kinds[p.Kind](attempt, p, environment)
		if err != nil {
			cancel()
			return nil, err
		}
		return opened, nil
	})
	return l
}

// run tries until the provider is open, or trying is of no use.
func (l *late) run(life context.Context, try func() (provider.Provider, error)) {
	defer close(l.ended)
	said := ""
	for attempt, pause := 1, firstPause; ; attempt, pause = attempt+1, min(2*pause, lastPause) {
		opened, err := try()
		l.mu.Lock()
		l.opened, l.reason = opened, err
		l.mu.Unlock()
		if attempt == 1 {
			close(l.tried)
		}
		switch {
		case life.Err() != nil:
			return
		case err == nil:
			if attempt > 1 {
				l.log.Info("the provider is open now", "attempts", attempt)
			}
			return
		case refused(err):
			l.log.Error("the provider refuses its credentials; it is not tried again before a restart, so that they do not get locked", "reason", err)
			return
		case attempt == 1 && misconfigured(err):
			// Open says so, and ends this.
		case err.Error() != said:
			said = err.Error()
			l.log.Warn("the provider is away; it is tried again until it opens, and all others work", "reason", err)
		}
		select {
		case <-life.Done():
			return
		case <-time.After(pause):
		}
	}
}

// first waits for the first attempt, and returns the provider if that opened it.
func (l *late) first(ctx context.Context) (provider.Provider, error) {
	select {
	case <-l.tried:
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.opened, l.reason
}

// misconfigured tells an error that no waiting mends: what is no fault at all is a problem with a file or a secret.
func misconfigured(err error) bool {
	switch fault.From(err).Kind {
	case fault.ArgumentsBad, fault.InvalidInput, fault.Internal:
		return true
	}
	return false
}

// refused tells an error after which each further attempt could lock the user out.
func refused(err error) bool {
	switch fault.From(err).Kind {
	case fault.PINIncorrect, fault.PINInvalid, fault.PINLenRange, fault.PINExpired, fault.PINLocked, fault.UserPINNotInitialized,
		fault.UserTypeInvalid, fault.UserAnotherAlreadyLoggedIn:
		return true
	}
	return false
}

// Opened returns the provider once it is open. Until then the error is for the application that needs it:
// CKR_DEVICE_ERROR, which the module takes as a reason to try again until its deadline, and CKR_FUNCTION_FAILED where
// that would be of no use.
func (l *late) Opened() (provider.Provider, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.reason == nil:
		return l.opened, nil
	case refused(l.reason):
		return nil, fault.New(fault.FunctionFailed, "provider %s is not in use: %s", l.name, l.reason)
	}
	return nil, fault.New(fault.DeviceError, "provider %s is away, and opened when it is back: %s", l.name, l.reason)
}

// Capabilities are the provider's; before it is open only its kind is known.
func (l *late) Capabilities() provider.Capabilities {
	if opened, err := l.Opened(); err == nil {
		return opened.Capabilities()
	}
	return provider.Capabilities{Kind: l.kind}
}

// Generate makes a key if the provider is open.
func (l *late) Generate(ctx context.Context, request provider.GenerateRequest) (provider.Generated, error) {
	opened, err := l.Opened()
	if err != nil {
		return provider.Generated{}, err
	}
	return opened.Generate(ctx, request)
}

// Key finds a key if the provider is open.
func (l *late) Key(ctx context.Context, reference provider.Reference) (provider.Key, error) {
	opened, err := l.Opened()
	if err != nil {
		return nil, err
	}
	return opened.Key(ctx, reference)
}

// Close ends the attempts and closes the provider if it is open.
func (l *late) Close() error {
	l.stop()
	<-l.ended
	if opened, err := l.Opened(); err == nil {
		return opened.Close()
	}
	return nil
}

var _ provider.Pending = (*late)(nil)
