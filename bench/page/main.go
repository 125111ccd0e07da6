// Command page measures the page that a dashboard asks for most, 50 events with their
// sources and deliveries, over a million stored events. Beside the hub it measures, in
// the same run, a bare net/http server that answers the same data by hand-written SQL
// and encoding/json.
//
//	go run ./bench/page
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hookgraph/hookgraph/bench/harness"
	"github.com/hookgraph/hookgraph/graph/page"
	"github.com/hookgraph/hookgraph/internal/hub"
)

const (
	pageSize        = 50
	deliveriesShown = 10

	pageQuery = `query Page($first: Int = 50, $after: String) { events(first: $first, after: $after) {
  nodes { id type receivedAt source { name }
    deliveries(first: 10) { nodes { id status subscription { name } endpoint { name } } } }
  pageInfo { hasNextPage endCursor } } }`
)

type options struct {
	duration    time.Duration
	rounds      int
	events      int
	root        string
	database    string
	databaseURL string
	bare        string
	profile     string
}

func main() {
	var o options
	flag.DurationVar(&o.duration, "duration", 2*time.Second, "length of each measurement")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each measurement is made; the median counts")
	flag.IntVar(&o.events, "events", 1_000_000, "events in the database")
	flag.StringVar(&o.root, "root", ".", "the module's root")
	flag.StringVar(&o.database, "database", "", "SQLite file, filled where it has no events and kept for later runs; default: a temporary one")
	flag.StringVar(&o.databaseURL, "database-url", "", "PostgreSQL database instead, filled where it has no events")
	flag.StringVar(&o.profile, "profile", "", "write a processor profile of the hub's GraphQL handler to this file, and measure nothing else")
	flag.StringVar(&o.bare, "bare", "", "serve the baseline at this address, for the program's own use")
	flag.Parse()
	harness.Main("page", func(ctx context.Context) error {
		if o.bare != "" {
			return serveBaseline(ctx, o.bare, o.databaseURL)
		}
		return run(ctx, o)
	})
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "hookgraph-page-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if o.databaseURL == "" {
		if o.database == "" {
			o.database = filepath.Join(dir, "hub.db")
		}
		if o.database, err = filepath.Abs(o.database); err != nil {
			return err
		}
		o.databaseURL = "sqlite:" + o.database
	}
	binary, err := harness.Build(ctx, o.root, dir)
	if err != nil {
		return err
	}
	addr, err := harness.FreeAddr()
	if err != nil {
		return err
	}
	hubServer := &harness.Server{Binary: binary, DatabaseURL: o.databaseURL, Addr: addr, Log: filepath.Join(dir, "hub.log")}
	if err := fill(ctx, hubServer, o.events); err != nil {
		return err
	}
	if o.profile != "" {
		return profile(ctx, o)
	}
	if err := printStatements(ctx, o.databaseURL); err != nil {
		return err
	}
	if err := hubServer.Start(ctx); err != nil {
		return err
	}
	defer func() { _ = hubServer.Stop() }()
	bareAddr, err := harness.FreeAddr()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	bare := exec.CommandContext(ctx, self, "-bare", bareAddr, "-database-url", o.databaseURL)
	bare.Stderr = os.Stderr
	if err := bare.Start(); err != nil {
		return err
	}
	defer func() { _ = bare.Process.Kill(); _ = bare.Wait() }()

	b := &bench{options: o,
		hub:  target{"hub", addr, "/graphql", hubServer.PID()},
		bare: target{"baseline", bareAddr, "/", bare.Process.Pid},
	}
	if err := b.compare(); err != nil {
		return err
	}
	fmt.Printf("%d processors, %s, %d events, each figure the median of %d rounds of %s\n",
		runtime.NumCPU(), runtime.Version(), o.events, o.rounds, o.duration)
	for _, newest := range []bool{false, true} {
		for _, conns := range []int{8, 32} {
			if err := b.measure(ctx, newest, conns); err != nil {
				return err
			}
		}
	}
	peak, err := harness.PeakMiB(hubServer.PID())
	if err != nil {
		return err
	}
	fmt.Printf("peak memory of the hub: %.0f MiB\n", peak)
	return nil
}

// target is a server under load.
type target struct {
	name, addr, path string
	pid              int
}

type bench struct {
	options
	hub, bare target
}

// request is the body that asks for the page after a cursor, "" for the newest page.
// The baseline reads the variables alone.
func request(first int, after string) []byte {
	variables := map[string]any{"first": first}
	if after != "" {
		variables["after"] = after
	}
	body, err := json.Marshal(map[string]any{"query": pageQuery, "variables": variables})
	if err != nil {
		panic(err) // plain data
	}
	return body
}

// somewhere is the cursor of any event.
func (o options) somewhere() string {
	return page.Events.Cursor(hub.Sequence(1 + rand.IntN(o.events)).String()) //nolint:gosec // nothing is to be guessed here
}

