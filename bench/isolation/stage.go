package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookgraph/hookgraph/bench/harness"
)

// stage is a hub with its endpoints: the first ones are those that can be bad.
type stage struct {
	hub       *harness.Server
	bad       *remote
	sinks     []*harness.Sink
	endpoints []string // IDs
	load      *harness.Load
	arrivals  []atomic.Int64 // of each endpoint, of those that are measured

	mu      sync.Mutex
	into    *harness.Latencies
	seconds map[int64]*harness.Latencies // the same, by the second in which each was due
	skip    int                          // this endpoint is not measured
}

// stage starts a hub with all endpoints.
func (b *bench) stage(ctx context.Context) (*stage, error) {
	b.hubs++
	database := b.databaseURL
	if database == "" {
		database = "sqlite:" + filepath.Join(b.dir, fmt.Sprintf("hub%d.db", b.hubs))
	}
	addr, err := harness.FreeAddr()
	if err != nil {
		return nil, err
	}
	s := &stage{
		hub:      &harness.Server{Binary: b.binary, DatabaseURL: database, Addr: addr, Log: filepath.Join(b.dir, "hub.log"), Env: []string{"HOOKGRAPH_LOG_LEVEL=error"}},
		arrivals: make([]atomic.Int64, b.endpoints), skip: -1,
	}
	if s.bad, err = startReceivers(ctx, b.bad); err != nil {
		return nil, err
	}
	urls := s.bad.urls
	for i := b.bad; i < b.endpoints; i++ {
		sink, err := harness.NewSink(func(_ string, body []byte) { s.arrived(i, body) })
		if err != nil {
			s.close(ctx)
			return nil, err
		}
		s.sinks = append(s.sinks, sink)
		urls = append(urls, sink.URL())
	}
	if err := s.hub.Start(ctx); err != nil {
		s.close(ctx)
		return nil, err
	}
	if err := s.connect(ctx, b.timeout, urls); err != nil {
		s.close(ctx)
		return nil, err
	}
	return s, nil
}

// eventType is what the ith endpoint gets.
func eventType(i int) string { return fmt.Sprintf("type%04d", i) }

// connect makes a source, and an endpoint with its own type of events at each URL.
func (s *stage) connect(ctx context.Context, timeout time.Duration, urls []string) error {
	slug, _, err := s.hub.Source(ctx, "body.type")
	if err != nil {
		return err
	}
	for i, url := range urls {
		id, err := s.hub.Endpoint(ctx, map[string]any{"name": eventType(i), "url": url, "timeout": fmt.Sprintf("PT%dS", int(timeout.Seconds()))})
		if err != nil {
			return err
		}
		if _, err := s.hub.Subscription(ctx, map[string]any{"name": eventType(i), "endpointId": id, "eventTypes": []string{eventType(i)}}); err != nil {
			return err
		}
		s.endpoints = append(s.endpoints, id)
	}
	s.load = &harness.Load{Addr: s.hub.Addr, Path: "/in/" + slug, Type: func(n int) string { return eventType(n % len(urls)) }}
	return nil
}

func (s *stage) arrived(i int, body []byte) {
	now := time.Now()
	s.arrivals[i].Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.into == nil || i == s.skip {
		return
	}
	due := harness.DueOf(body)
	s.into.Add(now.Sub(due))
	second := s.seconds[due.Unix()]
	if second == nil {
		second = &harness.Latencies{}
		s.seconds[due.Unix()] = second
	}
	second.Add(now.Sub(due))
}

// close ends everything and takes the endpoints out of a database that is used again.
func (s *stage) close(ctx context.Context) {
	_ = s.bad.behave(good, 0, false)
	for _, id := range s.endpoints {
		var out any
		if err := s.hub.GraphQL(ctx, `mutation ($id: ID!) { deleteEndpoint(input: {id: $id}) { userErrors { message } } }`, map[string]any{"id": id}, &out); err != nil {
			break // the hub is gone
		}
	}
	_ = s.hub.Stop()
	for _, sink := range s.sinks {
		sink.Close()
	}
	s.bad.stop()
}

// watch notes the most that the hub holds.
func (s *stage) watch(ctx context.Context, p *phase) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if mib, err := harness.ResidentMiB(s.hub.PID()); err == nil {
			p.resident = max(p.resident, mib)
		}
		if n, err := harness.Sockets(s.hub.PID()); err == nil {
			p.sockets = max(p.sockets, float64(n))
		}
		if m, err := s.hub.Metrics(ctx, "go_goroutines", "hookgraph_in_flight_attempts"); err == nil {
			p.goroutines, p.inFlight = max(p.goroutines, m[0]), max(p.inFlight, m[1])
		}
	}
}

// change runs mutations that are about the endpoint $id.
func (s *stage) change(ctx context.Context, id, mutations string) error {
	var out any
	return s.hub.GraphQL(ctx, "mutation ($id: ID!) { "+mutations+" }", map[string]any{"id": id}, &out)
}
