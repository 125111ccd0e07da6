// Command fanout measures live streams: how many subscribers one hub serves, how
// late and at which cost. Each subscriber has a graphql-transport-ws connection and
// a subscription of its own. The hub is a process of its own, so its processor time
// and memory are its own as well; the subscribers share the machine's processors
// with it, so latencies include what reading them costs.
//
// Beside it runs the baseline: a bare server that fans the very bytes which the hub
// has sent out to as many WebSockets at the same pace, by the same library. What
// counts is the ratio of processor time for one message.
//
//	go run ./bench/fanout
//
// It needs two file descriptors for each subscriber (ulimit -n) and Linux.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/hookgraph/hookgraph/bench/harness"
)

type options struct {
	subscribers int
	rate        int
	duration    time.Duration
	payload     int
	operations  int
	rounds      int
	root        string
	databaseURL string
	bare        string
}

func main() {
	var o options
	flag.IntVar(&o.subscribers, "subscribers", 1000, "how many subscribers there are")
	flag.IntVar(&o.rate, "rate", 20, "events a second")
	flag.DurationVar(&o.duration, "duration", 20*time.Second, "how long events are published")
	flag.IntVar(&o.payload, "payload", 512, "about how many bytes the payload of an event has")
	flag.IntVar(&o.operations, "operations", 1, "among how many different operations the subscribers are divided")
	flag.IntVar(&o.rounds, "rounds", 1, "how often hub and baseline are measured")
	flag.StringVar(&o.root, "root", ".", "the module's root")
	flag.StringVar(&o.databaseURL, "database-url", "", "database of the hub, empty at the start; default: a SQLite file in a temporary directory")
	flag.StringVar(&o.bare, "bare", "", "serve the baseline at this address, for the program's own use")
	flag.Parse()
	o.operations = max(o.operations, 1)
	harness.Main("fanout", func(ctx context.Context) error {
		if o.bare != "" {
			return serveBare(o.bare)
		}
		return run(ctx, o)
	})
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "hookgraph-fanout-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary, err := harness.Build(ctx, o.root, dir)
	if err != nil {
		return err
	}
	fmt.Printf("%d processors, %s; %d subscribers of %d operations, %d events/s for %s\n\n",
		runtime.NumCPU(), runtime.Version(), o.subscribers, o.operations, o.rate, o.duration)
	for round := range o.rounds {
		database := o.databaseURL
		if database == "" {
			database = "sqlite:" + filepath.Join(dir, fmt.Sprintf("hub%d.db", round))
		}
		hub, frames, err := measureHub(ctx, o, binary, database, filepath.Join(dir, "hub.log"))
		if err != nil {
			return fmt.Errorf("the hub: %w", err)
		}
		hub.print("hub")
		base, err := measureBare(ctx, o, frames)
		if err != nil {
			return fmt.Errorf("the baseline: %w", err)
		}
		base.print("bare")
		fmt.Printf("ratio of processor time for one message: %.2f\n\n", hub.perMessage()/base.perMessage())
	}
	return nil
}

// measurement is what one server has shown.
type measurement struct {
	subscribers, events, messages int
	seconds, cpu                  float64 // of the load, and the processor time that it took
	empty, subscribed, loaded     float64 // MiB resident
	latencies                     harness.Latencies
}

func (m *measurement) perMessage() float64 { return m.cpu / float64(m.messages) }

func (m *measurement) print(name string) {
	each := func(mib float64) float64 { return (mib - m.empty) * 1024 / float64(m.subscribers) }
	fmt.Printf("%-5s %d events to each subscriber, once and in order, in %d messages\n", name, m.events, m.messages)
	fmt.Printf("      published to received: p50 %s, p99 %s\n", ms(m.latencies.Quantile(0.5)), ms(m.latencies.Quantile(0.99)))
	fmt.Printf("      processor time: %.1f µs a message, %.0f %% of one processor\n", m.perMessage()*1e6, 100*m.cpu/m.seconds)
	fmt.Printf("      resident: %.1f MiB without subscribers, %.1f with them (%.1f KiB each), %.1f after the load (%.1f KiB each)\n",
		m.empty, m.subscribed, each(m.subscribed), m.loaded, each(m.loaded))
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }

