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
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
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
	flag.DurationVar(&o.settle, "settle", 60*time.Second, "how long deliveries may take after the last restart")
	flag.BoolVar(&o.keep, "keep", false, "keep the temporary directory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kill:", err)
		os.Exit(1)
	}
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
	waitUntil(ctx, 10*time.Second, func() bool { return reader.last() >= last })
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

// ledger is what was acknowledged. A key is in it only after its line is on disk.
type ledger struct {
	mu           sync.Mutex
	file         *os.File
	w            *bufio.Writer
	acknowledged map[string]string // dedupe key to event ID
	lines        chan line
	done         chan error
}

type line struct{ key, id string }

func newLedger(path string) (*ledger, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	l := &ledger{file: f, w: bufio.NewWriter(f), acknowledged: make(map[string]string), lines: make(chan line, 4096), done: make(chan error, 1)}
	go func() { l.done <- l.write() }()
	return l, nil
}

// write syncs whatever waits as one group, and only then counts it.
func (l *ledger) write() error {
	for first := range l.lines {
		group := []line{first}
		for len(l.lines) > 0 {
			group = append(group, <-l.lines)
		}
		for _, one := range group {
			_, _ = fmt.Fprintln(l.w, one.key, one.id) // Flush returns its error
		}
		if err := errors.Join(l.w.Flush(), l.file.Sync()); err != nil {
			return fmt.Errorf("write the ledger: %w", err)
		}
		l.mu.Lock()
		for _, one := range group {
			l.acknowledged[one.key] = one.id
		}
		l.mu.Unlock()
	}
	return l.file.Close()
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acknowledged)
}

func (l *ledger) close() error {
	close(l.lines)
	return <-l.done
}

// senders offer events at a steady rate and send each again until it is
// acknowledged, as a provider does.
type senders struct {
	addr, path   string
	ledger       *ledger
	rate, count  int
	sent, failed atomic.Int64
}

func (s *senders) run(ctx context.Context) {
	keys := make(chan int, s.rate*5)
	var wg sync.WaitGroup
	for range s.count {
		wg.Go(func() {
			var conn *harness.Conn
			defer func() {
				if conn != nil {
					conn.Close()
				}
			}()
			for n := range keys {
				for !s.send(&conn, n) {
					s.failed.Add(1)
					if sleep(ctx, 20*time.Millisecond) != nil {
						return
					}
				}
			}
		})
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	began, n := time.Now(), 0
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			for due := int(time.Since(began).Seconds() * float64(s.rate)); n < due; n++ {
				select {
				case keys <- n:
				default: // the hub was away for long: offer less rather than ever more
				}
			}
		}
	}
	close(keys)
	wg.Wait()
}

// send offers one event and reports whether it was acknowledged.
func (s *senders) send(conn **harness.Conn, n int) bool {
	s.sent.Add(1)
	if *conn == nil {
		c, err := harness.Dial(s.addr, 10*time.Second)
		if err != nil {
			return false
		}
		*conn = c
	}
	key := fmt.Sprintf("key-%d", n)
	body := fmt.Appendf(nil, `{"type":"kill.test","key":%q,"padding":"%0512d"}`, key, n)
	status, answer, err := (*conn).Post(s.path, key, body)
	if err != nil {
		(*conn).Close()
		*conn = nil
		return false
	}
	var ack struct{ ID string }
	if status != 200 || json.Unmarshal(answer, &ack) != nil || ack.ID == "" {
		return false
	}
	s.ledger.lines <- line{key, ack.ID}
	return true
}

// arrivals is what the sink has seen.
type arrivals struct {
	mu    sync.Mutex
	count map[string]int             // webhook-id to arrivals
	ids   map[string]map[string]bool // dedupe key to the webhook-ids it came under
}

func newArrivals() *arrivals {
	return &arrivals{count: make(map[string]int), ids: make(map[string]map[string]bool)}
}

func (a *arrivals) add(id string, body []byte) {
	var event struct{ Key string }
	if json.Unmarshal(body, &event) != nil {
		event.Key = "unreadable"
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count[id]++
	if a.ids[event.Key] == nil {
		a.ids[event.Key] = make(map[string]bool, 1)
	}
	a.ids[event.Key][id] = true
}

// missing counts acknowledged events that have not arrived.
func (a *arrivals) missing(l *ledger) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for key := range l.acknowledged {
		if len(a.ids[key]) == 0 {
			n++
		}
	}
	return n
}

// repeated counts deliveries that arrived more than once.
func (a *arrivals) repeated() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, count := range a.count {
		if count > 1 {
			n++
		}
	}
	return n
}

// renamed counts events that arrived under more than one webhook-id.
func (a *arrivals) renamed() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, ids := range a.ids {
		if len(ids) > 1 {
			n++
		}
	}
	return n
}

// reader follows the stream through everything, by its cursor alone.
type reader struct {
	hub           *harness.Server
	mu            sync.Mutex
	sequences     []string
	cursor        string
	reconnections int
}

func (r *reader) run(ctx context.Context) {
	for ctx.Err() == nil {
		_ = r.hub.Stream(ctx, r.cursor, func(cursor string, events []harness.StreamEvent) bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, e := range events {
				r.sequences = append(r.sequences, e.Sequence)
			}
			r.cursor = cursor
			return true
		}) // whatever ended it, the cursor says where to go on
		r.reconnections++
		_ = sleep(ctx, 10*time.Millisecond)
	}
}

func (r *reader) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.sequences) == 0 {
		return ""
	}
	return r.sequences[len(r.sequences)-1]
}

// compare holds what the reader was handed against what is stored.
func (r *reader) compare(stored []harness.StreamEvent) (missed, repeated, outOfOrder int) {
	seen := make(map[string]bool, len(r.sequences))
	for i, s := range r.sequences {
		if seen[s] {
			repeated++
		}
		seen[s] = true
		if i > 0 && s <= r.sequences[i-1] {
			outOfOrder++
		}
	}
	for _, e := range stored {
		if !seen[e.Sequence] {
			missed++
		}
	}
	return missed, repeated, outOfOrder
}

// readLog returns everything that is stored, read anew from the beginning.
func readLog(ctx context.Context, hub *harness.Server) ([]harness.StreamEvent, error) {
	var page struct {
		Events struct{ Nodes []harness.StreamEvent }
	}
	if err := hub.GraphQL(ctx, `{ events(first: 1) { nodes { id sequence dedupeKey } } }`, nil, &page); err != nil {
		return nil, err
	}
	if len(page.Events.Nodes) == 0 {
		return nil, errors.New("nothing is stored")
	}
	newest := page.Events.Nodes[0].Sequence
	var all []harness.StreamEvent
	err := hub.Stream(ctx, "", func(_ string, events []harness.StreamEvent) bool {
		all = append(all, events...)
		return len(all) == 0 || all[len(all)-1].Sequence < newest
	})
	return all, err
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
