package deliver_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/deliver"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// alone is what a node knows that is the only one.
var alone = &hub.Peers{}

// nullStore keeps nothing: it stands for a database that takes no time.
type nullStore struct {
	configuration *hub.Configuration
	settled       chan struct{}
}

func (s *nullStore) Configuration() *hub.Configuration                              { return s.configuration }
func (s *nullStore) Peers() *hub.Peers                                              { return alone }
func (s *nullStore) Health(string) *hub.EndpointHealth                              { return nil }
func (s *nullStore) Claim(context.Context, []hub.Want) ([]hub.Lease, error)         { return nil, nil }
func (s *nullStore) NextDue(context.Context) (map[string]time.Time, error)          { return nil, nil }
func (s *nullStore) Leased(context.Context, []string) (map[string]hub.Lease, error) { return nil, nil }

func (s *nullStore) Stale(context.Context, *hub.Delivery, *hub.Event) (string, bool, error) {
	return "", false, nil
}
func (s *nullStore) KeepBody(context.Context, hub.Lease, hub.Body) error { return nil }
func (s *nullStore) RecordAttempt(context.Context, *hub.Attempt) error   { return nil }
func (s *nullStore) UpdateEndpoint(context.Context, string, func(*hub.Endpoint) error) (*hub.Endpoint, error) {
	return nil, hub.ErrNotFound
}
func (s *nullStore) Settle(hub.Settlement) { s.settled <- struct{}{} }

const benchConcurrency = 64

// BenchmarkDeliver compares the dispatcher with a bare http.Client that posts the
// same bodies to the same sink with the same number in flight, in one run. The
// metric ratio is the dispatcher's share of the bare client's rate.
func BenchmarkDeliver(b *testing.B) {
	body := bytes.Repeat([]byte(`{"id":1234567}, `), 64)
	url := serve(b, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })

	bare := func(n int) time.Duration {
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}, Timeout: hub.DefaultTimeout}
		defer client.CloseIdleConnections()
		began := time.Now()
		var wg sync.WaitGroup
		work := make(chan struct{}, n)
		for range n {
			work <- struct{}{}
		}
		close(work)
		for range benchConcurrency {
			wg.Go(func() {
				for range work {
					response, err := client.Post(url, "application/json", bytes.NewReader(body))
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, response.Body)
					_ = response.Body.Close()
				}
			})
		}
		wg.Wait()
		return time.Since(began)
	}

	dispatched := func(n int, logger *slog.Logger) time.Duration {
		e := newEndpoint("end_1", url, func(e *hub.Endpoint) { e.MaxConcurrency = benchConcurrency })
		store := &nullStore{
			configuration: hub.NewConfiguration(0, nil, []*hub.Endpoint{e}, nil), settled: make(chan struct{}, 4*benchConcurrency),
		}
		d, err := deliver.New(deliver.Config{Store: store, Shaper: &shaper{}, Transport: loopback(b), Sign: sign, Logger: logger})
		if err != nil {
			b.Fatal(err)
		}
		if err := d.Start(b.Context()); err != nil {
			b.Fatal(err)
		}
		ev := &hub.Event{ID: "evt_1", Type: "test", ContentType: "application/json", Payload: &hub.Payload{Body: body}, ReceivedAt: time.Now()}
		began := time.Now()
		for sent, done := 0, 0; done < n; {
			for sent < n && sent-done < benchConcurrency && d.Reserve("end_1") {
				now := time.Now()
				sent++
				d.Take(hub.Lease{
					Delivery: hub.Delivery{ID: hub.NewID(hub.DeliveryPrefix, now), EventID: ev.ID, EndpointID: "end_1", NextAttemptAt: now},
					Event:    ev, Token: "t", ExpiresAt: now.Add(time.Minute),
				})
			}
			<-store.settled
			done++
		}
		took := time.Since(began)
		if err := d.Stop(b.Context()); err != nil {
			b.Fatal(err)
		}
		return took
	}

	logs := map[string]*slog.Logger{"without a log": quiet, "with a log": slog.New(slog.NewJSONHandler(io.Discard, nil))}
	for name, logger := range logs {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.StopTimer()
			plain := bare(b.N)
			b.StartTimer()
			ours := dispatched(b.N, logger)
			b.StopTimer()
			b.ReportMetric(float64(b.N)/plain.Seconds(), "bare/s")
			b.ReportMetric(float64(b.N)/ours.Seconds(), "delivered/s")
			b.ReportMetric(plain.Seconds()/ours.Seconds(), "ratio")
		})
	}
}
