// Command speed measures the hub on this machine: durable acknowledgements, events
// from the sender to a sink, and latencies at a steady rate. The hub, the load and
// the sink share the machine's processors, so figures mean something only as ratios
// to the baselines measured in the same run: a bare net/http server under the same
// load, and the disk's own fdatasync.
//
//	go run ./bench/speed
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookgraph/hookgraph/bench/harness"
)

type options struct {
	duration    time.Duration
	rounds      int
	root        string
	databaseURL string
	bare        string
	parts       string
}

func main() {
	var o options
	flag.DurationVar(&o.duration, "duration", 5*time.Second, "length of each measurement")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each measurement is made; the median counts")
	flag.StringVar(&o.root, "root", ".", "the module's root")
	flag.StringVar(&o.databaseURL, "database-url", "", "database of the hub, empty at the start; default: a SQLite file in a temporary directory")
	flag.StringVar(&o.parts, "parts", "abcd", "which of the measurements are made")
	flag.StringVar(&o.bare, "bare", "", "serve the baseline at this address, for the program's own use")
	flag.Parse()
	harness.Main("speed", func(ctx context.Context) error {
		if o.bare != "" {
			return serveBare(o.bare)
		}
		return run(ctx, o)
	})
}

// serveBare is the baseline: net/http that reads the body and answers 200.
func serveBare(addr string) error {
	server := &http.Server{Addr: addr, ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"id":"evt_00000000000000000000000000","duplicate":false}`))
	})}
	return server.ListenAndServe()
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "hookgraph-speed-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if o.databaseURL == "" {
		o.databaseURL = "sqlite:" + filepath.Join(dir, "hub.db")
	}
	binary, err := harness.Build(ctx, o.root, dir)
	if err != nil {
		return err
	}
	fmt.Printf("%d processors, %s, each figure the median of %d rounds of %s\n\n", runtime.NumCPU(), runtime.Version(), o.rounds, o.duration)
	p50, p99, err := probeDisk(dir)
	if err != nil {
		return err
	}
	fmt.Printf("fdatasync of 4 KiB appended: p50 %s, p99 %s\n\n", ms(p50), ms(p99))

	bareAddr, err := harness.FreeAddr()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	bare := exec.Command(self, "-bare", bareAddr)
	if err := bare.Start(); err != nil {
		return err
	}
	defer func() { _ = bare.Process.Kill(); _ = bare.Wait() }()

	sink := &timedSink{}
	target, err := harness.NewSink(sink.arrived)
	if err != nil {
		return err
	}
	defer target.Close()
	addr, err := harness.FreeAddr()
	if err != nil {
		return err
	}
	hub := &harness.Server{Binary: binary, DatabaseURL: o.databaseURL, Addr: addr, Log: filepath.Join(dir, "hub.log")}
	if err := hub.Start(ctx); err != nil {
		return err
	}
	defer func() { _ = hub.Stop() }()
	storeOnly, err := hub.Connect(ctx, "")
	if err != nil {
		return err
	}
	routed, err := hub.Connect(ctx, target.URL())
	if err != nil {
		return err
	}
	b := &bench{options: o, hub: hub, sink: sink, bareAddr: bareAddr, loads: make(map[string]*harness.Load)}

	if strings.Contains(o.parts, "a") {
		b.acknowledgements(ctx, addr, "/in/"+storeOnly.Slug)
	}
	if strings.Contains(o.parts, "b") {
		if err := b.deliveries(ctx, addr, "/in/"+routed.Slug); err != nil {
			return err
		}
	}
	if strings.Contains(o.parts, "d") {
		if err := b.shapes(ctx, addr, target.URL()); err != nil {
			return err
		}
	}
	peak, err := harness.PeakMiB(hub.PID())
	if err != nil {
		return err
	}
	fmt.Printf("    peak memory of the hub so far: %.0f MiB\n", peak)
	if err := hub.Stop(); err != nil { // the memory of what follows is its own
		return err
	}
	if err := hub.Start(ctx); err != nil {
		return err
	}
	if strings.Contains(o.parts, "c") {
		b.latencies(ctx, addr, "/in/"+routed.Slug)
	}
	if peak, err = harness.PeakMiB(hub.PID()); err != nil {
		return err
	}
	fmt.Printf("    peak memory of the hub at these rates: %.0f MiB\n\n", peak)
	if p50, p99, err = probeDisk(dir); err != nil {
		return err
	}
	fmt.Printf("fdatasync at the end: p50 %s, p99 %s\n", ms(p50), ms(p99))
	return nil
}

// acknowledgements measures part (a).
func (b *bench) acknowledgements(ctx context.Context, addr, path string) {
	fmt.Println("(a) durable acknowledgements, HMAC verified, 1 KiB JSON")
	for _, conns := range []int{32, 256} {
		var bareRate, ackRate []float64
		for range b.rounds {
			bareRate = append(bareRate, b.closed(ctx, b.bareAddr, "/", conns).rate)
			ackRate = append(ackRate, b.closed(ctx, addr, path, conns).rate)
		}
		fmt.Printf("    %3d connections: %7.0f/s   bare net/http %7.0f/s   ratio %.2f\n", conns, median(ackRate), median(bareRate), median(ackRate)/median(bareRate))
	}
}

// deliveries measures part (b).
func (b *bench) deliveries(ctx context.Context, addr, path string) error {
	fmt.Println("\n(b) end to end, one delivery an event, from the first request to the last arrival")
	for _, conns := range []int{32, 256} {
		var bareRate, ackRate, endRate, cpu []float64
		for range b.rounds {
			bareRate = append(bareRate, b.closed(ctx, b.bareAddr, "/", conns).rate)
			r, err := b.endToEnd(ctx, addr, path, conns, 1)
			if err != nil {
				return err
			}
			ackRate, endRate, cpu = append(ackRate, r.rate), append(endRate, r.endToEnd), append(cpu, r.cpu)
		}
		fmt.Printf("    %3d connections: %7.0f/s   acknowledged %7.0f/s   bare net/http %7.0f/s   ratio %.2f   hub %.2f CPU s per 1,000 events\n",
			conns, median(endRate), median(ackRate), median(bareRate), median(endRate)/median(bareRate), median(cpu))
	}
	return nil
}

// shape is one way of subscribing.
type shape struct {
	name          string
	subscriptions int
	extra         map[string]any // more of the subscription's input
}

var shapes = []shape{
	{"1 subscription", 1, nil},
	{"5 subscriptions", 5, nil},
	{"1 with a filter", 1, map[string]any{"filter": `body.type == "order.created" && size(body.padding) > 10 && event.type != "x"`}},
	{"1 with a transform in CEL", 1, map[string]any{"transform": map[string]any{
		"kind": "CEL", "expression": `{"due": body.due, "id": event.id, "type": event.type, "size": size(body.padding)}`,
	}}},
	{"1 with a transform in GRAPHQL", 1, map[string]any{"transform": map[string]any{
		"kind": "GRAPHQL", "expression": `{ due: payload(path: "$.due") id type source { slug } }`,
	}}},
}

// shapes measures part (d).
func (b *bench) shapes(ctx context.Context, addr, url string) error {
	fmt.Println("\n(d) end to end at 64 connections by what subscriptions ask, in turn; ratios are to the first")
	paths := make([]string, len(shapes))
	for i, s := range shapes {
		slug, source, err := b.hub.Source(ctx, "body.type")
		if err != nil {
			return err
		}
		for range s.subscriptions {
			endpoint, err := b.hub.Endpoint(ctx, map[string]any{"name": "Sink", "url": url, "timeout": "PT5S", "maxConcurrency": 64})
			if err != nil {
				return err
			}
			input := map[string]any{"name": s.name, "endpointId": endpoint, "sourceIds": []string{source}}
			maps.Copy(input, s.extra)
			if _, err := b.hub.Subscription(ctx, input); err != nil {
				return err
			}
		}
		paths[i] = "/in/" + slug
	}
	rates, cpus := make([][]float64, len(shapes)), make([][]float64, len(shapes))
	for range b.rounds {
		for i, s := range shapes {
			r, err := b.endToEnd(ctx, addr, paths[i], 64, s.subscriptions)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			rates[i], cpus[i] = append(rates[i], r.endToEnd), append(cpus[i], r.cpu)
		}
	}
	for i, s := range shapes {
		rate, cpu := median(rates[i]), median(cpus[i])
		fmt.Printf("    %-30s %7.0f events/s, %7.0f deliveries/s   ratio %.2f   hub %.2f CPU s per 1,000 events, ratio %.2f\n", s.name,
			rate/float64(s.subscriptions), rate, rate/float64(s.subscriptions)/median(rates[0]), cpu*float64(s.subscriptions), cpu*float64(s.subscriptions)/median(cpus[0]))
	}
	return nil
}

// latencies measures part (c).
func (b *bench) latencies(ctx context.Context, addr, path string) {
	fmt.Println("\n(c) latency at a steady rate, open loop, from the moment a request was due")
	for _, rate := range []int{200, 1000} {
		var ack50, ack99, end50, end99 []float64
		var cpu []float64
		for range b.rounds {
			r := b.open(ctx, addr, path, rate)
			ack50, ack99 = append(ack50, r.ack.Quantile(.5).Seconds()), append(ack99, r.ack.Quantile(.99).Seconds())
			end50, end99 = append(end50, r.end.Quantile(.5).Seconds()), append(end99, r.end.Quantile(.99).Seconds())
			cpu = append(cpu, r.cpu)
		}
		fmt.Printf("    %4d/s: acknowledged p50 %s p99 %s   end to end p50 %s p99 %s   hub %.2f CPU s per 1,000 events\n", rate,
			ms(seconds(median(ack50))), ms(seconds(median(ack99))), ms(seconds(median(end50))), ms(seconds(median(end99))), median(cpu))
	}
}

type bench struct {
	options
	hub      *harness.Server
	sink     *timedSink
	bareAddr string
	loads    map[string]*harness.Load // by path
}

type result struct {
	rate, endToEnd, cpu float64
	ack, end            *harness.Latencies
}

// timedSink counts arrivals and notes how long each took.
type timedSink struct {
	count atomic.Int64
	last  atomic.Int64 // Unix nanoseconds of the latest arrival
	mu    sync.Mutex
	into  *harness.Latencies
}

func (s *timedSink) arrived(_ string, b []byte) {
	now := time.Now()
	s.count.Add(1)
	s.last.Store(now.UnixNano())
	s.mu.Lock()
	into := s.into
	s.mu.Unlock()
	if into != nil {
		into.Add(now.Sub(harness.DueOf(b)))
	}
}

func (s *timedSink) collect(into *harness.Latencies) {
	s.mu.Lock()
	s.into = into
	s.mu.Unlock()
}

// closed lets each connection send its next request when it has its answer.
func (b *bench) closed(ctx context.Context, addr, path string, conns int) result {
	ctx, cancel := context.WithTimeout(ctx, b.duration)
	defer cancel()
	began := time.Now()
	done := b.load(addr, path).Flood(ctx, conns, 0)
	return result{rate: float64(done) / time.Since(began).Seconds()}
}

// load sends to a path, each event under a key of its own.
func (b *bench) load(addr, path string) *harness.Load {
	l := b.loads[path]
	if l == nil {
		l = &harness.Load{Addr: addr, Path: path}
		b.loads[path] = l
	}
	return l
}

// endToEnd is closed, and waits until every event has arrived as often as there are
// subscriptions. Its rate and processor time are of deliveries.
func (b *bench) endToEnd(ctx context.Context, addr, path string, conns, subscriptions int) (result, error) {
	before := b.sink.count.Load()
	cpu, _ := harness.CPUSeconds(b.hub.PID())
	began := time.Now()
	loading, cancel := context.WithTimeout(ctx, b.duration)
	defer cancel()
	sent := b.load(addr, path).Flood(loading, conns, 0)
	r := result{rate: float64(sent) / time.Since(began).Seconds()}
	owed := int64(sent * subscriptions)
	for deadline := time.Now().Add(2 * time.Minute); b.sink.count.Load()-before < owed && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	arrived := b.sink.count.Load() - before
	if arrived < owed {
		return r, fmt.Errorf("%d of %d deliveries have not arrived", owed-arrived, owed)
	}
	after, _ := harness.CPUSeconds(b.hub.PID())
	r.endToEnd = float64(arrived) / time.Unix(0, b.sink.last.Load()).Sub(began).Seconds()
	r.cpu = (after - cpu) / float64(arrived) * 1000
	return r, nil
}

// open offers requests at a rate, whether answers come or not.
func (b *bench) open(ctx context.Context, addr, path string, rate int) result {
	r := result{ack: &harness.Latencies{}, end: &harness.Latencies{}}
	b.sink.collect(r.end)
	defer b.sink.collect(nil)
	cpu, _ := harness.CPUSeconds(b.hub.PID())
	b.load(addr, path).Offer(ctx, rate, b.duration, func(_ int, took time.Duration) { r.ack.Add(took) })
	for deadline := time.Now().Add(10 * time.Second); r.end.Len() < r.ack.Len() && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	after, _ := harness.CPUSeconds(b.hub.PID())
	r.cpu = (after - cpu) / float64(max(1, r.ack.Len())) * 1000
	return r
}

// probeDisk measures what a durable write costs here at the least.
func probeDisk(dir string) (p50, p99 time.Duration, err error) {
	disk, err := harness.NewDisk(dir)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = disk.Close() }()
	var l harness.Latencies
	for range 500 {
		took, err := disk.Sync()
		if err != nil {
			return 0, 0, err
		}
		l.Add(took)
	}
	return l.Quantile(.5), l.Quantile(.99), nil
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

func seconds(v float64) time.Duration { return time.Duration(v * float64(time.Second)) }

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", d.Seconds()*1000) }
