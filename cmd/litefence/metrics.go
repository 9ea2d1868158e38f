package main

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/litefence/litefence/policy"
	"github.com/litefence/litefence/quorum"
)

const (
	scrapeLimit = 5 * time.Second
	maxScrapes  = 4 // at a time; each asks LiteFS
)

// lifted stands for the reason where there is none any more.
const lifted = "none"

// metrics are those that are counted as things happen. What can be read when
// somebody asks is read then (scraped).
type metrics struct {
	registry    *prometheus.Registry
	beats       *prometheus.HistogramVec
	transitions *prometheus.CounterVec
	recoveries  *prometheus.CounterVec
	state       string // as last told, for transitions of it; guarded by events.mu
}

// newMetrics registers with reg; nothing of this is global.
func newMetrics(reg *prometheus.Registry) *metrics {
	m := &metrics{
		registry: reg,
		beats: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "litefs_heartbeat_latency_ms", Help: "Round trip of an answered heartbeat to a peer, in milliseconds; known to the leader.",
			Buckets: []float64{0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 150, 250, 500, 1000},
		}, []string{"peer"}),
		transitions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "litefence_fence_transitions_total", Help: "Changes of the fence by the reason that stands after them; none = it was lifted.",
		}, []string{"reason"}),
		recoveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "litefence_recoveries_total", Help: "Ends of a detected split brain on this node: resolved, or failed.",
		}, []string{"result"}),
		state: string(quorum.StateHealthy),
	}
	// A series that begins with 1 has no increase that an alert could see.
	for _, result := range []string{"resolved", "failed"} {
		m.recoveries.WithLabelValues(result)
	}
	for _, r := range []policy.Reason{policy.ReasonStale, policy.ReasonManual, policy.ReasonCommand, policy.ReasonNoLeader, policy.ReasonReplica} {
		m.transitions.WithLabelValues(string(r))
	}
	m.transitions.WithLabelValues(lifted)
	reg.MustRegister(m.beats, m.transitions, m.recoveries,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) heartbeat(peer string, took time.Duration) {
	m.beats.WithLabelValues(peer).Observe(float64(took) / float64(time.Millisecond))
}

// event counts what an event tells. It is called for one after the other.
func (m *metrics) event(e policy.Event) {
	switch e.Kind {
	case policy.EventLifted:
		m.transitions.WithLabelValues(lifted).Inc()
	case policy.EventFenced:
		m.transitions.WithLabelValues(string(e.Reason)).Inc()
	}
	was := m.state
	m.state = e.State
	switch detected := was == string(quorum.StateSplitBrain); {
	case was == e.State:
	case detected && e.State == string(quorum.StateFailed):
		m.recoveries.WithLabelValues("failed").Inc()
	case detected, e.State == string(quorum.StateResolved): // the latter: what had failed was made good
		m.recoveries.WithLabelValues("resolved").Inc()
	}
}

// handler is GET /metrics.
func (m *metrics) handler(d *daemon) http.HandlerFunc {
	reg := prometheus.NewRegistry()
	reg.MustRegister(newScraped(d))
	h := promhttp.HandlerFor(prometheus.Gatherers{m.registry, reg}, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, ErrorLog: scrapeLog{d.log},
		MaxRequestsInFlight: maxScrapes, Timeout: scrapeLimit,
	})
	return h.ServeHTTP
}

type scrapeLog struct{ *slog.Logger }

func (l scrapeLog) Println(v ...any) { l.Warn("metrics", "err", v) }

// watchOver makes what watches the node, before there is one.
func (d *daemon) watchOver() {
	d.metrics = newMetrics(prometheus.NewRegistry())
	d.events = newEvents(d.metrics.event)
}
