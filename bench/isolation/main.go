// Command isolation measures what bad endpoints do to good ones. A hub serves 100
// endpoints with a subscription each at a steady rate. In each case one or fifty of
// them hang, drip or answer without end, and the latencies of healthy ones are
// compared with those that the same process had just before, in many short rounds: what
// counts is the median of their ratios, and where it lies with 95 % confidence. One case
// changes nothing: its ratio is what the machine itself does to the figures.
//
// Then an endpoint with a backlog of 100,000 deliveries is resumed with a rate, which
// it must keep, and paused, in turn, while the others get their live events.
//
//	go run ./bench/isolation
//
// The hub, the bad receivers, and the load with the healthy receivers are three
// processes that share the machine's processors. It needs Linux and about 3,000 file
// descriptors (ulimit -n).
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookgraph/hookgraph/bench/harness"
)

type options struct {
	endpoints   int
	bad         int
	rate        int
	warm        time.Duration
	duration    time.Duration
	timeout     time.Duration
	rounds      int
	cases       string
	backlog     int
	drain       int
	root        string
	databaseURL string
	receivers   int
}

func main() {
	var o options
	flag.IntVar(&o.endpoints, "endpoints", 100, "how many endpoints there are")
	flag.IntVar(&o.bad, "bad", 50, "how many of them are bad where many are; the others are measured")
	flag.IntVar(&o.rate, "rate", 500, "events a second, to all endpoints in turn")
	flag.DurationVar(&o.warm, "warm", 2*time.Second, "how long each hub is warmed up")
	flag.DurationVar(&o.duration, "duration", 4*time.Second, "length of each phase")
	flag.DurationVar(&o.timeout, "timeout", 5*time.Second, "deadline of an attempt, in whole seconds")
	flag.IntVar(&o.rounds, "rounds", 9, "how often each case is measured, a phase without and one with it in turn")
	flag.StringVar(&o.cases, "cases", "", "only cases whose names contain this")
	flag.IntVar(&o.backlog, "backlog", 100_000, "deliveries that wait for one endpoint; 0 leaves this part out")
	flag.IntVar(&o.drain, "drain", 2000, "the rate limit at which they are delivered, a second")
	flag.StringVar(&o.root, "root", ".", "the module's root")
	flag.StringVar(&o.databaseURL, "database-url", "", "database of the hub, empty at the start; default: a SQLite file for each case")
	flag.IntVar(&o.receivers, "receivers", 0, "serve so many bad receivers, for the program's own use")
	flag.Parse()
	harness.Main("isolation", func(ctx context.Context) error {
		if o.receivers > 0 {
			return serveReceivers(o.receivers)
		}
		return run(ctx, o)
	})
}

// scenario is one way in which endpoints are bad.
type scenario struct {
	name      string
	kind      string
	many      bool // or else one
	alternate bool
}

var scenarios = []scenario{
	{"none is bad", good, false, false},
	{"1 hangs", hang, false, false},
	{"1 hangs every second time", hang, false, true},
	{"1 drips", drip, false, false},
	{"1 answers without end", endless, false, false},
	{"many, mixed", mixed, true, false},
	{"many, mixed, every second time", mixed, true, true},
}

const backlogCase = "backlog"

func run(ctx context.Context, o options) error {
	if o.bad < 1 || o.endpoints <= o.bad+1 {
		return fmt.Errorf("of %d endpoints %d are bad: at least 2 must be left", o.endpoints, o.bad)
	}
	dir, err := os.MkdirTemp("", "hookgraph-isolation-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary, err := harness.Build(ctx, o.root, dir)
	if err != nil {
		return err
	}
	fmt.Printf("%d processors, %s; %d endpoints, %d events/s, phases of %s, %d rounds, deadline of an attempt %s\n\n",
		runtime.NumCPU(), runtime.Version(), o.endpoints, o.rate, o.duration, o.rounds, o.timeout)
	disk, err := harness.NewDisk(dir)
	if err != nil {
		return err
	}
	defer func() { _ = disk.Close() }()
	b := &bench{options: o, dir: dir, binary: binary, disk: disk}
	for _, s := range scenarios {
		if !strings.Contains(s.name, o.cases) {
			continue
		}
		var before, during []phase
		for range o.rounds {
			one, two, err := b.isolate(ctx, s)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			before, during = append(before, one), append(during, two)
		}
		b.print(s, before, during)
	}
	if o.backlog > 0 && strings.Contains(backlogCase, o.cases) {
		return b.drainBacklog(ctx)
	}
	return nil
}

type bench struct {
	options
	dir, binary string
	disk        *harness.Disk
	hubs        int
}

// phase is what was measured in one.
type phase struct {
	p50, p99            float64 // s, from due to arrived
	second              float64 // s, the median of the p99 of each second: what lasts, without what happens now and then
	ack                 float64 // s, p99 from due to acknowledged
	disk                float64 // s, p99 of the disk's own fdatasync, ten times a second
	resident            float64 // MiB; these four are the highest seen
	sockets, goroutines float64
	inFlight            float64
	cpu                 float64 // s
	ended               float64 // s, that the load took
}

// measure offers load and waits until every healthy endpoint has got its own.
func (b *bench) measure(ctx context.Context, s *stage) (phase, error) {
	var p phase
	var latencies, acks, syncs harness.Latencies
	s.mu.Lock()
	s.into, s.seconds = &latencies, make(map[int64]*harness.Latencies)
	s.mu.Unlock()
	watching, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { s.watch(watching, &p) })
	watch.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for watching.Err() == nil {
			if took, err := b.disk.Sync(); err == nil {
				syncs.Add(took)
			}
			<-tick.C
		}
	})
	var acknowledged atomic.Int64
	cpu, _ := harness.CPUSeconds(s.hub.PID())
	began := time.Now()
	offered := s.load.Offer(ctx, b.rate, b.duration, func(n int, took time.Duration) {
		acks.Add(took)
		if i := n % b.endpoints; i >= b.bad && i != s.skip {
			acknowledged.Add(1)
		}
	})
	p.ended = time.Since(began).Seconds()
	after, _ := harness.CPUSeconds(s.hub.PID())
	p.cpu = after - cpu
	for deadline := time.Now().Add(30 * time.Second); latencies.Len() < int(acknowledged.Load()) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	stop()
	watch.Wait()
	s.mu.Lock()
	s.into = nil
	var seconds []float64
	for _, second := range s.seconds {
		seconds = append(seconds, second.Quantile(.99).Seconds())
	}
	s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return p, err
	}
	if got, want := latencies.Len(), int(acknowledged.Load()); got < want {
		return p, fmt.Errorf("%d of %d deliveries to healthy endpoints have not arrived", want-got, want)
	}
	if expected := int(p.ended * float64(b.rate)); offered < expected*9/10 {
		return p, fmt.Errorf("the hub acknowledged %d of about %d events", offered, expected)
	}
	p.second = middle(seconds)
	p.p50, p.p99 = latencies.Quantile(.5).Seconds(), latencies.Quantile(.99).Seconds()
	p.ack, p.disk = acks.Quantile(.99).Seconds(), syncs.Quantile(.99).Seconds()
	return p, nil
}