// compare checks that both answer the same data.
func (b *bench) compare() error {
	cursors := []string{"", page.Events.Cursor(hub.Sequence(pageSize / 2).String()), page.Events.Cursor(hub.Sequence(1).String())}
	for range 20 {
		cursors = append(cursors, b.somewhere())
	}
	for _, cursor := range cursors {
		var data [2]any
		for i, t := range []target{b.hub, b.bare} {
			c, err := dial(t.addr)
			if err != nil {
				return err
			}
			status, raw, err := c.Ask(t.path, request(pageSize, cursor))
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("the %s answered %d %s", t.name, status, raw)
			}
			var decoded map[string]any
			if err == nil {
				err = json.Unmarshal(raw, &decoded)
			}
			c.Close()
			if err != nil {
				return err
			}
			data[i] = decoded["data"]
		}
		if data[0] == nil || !reflect.DeepEqual(data[0], data[1]) {
			return fmt.Errorf("after %q the hub and the baseline differ:\n%v\n%v", cursor, data[0], data[1])
		}
	}
	fmt.Printf("%d pages compared: the same data from both\n", len(cursors))
	return nil
}

// dial waits for a server that is just starting.
func dial(addr string) (c *harness.Conn, err error) {
	for range 100 {
		if c, err = harness.Dial(addr, 10*time.Second); err == nil {
			return c, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil, err
}

type result struct{ rate, p50, p99, cpu float64 }

// measure loads both servers in turn.
func (b *bench) measure(ctx context.Context, newest bool, conns int) error {
	var results [2][]result
	for range b.rounds {
		for i, t := range []target{b.hub, b.bare} {
			r, err := b.load(ctx, t, newest, conns)
			if err != nil {
				return err
			}
			results[i] = append(results[i], r)
		}
	}
	which := "pages anywhere"
	if newest {
		which = "the newest page"
	}
	fmt.Printf("\n%s, %d connections\n", which, conns)
	for i, t := range []target{b.hub, b.bare} {
		fmt.Printf("    %-8s %6.0f requests/s   p50 %6.2f ms   p99 %6.2f ms   processor time %.3f ms a request\n", t.name,
			median(results[i], func(r result) float64 { return r.rate }), median(results[i], func(r result) float64 { return r.p50 }),
			median(results[i], func(r result) float64 { return r.p99 }), median(results[i], func(r result) float64 { return r.cpu }))
	}
	var ratios []result // of the two measurements of a round, which what else the machine does disturbs alike
	for i, ours := range results[0] {
		theirs := results[1][i]
		ratios = append(ratios, result{rate: ours.rate / theirs.rate, cpu: theirs.cpu / ours.cpu})
	}
	fmt.Printf("    ratio    %6.2f of the baseline's requests/s, %.2f by processor time\n",
		median(ratios, func(r result) float64 { return r.rate }), median(ratios, func(r result) float64 { return r.cpu }))
	return nil
}

// load lets each connection send its next request when it has its answer.
func (b *bench) load(ctx context.Context, t target, newest bool, conns int) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, b.duration)
	defer cancel()
	requests := [][]byte{request(pageSize, "")}
	if !newest {
		requests = requests[:0]
		for range 10_000 {
			requests = append(requests, request(pageSize, b.somewhere()))
		}
	}
	var taken harness.Latencies
	var failed error
	var once sync.Once
	before, err := harness.CPUSeconds(t.pid)
	if err != nil {
		return result{}, err
	}
	began := time.Now()
	var wg sync.WaitGroup
	for range conns {
		wg.Go(func() {
			err := ask(ctx, t, requests, &taken)
			if err != nil {
				once.Do(func() { failed = err })
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(began).Seconds()
	after, err := harness.CPUSeconds(t.pid)
	if failed != nil {
		return result{}, failed
	}
	n := float64(taken.Len())
	return result{
		rate: n / elapsed, cpu: (after - before) / n * 1000,
		p50: taken.Quantile(.5).Seconds() * 1000, p99: taken.Quantile(.99).Seconds() * 1000,
	}, err
}

func ask(ctx context.Context, t target, requests [][]byte, taken *harness.Latencies) error {
	c, err := harness.Dial(t.addr, 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	for ctx.Err() == nil {
		began := time.Now()
		status, raw, err := c.Ask(t.path, requests[rand.IntN(len(requests))]) //nolint:gosec // nothing is to be guessed here
		if err != nil {
			return err
		}
		if status != http.StatusOK || bytes.HasPrefix(raw, []byte(`{"errors"`)) {
			return fmt.Errorf("the %s answered %d %s", t.name, status, strings.TrimSpace(string(raw)))
		}
		taken.Add(time.Since(began))
	}
	return nil
}

func median(results []result, of func(result) float64) float64 {
	var all []float64
	for _, r := range results {
		all = append(all, of(r))
	}
	slices.Sort(all)
	return all[len(all)/2]
}