// measureHub returns also what one subscriber has received of each event.
func measureHub(ctx context.Context, o options, binary, database, log string) (*measurement, [][]byte, error) {
	addr, err := harness.FreeAddr()
	if err != nil {
		return nil, nil, err
	}
	hub := &harness.Server{Binary: binary, DatabaseURL: database, Addr: addr, Log: log}
	if err := hub.Start(ctx); err != nil {
		return nil, nil, err
	}
	defer func() { _ = hub.Kill() }()
	route, err := hub.Connect(ctx, "")
	if err != nil {
		return nil, nil, err
	}
	sender, err := harness.Dial(addr, 10*time.Second)
	if err != nil {
		return nil, nil, err
	}
	defer sender.Close()
	padding := strings.Repeat("x", o.payload)
	post := func(n int) error {
		status, answer, err := sender.Post("/in/"+route.Slug, "", fmt.Appendf(nil, `{"n":%d,"text":"%s"}`, n, padding))
		if err == nil && status/100 != 2 {
			err = fmt.Errorf("an event was answered %d %s", status, answer)
		}
		return err
	}
	// Before anybody subscribes, so that the hub's heap is as large as events make it.
	for range 5000 {
		if err := post(-1); err != nil {
			return nil, nil, err
		}
	}
	crowd := newCrowd(o, true)
	defer crowd.close()
	m, err := crowd.measure(ctx, hub.PID(), func(id int) (*harness.Socket, error) { return subscribe(addr, id, id%o.operations) }, post)
	return m, crowd.frames, err
}

// query is what each subscriber asks for, but for the name of the operation.
const query = `subscription Operation%d { eventStream { cursor events { id sequence type dedupeKey receivedAt source { id slug name } payload } } }`

// subscribe opens a connection and a stream, and returns when the stream has begun.
func subscribe(addr string, id, operation int) (*harness.Socket, error) {
	s, err := harness.DialSocket(addr, "/graphql", "graphql-transport-ws")
	if err != nil {
		return nil, err
	}
	for _, step := range []struct{ send, want string }{
		{`{"type":"connection_init","payload":{"authorization":"Bearer ` + harness.OperatorKey + `"}}`, `"connection_ack"`},
		// IDs differ as those of real clients do.
		{fmt.Sprintf(`{"type":"subscribe","id":"%08x","payload":{"query":"%s"}}`, id, fmt.Sprintf(query, operation)), `"next"`},
	} {
		if err := s.Send(step.send); err != nil {
			return nil, err
		}
		answer, err := s.Receive()
		if err != nil {
			return nil, err
		}
		if !bytes.Contains(answer, []byte(step.want)) {
			return nil, fmt.Errorf("%s was answered %s", step.send, answer)
		}
	}
	return s, nil
}

// measureBare sends frames through the baseline.
func measureBare(ctx context.Context, o options, frames [][]byte) (*measurement, error) {
	addr, err := harness.FreeAddr()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	server := exec.Command(self, "-bare", addr)
	if err := server.Start(); err != nil {
		return nil, err
	}
	defer func() { _ = server.Process.Kill(); _ = server.Wait() }()
	for range 1000 {
		if first, err := harness.DialSocket(addr, "/", ""); err == nil {
			first.Close()
			break
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	crowd := newCrowd(o, false)
	defer crowd.close()
	return crowd.measure(ctx, server.Process.Pid, func(int) (*harness.Socket, error) { return harness.DialSocket(addr, "/", "") },
		func(n int) error {
			if frames[n] == nil { // it came with the one before
				return nil
			}
			response, err := http.Post("http://"+addr+"/", "application/json", bytes.NewReader(frames[n]))
			if err != nil {
				return err
			}
			return response.Body.Close()
		})
}