// isolate measures healthy endpoints before others become bad, and then.
func (b *bench) isolate(ctx context.Context, c scenario) (before, during phase, err error) {
	s, err := b.stage(ctx)
	if err != nil {
		return before, during, err
	}
	defer s.close(ctx)
	s.load.Offer(ctx, b.rate, b.warm, func(int, time.Duration) {})
	if before, err = b.measure(ctx, s); err != nil {
		return before, during, err
	}
	count := 1
	if c.many {
		count = b.bad
	}
	if err = s.bad.behave(c.kind, count, c.alternate); err != nil {
		return before, during, err
	}
	during, err = b.measure(ctx, s)
	return before, during, err
}

// The goals: by how much the p99 of the healthy ones may grow.
const (
	goalOfOne  = 1.10
	goalOfMany = 1.50
)

// drainBacklog measures the others while one endpoint's backlog waits and while it is
// drained, in turn: the endpoint is resumed and paused until all has arrived.
func (b *bench) drainBacklog(ctx context.Context) error {
	s, err := b.stage(ctx)
	if err != nil {
		return err
	}
	defer s.close(ctx)
	s.skip = b.bad // the first of the healthy ones
	id := s.endpoints[s.skip]
	s.load.Offer(ctx, b.rate, b.warm, func(int, time.Duration) {})
	without, err := b.measure(ctx, s)
	if err != nil {
		return err
	}
	// A tenth of a second's worth at a time, which is what is sent at once when it is resumed.
	if err := s.change(ctx, id, `pauseEndpoint(id: $id) { userErrors { message } }
		updateEndpoint(input: {id: $id, rateLimit: {limit: `+fmt.Sprint(max(b.drain/10, 1))+`, period: "PT0.1S"}}) { userErrors { message } }`); err != nil {
		return err
	}
	only := &harness.Load{Key: "backlog", Addr: s.load.Addr, Path: s.load.Path, Type: func(int) string { return eventType(s.skip) }}
	if n := only.Flood(ctx, 64, b.backlog); n < b.backlog {
		return fmt.Errorf("%d of the backlog's %d events were acknowledged", n, b.backlog)
	}
	var waiting, draining []phase
	var rates []float64
	first := s.arrivals[s.skip].Load()
	arrived := func() int64 { return s.arrivals[s.skip].Load() - first }
	bound := time.Now().Add(time.Duration(6*b.backlog/b.drain)*time.Second + time.Minute)
	for time.Now().Before(bound) {
		still, err := b.measure(ctx, s)
		if err != nil {
			return fmt.Errorf("while the backlog waits: %w", err)
		}
		if err := s.change(ctx, id, `resumeEndpoint(id: $id) { userErrors { message } }`); err != nil {
			return err
		}
		s.load.Offer(ctx, b.rate, 500*time.Millisecond, func(int, time.Duration) {}) // until it flows evenly
		before, began := arrived(), time.Now()
		flowing, err := b.measure(ctx, s)
		if err != nil {
			return fmt.Errorf("while the backlog is drained: %w", err)
		}
		after := arrived()
		if after >= int64(b.backlog) { // it has ended in this round
			break
		}
		rates = append(rates, float64(after-before)/time.Since(began).Seconds())
		waiting, draining = append(waiting, still), append(draining, flowing)
		if err := s.change(ctx, id, `pauseEndpoint(id: $id) { userErrors { message } }`); err != nil {
			return err
		}
	}
	if len(rates) == 0 {
		return fmt.Errorf("the backlog of %d does not last for a round", b.backlog)
	}
	fmt.Printf("a backlog of %d for one endpoint\n", b.backlog)
	fmt.Printf("    drained at %.0f/s of %d/s (%.0f to %.0f in %d rounds), %d arrived\n",
		middle(rates), b.drain, slices.Min(rates), slices.Max(rates), len(rates), arrived())
	fmt.Printf("    the others before there was a backlog: p50 %s, p99 %s\n", ms(without.p50), ms(without.p99))
	printLatencies("the others'", waiting, draining, goalOfOne)
	printHeld(waiting, draining)
	if got := arrived(); got < int64(b.backlog) {
		return fmt.Errorf("%d of the backlog have not arrived", int64(b.backlog)-got)
	}
	return nil
}
