package keyservice

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/breaker"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Routing says which of a key's places is asked first. Whatever it says, a provider that fails is passed over within the
// call, and one whose breaker is open is not asked.
type Routing string

// The policies. The empty one is an object's "as its token says", and a token's Prefer.
const (
	// Prefer asks the places in their order.
	Prefer Routing = "prefer"
	// Any asks a different place first each time.
	Any Routing = "any"
	// Failover asks the first place until its provider is broken, then the next, and goes back when the provider's own
	// health check passes: no call of an application tries it.
	Failover Routing = "failover"
)

// parseRouting checks what an administrator asks for.
func parseRouting(name string) (Routing, error) {
	switch r := Routing(strings.ToLower(name)); r {
	case "", Prefer, Any, Failover:
		return r, nil
	}
	return "", fault.New(fault.InvalidInput, "%q is no routing; choose prefer, any or failover", name)
}

// patience is the longest that a place is waited for while there is another: a provider that hangs leaves the next one
// time, and the application does not wait long.
const patience = 3 * time.Second

// order puts the places of a key in the order in which a call asks them. Those that cannot be asked now come last: to
// say why, if there is no other.
func (s *Service) order(ctx context.Context, t target) []place {
	if len(t.places) < 2 {
		return t.places
	}
	places := slices.Clone(t.places)
	if t.routing == Any {
		first := int(s.spread.Add(1) % uint64(len(places)))
		places = append(places[first:], places[:first]...)
	}
	later := map[*backend]bool{}
	for _, p := range places {
		if t.routing == Failover && p.breaker.Status().State != breaker.Closed {
			later[p.backend] = true
			s.tryHealth(ctx, p.backend)
		} else if !p.breaker.Ready() {
			later[p.backend] = true
		}
	}
	rank := func(p place) int {
		if later[p.backend] {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(places, func(a, b place) int { return cmp.Compare(rank(a), rank(b)) })
	return places
}

// tryHealth is the try of a broken provider by its own health check, in the background; it does nothing before the
// breaker's pause is over, or while a try runs.
func (s *Service) tryHealth(ctx context.Context, b *backend) {
	if _, ok := b.Provider.(provider.HealthChecker); !ok || !b.breaker.Ready() {
		return
	}
	ctx = context.WithoutCancel(ctx)
	go func() {
		_, err := ask(ctx, s, b, "health", func(ctx context.Context) (struct{}, error) { return struct{}{}, health(ctx, b) })
		if err == nil {
			s.log.InfoContext(ctx, "the provider serves again", "provider", b.name)
		}
	}()
}

// share gives one of several attempts its part of the time that the call has left.
func share(ctx context.Context, attempts int) (context.Context, context.CancelFunc) {
	if attempts < 2 {
		return ctx, func() {}
	}
	part := patience
	if deadline, ok := ctx.Deadline(); ok {
		part = min(part, time.Until(deadline)/time.Duration(attempts))
	}
	return context.WithTimeout(ctx, part)
}

// use does something with a key, in the ability that it takes, where the key's routing says, or at the next place if a
// provider fails. What the key refuses is refused: no other place is asked then.
func use[Ability, Result any](ctx context.Context, s *Service, t target, what string, do func(context.Context, *backend, Ability) (Result, error)) (result Result, err error) {
	places := s.order(ctx, t)
	if len(places) == 0 {
		return result, fault.New(fault.KeyHandleInvalid, "there is no secret behind this key; give the handle of a private or secret key")
	}
	var failures []error
	for i, p := range places {
		if result, err = attempt(ctx, s, t, p, len(places)-i, what, do); err == nil {
			return result, nil
		}
		if !passable(err) || ctx.Err() != nil {
			return result, err
		}
		failures = append(failures, err)
		if i+1 < len(places) {
			s.metrics.passedOver(p.backend, err)
			s.log.LogAttrs(ctx, slog.LevelWarn, "a provider was passed over", slog.String("provider", p.name), slog.String("next", places[i+1].name),
				slog.String("operation", what), slog.String("object", t.UID), slog.String("error", err.Error()))
		}
	}
	if len(failures) == 1 {
		return result, err
	}
	return result, fault.New(fault.From(settle(failures[0])).Kind, "none of the %d places where the key is has served: %w", len(failures), errors.Join(failures...))
}

// attempt does something with the key at one place; left are the places that there are, with this one.
func attempt[Ability, Result any](ctx context.Context, s *Service, t target, p place, left int, what string, do func(context.Context, *backend, Ability) (Result, error)) (Result, error) {
	return ask(ctx, s, p.backend, what, func(ctx context.Context) (result Result, err error) {
		ctx, cancel := share(ctx, left)
		defer cancel()
		key, err := s.key(ctx, p.backend, t.reference(p))
		if err != nil {
			return result, err
		}
		ability, ok := key.(Ability)
		if !ok {
			return result, fault.New(fault.KeyFunctionNotPermitted, "provider %s cannot %s with this key; use a key of another provider: %w", p.name, what, errUnable)
		}
		s.costs.used(p.backend, t.Attributes)
		return do(ctx, p.backend, ability)
	})
}

// errUnable marks the refusal of a place whose key lacks the ability: another place may have it.
var errUnable = errors.New("the provider's key lacks the ability")

// passable tells whether another place may do what one has not done: because its provider fails, has lost the key or
// does less. What the data or the key's permissions are to blame for is the same everywhere.
func passable(err error) bool {
	if failure(err) != "" || errors.Is(err, errUnable) {
		return true
	}
	switch fault.From(err).Kind {
	case fault.FunctionFailed, fault.Internal, fault.DeviceMemory, fault.KeyHandleInvalid, fault.MechanismInvalid,
		fault.MechanismParamInvalid, fault.FunctionNotSupported:
		return true
	}
	return false
}
