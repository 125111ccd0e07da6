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
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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
	flag.StringVar(&o.parts, "parts", "abc", "which of the measurements are made")
	flag.StringVar(&o.bare, "bare", "", "serve the baseline at this address, for the program's own use")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	var err error
	if o.bare != "" {
		err = serveBare(o.bare)
	} else {
		err = run(ctx, o)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "speed:", err)
		os.Exit(1)
	}
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
	b := &bench{options: o, hub: hub, sink: sink, bareAddr: bareAddr}

	if strings.Contains(o.parts, "a") {
		b.acknowledgements(ctx, addr, "/in/"+storeOnly.Slug)
	}
	if strings.Contains(o.parts, "b") {
		b.deliveries(ctx, addr, "/in/"+routed.Slug)
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
func (b *bench) deliveries(ctx context.Context, addr, path string) {
	fmt.Println("\n(b) end to end, one delivery an event, from the first request to the last arrival")
	for _, conns := range []int{32, 256} {
		var bareRate, ackRate, endRate, cpu []float64
		for range b.rounds {
			bareRate = append(bareRate, b.closed(ctx, b.bareAddr, "/", conns).rate)
			r := b.endToEnd(ctx, addr, path, conns)
			ackRate, endRate, cpu = append(ackRate, r.rate), append(endRate, r.endToEnd), append(cpu, r.cpu)
		}
		fmt.Printf("    %3d connections: %7.0f/s   acknowledged %7.0f/s   bare net/http %7.0f/s   ratio %.2f   hub %.2f CPU s per 1,000 events\n",
			conns, median(endRate), median(ackRate), median(bareRate), median(endRate)/median(bareRate), median(cpu))
	}
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
	next     atomic.Uint64 // makes every dedupe key a new one
}

type result struct {
	rate, endToEnd, cpu float64
	ack, end            *harness.Latencies
}

// body is a JSON object of 1 KiB that carries the moment at which it was due.
func body(b []byte, due time.Time) []byte {
	const size = 1024
	b = append(b[:0], `{"type":"order.created","due":"`...)
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], uint64(due.UnixNano()))
	b = hex.AppendEncode(b, raw[:])
	b = append(b, `","padding":"`...)
	for len(b) < size-2 {
		b = append(b, 'x')
	}
	return append(b, `"}`...)
}

// dueOf reads the moment back.
func dueOf(b []byte) time.Time {
	const at = len(`{"type":"order.created","due":"`)
	var raw [8]byte
	if len(b) < at+16 {
		return time.Time{}
	}
	if _, err := hex.Decode(raw[:], b[at:at+16]); err != nil {
		return time.Time{}
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(raw[:])))
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
		into.Add(now.Sub(dueOf(b)))
	}
}

func (s *timedSink) collect(into *harness.Latencies) {
	s.mu.Lock()
	s.into = into
	s.mu.Unlock()
}

// closed lets each connection send its next request when it has its answer.
func (b *bench) closed(ctx context.Context, addr, path string, conns int) result {
	var done atomic.Int64
	ctx, cancel := context.WithTimeout(ctx, b.duration)
	defer cancel()
	began := time.Now()
	var wg sync.WaitGroup
	for range conns {
		wg.Go(func() {
			c, err := harness.Dial(addr, 10*time.Second)
			if err != nil {
				return
			}
			defer c.Close()
			var buf []byte
			for ctx.Err() == nil {
				buf = body(buf, time.Now())
				status, _, err := c.Post(path, fmt.Sprintf("k%d", b.next.Add(1)), buf)
				if err != nil {
					return
				}
				if status == http.StatusOK {
					done.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return result{rate: float64(done.Load()) / time.Since(began).Seconds()}
}

// endToEnd is closed, and waits for every event's arrival.
func (b *bench) endToEnd(ctx context.Context, addr, path string, conns int) result {
	before := b.sink.count.Load()
	cpu, _ := harness.CPUSeconds(b.hub.PID())
	began := time.Now()
	r := b.closed(ctx, addr, path, conns)
	sent := int64(r.rate * time.Since(began).Seconds())
	for deadline := time.Now().Add(2 * time.Minute); b.sink.count.Load()-before < sent && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	arrived := b.sink.count.Load() - before
	after, _ := harness.CPUSeconds(b.hub.PID())
	r.endToEnd = float64(arrived) / time.Unix(0, b.sink.last.Load()).Sub(began).Seconds()
	r.cpu = (after - cpu) / float64(arrived) * 1000
	return r
}

// open offers requests at a rate, whether answers come or not.
func (b *bench) open(ctx context.Context, addr, path string, rate int) result {
	r := result{ack: &harness.Latencies{}, end: &harness.Latencies{}}
	b.sink.collect(r.end)
	defer b.sink.collect(nil)
	cpu, _ := harness.CPUSeconds(b.hub.PID())
	due := make(chan time.Time, rate)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			c, err := harness.Dial(addr, 10*time.Second)
			if err != nil {
				return
			}
			defer c.Close()
			var buf []byte
			for at := range due {
				buf = body(buf, at)
				if status, _, err := c.Post(path, fmt.Sprintf("k%d", b.next.Add(1)), buf); err != nil || status != http.StatusOK {
					return
				}
				r.ack.Add(time.Since(at))
			}
		})
	}
	began := time.Now()
	step := time.Second / time.Duration(rate)
	total := int(b.duration / step)
	for n := 0; n < total && ctx.Err() == nil; n++ {
		at := began.Add(time.Duration(n) * step)
		time.Sleep(time.Until(at))
		due <- at
	}
	close(due)
	wg.Wait()
	for deadline := time.Now().Add(10 * time.Second); r.end.Len() < r.ack.Len() && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	after, _ := harness.CPUSeconds(b.hub.PID())
	r.cpu = (after - cpu) / float64(max(1, r.ack.Len())) * 1000
	return r
}

// probeDisk measures what a durable write costs here at the least.
func probeDisk(dir string) (p50, p99 time.Duration, err error) {
	f, err := os.Create(filepath.Join(dir, "probe"))
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = f.Close() }()
	var l harness.Latencies
	block := make([]byte, 4096)
	for range 500 {
		began := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, 0, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, 0, err
		}
		l.Add(time.Since(began))
	}
	return l.Quantile(.5), l.Quantile(.99), nil
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

func seconds(v float64) time.Duration { return time.Duration(v * float64(time.Second)) }

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", d.Seconds()*1000) }
