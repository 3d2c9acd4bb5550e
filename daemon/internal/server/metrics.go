package server

import (
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/version"
)

// Metrics are the daemon's figures for Prometheus.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	keyUses  *prometheus.CounterVec
	panics   prometheus.Counter
	methods  methods
}

func newMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "anyhsm_rpc_requests_total", Help: "Calls by method and gRPC code.",
		}, []string{"method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "anyhsm_rpc_duration_seconds", Help: "Time from a call's arrival to its answer.",
			// From a local AES block to an RSA key generation in a slow HSM.
			Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 30},
		}, []string{"method"}),
		keyUses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "anyhsm_key_uses_total", Help: "Uses of keys by operation, mechanism and outcome.",
		}, []string{"operation", "mechanism", "outcome"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "anyhsm_panics_total", Help: "Calls that ended in a panic: each is a defect.",
		}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "anyhsm_build_info", Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version.Version, "go": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.requests, m.duration, m.keyUses, m.panics, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Register adds figures that somebody else keeps.
func (m *Metrics) Register(collector prometheus.Collector) { m.registry.MustRegister(collector) }

// Gauge adds a figure that is read when Prometheus asks.
func (m *Metrics) Gauge(name, help string, read func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
}

// mechanismLabel is the mechanism's name; callers could otherwise make as many labels as there are numbers.
func mechanismLabel(number uint64) string {
	if name := cryptoki.MechanismType(number).String(); strings.HasPrefix(name, "CKM_") {
		return name
	}
	return "other"
}

// monitoring serves /metrics and /healthz.
func (s *Server) monitoring() *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if err := s.check(r.Context()); err != nil {
			// The reason stands in the log; this address needs no identity.
			s.options.Logger.Error("the health check failed", "error", err)
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte("not healthy; the daemon's log says why\n"))
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
}
