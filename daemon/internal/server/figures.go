package server

import (
	"maps"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// methods are the figures of methods. Finding a figure by its labels costs more than counting, at each call.
type methods = known[string, *figures]

// figures are one method's.
type figures struct {
	short, operation string
	duration         prometheus.Observer
	requests         known[codes.Code, prometheus.Counter]
	uses             known[use, prometheus.Counter]
}

// use is a use of a key, as it is counted.
type use struct {
	mechanism string
	failed    bool
}

// known is a map that is read often and grows rarely. Its zero value is empty.
type known[K comparable, V any] struct {
	entries atomic.Pointer[map[K]V]
}

// get returns the value of a key, which it makes the first time.
func (k *known[K, V]) get(key K, create func() V) V {
	entries := k.entries.Load()
	if entries != nil {
		if v, ok := (*entries)[key]; ok {
			return v
		}
	}
	more := map[K]V{}
	if entries != nil {
		maps.Copy(more, *entries)
	}
	v := create()
	more[key] = v
	// Who loses a race makes it again next time; Prometheus knows that it is the same.
	k.entries.CompareAndSwap(entries, &more)
	return v
}

func (m *Metrics) observe(method string, request any, code codes.Code, took time.Duration) {
	f := m.methods.get(method, func() *figures { return m.figures(method) })
	f.requests.get(code, func() prometheus.Counter { return m.requests.WithLabelValues(f.short, code.String()) }).Inc()
	f.duration.Observe(took.Seconds())
	if f.operation == "" {
		return
	}
	if used, ok := request.(interface{ GetMechanism() *anyhsmv1.Mechanism }); ok {
		u := use{mechanism: mechanismLabel(used.GetMechanism().GetType()), failed: code != codes.OK}
		f.uses.get(u, func() prometheus.Counter { return m.keyUses.WithLabelValues(f.operation, u.mechanism, u.outcome()) }).Inc()
	}
}

func (u use) outcome() string {
	if u.failed {
		return "error"
	}
	return "ok"
}

func (m *Metrics) figures(method string) *figures {
	f := &figures{short: strings.TrimPrefix(method, "/anyhsm.v1.")}
	f.duration = m.duration.WithLabelValues(f.short)
	if strings.HasPrefix(method, "/anyhsm.v1.CryptoService/") {
		f.operation = strings.ToLower(path.Base(method))
	}
	return f
}
