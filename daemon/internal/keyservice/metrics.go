package keyservice

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/anyhsm/anyhsm/daemon/internal/breaker"
)

// metrics are the figures of the providers for Prometheus.
type metrics struct {
	providers map[string]*instance
	duration  *prometheus.HistogramVec
	errors    *prometheus.CounterVec
	passed    *prometheus.CounterVec
	state     *prometheus.Desc
}

func newMetrics(providers map[string]*instance) *metrics {
	return &metrics{
		providers: providers,
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "anyhsm_provider_duration_seconds", Help: "Time that a provider took, by operation.",
			// From a key in memory to an RSA key generation in a slow HSM.
			Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 30},
		}, []string{"provider", "operation"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "anyhsm_provider_errors_total", Help: "What a provider did not do: unavailable, throttled, timeout, or refused.",
		}, []string{"provider", "operation", "kind"}),
		passed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "anyhsm_provider_passed_over_total", Help: "Calls that went to another place of the key because this provider failed.",
		}, []string{"provider", "reason"}),
		state: prometheus.NewDesc("anyhsm_provider_breaker_state", "1 for the state in which the provider's circuit breaker is.",
			[]string{"provider", "state"}, nil),
	}
}

// Collector returns the providers' figures for Prometheus.
func (s *Service) Collector() prometheus.Collector { return s.metrics }

// Describe implements prometheus.Collector.
func (m *metrics) Describe(descriptions chan<- *prometheus.Desc) {
	m.duration.Describe(descriptions)
	m.errors.Describe(descriptions)
	m.passed.Describe(descriptions)
	descriptions <- m.state
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(figures chan<- prometheus.Metric) {
	m.duration.Collect(figures)
	m.errors.Collect(figures)
	m.passed.Collect(figures)
	for name, i := range m.providers {
		b := i.opened.Load()
		if b == nil {
			continue
		}
		now := b.breaker.Status().State
		for _, state := range []breaker.State{breaker.Closed, breaker.HalfOpen, breaker.Open} {
			is := 0.0
			if state == now {
				is = 1
			}
			figures <- prometheus.MustNewConstMetric(m.state, prometheus.GaugeValue, is, name, string(state))
		}
	}
}

// asked notes one answer of a provider.
func (m *metrics) asked(b *backend, what string, took time.Duration, err error) {
	m.duration.WithLabelValues(b.name, what).Observe(took.Seconds())
	if err == nil {
		return
	}
	kind := failure(err)
	if kind == "" {
		kind = "refused"
	}
	m.errors.WithLabelValues(b.name, what, kind).Inc()
}

// passedOver notes that a call goes on with another provider.
func (m *metrics) passedOver(b *backend, err error) {
	reason := failure(err)
	if reason == "" {
		reason = "refused"
	}
	m.passed.WithLabelValues(b.name, reason).Inc()
}
