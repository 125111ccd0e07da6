// Command kill ends a hub under load with SIGKILL, again and again, and then
// checks that nothing which was acknowledged is lost.
//
//	go run ./bench/kill                                   # SQLite, 50 kills
//	go run ./bench/kill -kills 10 -database-url postgres://postgres@127.0.0.1:5432/scratch
//
// Three parties that do not know each other keep the books: senders, which write
// to a ledger and sync it before they count an acknowledgement; a sink, which
// counts what arrives; and a stream reader, which reconnects with its last cursor.
// It exits with 1 where they disagree with what the hub has stored.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hookgraph/hookgraph/bench/harness"
)

type options struct {
	kills       int
	rate        int
	senders     int
	databaseURL string
	seed        uint64
	root        string
	settle      time.Duration
	keep        bool
}

func main() {
	var o options
	flag.IntVar(&o.kills, "kills", 50, "how often the hub is killed")
	flag.IntVar(&o.rate, "rate", 600, "events a second that are offered")
	flag.IntVar(&o.senders, "senders", 64, "connections of the senders")
	flag.StringVar(&o.databaseURL, "database-url", "", "database of the hub, empty at the start; default: a SQLite file in a temporary directory")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "seed of the moments at which the hub is killed")
	flag.StringVar(&o.root, "root", ".", "the module's root")
	flag.DurationVar(&o.settle, "settle", 2*time.Minute, "how long deliveries may take after the last restart")
	flag.BoolVar(&o.keep, "keep", false, "keep the temporary directory")
	flag.Parse()
	harness.Main("kill", func(ctx context.Context) error { return run(ctx, o) })
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "hookgraph-kill-")
	if err != nil {
		return err
	}
	if o.keep {
		fmt.Println("directory:", dir)
	} else {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	if o.databaseURL == "" {
		o.databaseURL = "sqlite:" + filepath.Join(dir, "hub.db")
	}
	binary, err := harness.Build(ctx, o.root, dir)
	if err != nil {
		return err
	}
	addr, err := harness.FreeAddr()
	if err != nil {
		return err
	}
	arrivals := newArrivals()
	sink, err := harness.NewSink(arrivals.add)
	if err != nil {
		return err
	}
	defer sink.Close()
	hub := &harness.Server{Binary: binary, DatabaseURL: o.databaseURL, Addr: addr, Log: filepath.Join(dir, "hub.log")}
	if err := hub.Start(ctx); err != nil {
		return err
	}
	defer func() { _ = hub.Kill() }()
	route, err := hub.Connect(ctx, sink.URL())
	if err != nil {
		return err
	}
	ledger, err := newLedger(filepath.Join(dir, "acknowledged"))
	if err != nil {
		return err
	}
	fmt.Printf("seed %d, %d kills, %d events/s offered\n", o.seed, o.kills, o.rate)

	loadCtx, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	var load sync.WaitGroup
	sender := &senders{addr: addr, path: "/in/" + route.Slug, ledger: ledger, rate: o.rate, count: o.senders}
	load.Go(func() { sender.run(loadCtx) })
	readCtx, stopReading := context.WithCancel(ctx)
	defer stopReading()
	reader := &reader{hub: hub}
	var reading sync.WaitGroup
	reading.Go(func() { reader.run(readCtx) })

	random := rand.New(rand.NewPCG(o.seed, 1))
	began := time.Now()
	var up time.Duration
	for n := range o.kills {
		// At first sight of the hub, in the midst of its work, or late: all are moments to die.
		life := time.Duration(random.Int64N(int64(1500 * time.Millisecond)))
		if err := sleep(ctx, life); err != nil {
			return err
		}
		up += life
		if err := hub.Kill(); err != nil {
			return err
		}
		restart := time.Now()
		if err := hub.Start(ctx); err != nil {
			return fmt.Errorf("restart %d: %w", n+1, err)
		}
		if (n+1)%10 == 0 {
			fmt.Printf("%d kills, %d acknowledged, the last restart took %s\n", n+1, ledger.len(), time.Since(restart).Round(time.Millisecond))
		}
	}
	if err := sleep(ctx, time.Second); err != nil {
		return err
	}
	stopLoad()
	load.Wait()
	if err := ledger.close(); err != nil {
		return err
	}
	fmt.Printf("load ended after %s: %d acknowledged, %d requests sent, %d failed and sent again\n",
		time.Since(began).Round(time.Second), ledger.len(), sender.sent.Load(), sender.failed.Load())
	fmt.Printf("offered while the hub was up: %.0f events/s acknowledged\n", float64(ledger.len())/(up+time.Second).Seconds())

	settled := waitUntil(ctx, o.settle, func() bool { return arrivals.missing(ledger) == 0 })
	fmt.Printf("every acknowledged event had arrived after: %s\n", orNever(settled))
	stored, err := readLog(ctx, hub)
	if err != nil {
		return err
	}
	last := stored[len(stored)-1].Sequence
	waitUntil(ctx, o.settle, func() bool { return reader.last() >= last })
	stopReading()
	reading.Wait()
	return judge(ledger, arrivals, stored, reader)
}

// judge compares the books and says what it found.
func judge(ledger *ledger, arrivals *arrivals, stored []harness.StreamEvent, reader *reader) error {
	byKey := make(map[string]int, len(stored))
	ids := make(map[string]string, len(stored))
	for _, e := range stored {
		byKey[e.DedupeKey]++
		ids[e.DedupeKey] = e.ID
	}
	lost, twice, otherID := 0, 0, 0
	for key, id := range ledger.acknowledged {
		switch ids[key] {
		case "":
			lost++
		case id:
		default:
			otherID++
		}
	}
	for _, n := range byKey {
		if n > 1 {
			twice++
		}
	}
	missed, repeated, outOfOrder := reader.compare(stored)
	fmt.Printf(`
stored events                          %8d
acknowledged events                    %8d
acknowledged and lost                  %8d
acknowledged and never delivered       %8d
stored twice                           %8d
acknowledged under another event's ID  %8d
arrived more than once                 %8d  (%.3f %%; the sink tells them apart by webhook-id)
arrived under a second webhook-id      %8d
stream: reconnections                  %8d
stream: sequences missed               %8d
stream: sequences repeated             %8d
stream: sequences out of order         %8d
`, len(stored), ledger.len(), lost, arrivals.missing(ledger), twice, otherID, arrivals.repeated(),
		100*float64(arrivals.repeated())/float64(max(1, len(stored))), arrivals.renamed(), reader.reconnections, missed, repeated, outOfOrder)
	if lost+otherID+arrivals.missing(ledger)+twice+arrivals.renamed()+missed+repeated+outOfOrder > 0 {
		return errors.New("FAILED: the hub broke its promise")
	}
	fmt.Println("PASSED")
	return nil
}

func waitUntil(ctx context.Context, limit time.Duration, condition func() bool) time.Duration {
	began := time.Now()
	for time.Since(began) < limit {
		if condition() {
			return time.Since(began)
		}
		if sleep(ctx, 50*time.Millisecond) != nil {
			break
		}
	}
	return -1
}

func orNever(d time.Duration) string {
	if d < 0 {
		return "never"
	}
	return d.Round(10 * time.Millisecond).String()
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
