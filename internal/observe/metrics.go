package observe

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// latencyBuckets reach from half a millisecond to a minute, in seconds.
var latencyBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// Metrics are the figures that /metrics shows, in the form of Prometheus.
type Metrics struct {
	registry *prometheus.Registry
	received *prometheus.CounterVec
	ack      prometheus.Histogram
	attempts *prometheus.CounterVec
	attempt  prometheus.Histogram
	endToEnd prometheus.Histogram
}

// NewMetrics makes a set of metrics of its own, beside those of the Go runtime
// and the process.
func NewMetrics() *Metrics {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	in := promauto.With(registry)
	return &Metrics{
		registry: registry,
		received: in.NewCounterVec(prometheus.CounterOpts{
			Name: "hookgraph_received_total", Help: "Inbound requests by their result: accepted, duplicate, or the reason of the rejection.",
		}, []string{"result"}),
		ack: in.NewHistogram(prometheus.HistogramOpts{
			Name: "hookgraph_acknowledge_seconds", Help: "From the start of an inbound request to its acknowledgement, the durable commit included.", Buckets: latencyBuckets,
		}),
		attempts: in.NewCounterVec(prometheus.CounterOpts{
			Name: "hookgraph_attempts_total", Help: "Delivery attempts by their outcome.",
		}, []string{"outcome"}),
		attempt: in.NewHistogram(prometheus.HistogramOpts{
			Name: "hookgraph_attempt_seconds", Help: "Duration of delivery attempts.", Buckets: latencyBuckets,
		}),
		endToEnd: in.NewHistogram(prometheus.HistogramOpts{
			Name: "hookgraph_end_to_end_seconds", Help: "From the receipt of an event to its successful delivery.", Buckets: append(latencyBuckets, 300, 3600, 86400),
		}),
	}
}

// Received counts an inbound request.
func (m *Metrics) Received(result string, took time.Duration) {
	m.received.WithLabelValues(result).Inc()
	m.ack.Observe(took.Seconds())
}

// Attempted counts a finished delivery attempt.
func (m *Metrics) Attempted(outcome string, took time.Duration) {
	m.attempts.WithLabelValues(outcome).Inc()
	m.attempt.Observe(took.Seconds())
}

// Delivered notes how long an event took from its receipt.
func (m *Metrics) Delivered(sinceReceipt time.Duration) { m.endToEnd.Observe(sinceReceipt.Seconds()) }

// Gauge adds a figure that is read whenever the metrics are.
func (m *Metrics) Gauge(name, help string, read func() float64) {
	promauto.With(m.registry).NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read)
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
