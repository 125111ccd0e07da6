// Command hostile measures what a healthy client notices of hostile ones: the latency of
// a query at a steady pace, alone and while others send every query of gatetest, in turn,
// each as fast as it is answered. The hub and the attackers are processes of their own,
// and the processor time of both stands beside the latencies, because what the attackers
// themselves take of the machine is missing to the healthy query on any server.
//
//	go run ./bench/hostile
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookgraph/hookgraph/bench/harness"
	"github.com/hookgraph/hookgraph/graph/gate/gatetest"
)

// healthyPause lies between two healthy queries: a steady rate, not as fast as can be.
const healthyPause = 2 * time.Millisecond

// answerTimeout bounds each request.
const answerTimeout = 30 * time.Second

// healthyQuery is what the healthy client asks.
const healthyQuery = `{"query":"{ events(first: 50) { nodes { id type receivedAt source { id name } } pageInfo { hasNextPage } } }"}`

// unmetered gives more points than anybody can spend.
var unmetered = []string{"HOOKGRAPH_POINTS_MAXIMUM=1000000000", "HOOKGRAPH_POINTS_RESTORE_RATE=1000000000"}

type options struct {
	root     string
	rounds   int
	duration time.Duration
	only     string
	addr     string
	key      string
	count    int
	pace     int
}

func main() {
	var o options
	flag.StringVar(&o.root, "root", ".", "the module's root")
	flag.IntVar(&o.rounds, "rounds", 5, "how often the query is measured alone and beside attackers, in turn")
	flag.DurationVar(&o.duration, "duration", time.Second, "length of each measurement")
	flag.StringVar(&o.only, "only", "", "measure the cases alone whose name contains this")
	flag.StringVar(&o.addr, "attack", "", "attack the hub at this address, for the program's own use")
	flag.StringVar(&o.key, "key", "", "the attackers' key, for the program's own use")
	flag.IntVar(&o.count, "attackers", 1, "how many attack, for the program's own use")
	flag.IntVar(&o.pace, "pace", 0, "requests a second of each attacker, 0 for as fast as they are answered; for the program's own use")
	flag.Parse()
	harness.Main("hostile", func(ctx context.Context) error {
		if o.addr != "" {
			return attack(o)
		}
		return run(ctx, o)
	})
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "hookgraph-hostile-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary, err := harness.Build(ctx, o.root, dir)
	if err != nil {
		return err
	}
	fmt.Printf("%d processors, %s, %d rounds of %s alone and %s beside attackers\n", runtime.NumCPU(), runtime.Version(), o.rounds, o.duration, o.duration)
	for i, c := range []struct {
		name        string
		env         []string
		count, pace int
	}{
		{"1 attacker, unlimited points", unmetered, 1, 0},
		{"4 attackers, unlimited points", unmetered, 4, 0},
		{"1 attacker, 25 requests/s", nil, 1, 25},
		{"4 attackers with one key, 25 requests/s each", nil, 4, 25},
		{"1 attacker", nil, 1, 0},
		{"4 attackers with one key", nil, 4, 0},
	} {
		if !strings.Contains(c.name, o.only) {
			continue
		}
		o.count, o.pace = c.count, c.pace
		addr, err := harness.FreeAddr()
		if err != nil {
			return err
		}
		name := filepath.Join(dir, strconv.Itoa(i))
		server := &harness.Server{Binary: binary, DatabaseURL: "sqlite:" + name + ".db", Addr: addr, Log: name + ".log", Env: c.env}
		if err := server.Start(ctx); err != nil {
			return err
		}
		fmt.Printf("\n%s\n", c.name)
		if err := errors.Join(measure(ctx, server, o), server.Stop()); err != nil {
			return err
		}
	}
	return nil
}

// side is one half of the measurements.
type side struct {
	taken     harness.Latencies
	hub, away float64 // seconds of processor time, of the hub and of the attackers
	elapsed   float64
}

// measure prints what a healthy query takes on a hub alone and beside attackers. Rounds
// of both alternate, so that what else the machine does meets both.
func measure(ctx context.Context, server *harness.Server, o options) error {
	key, err := fill(ctx, server)
	if err != nil {
		return err
	}
	healthy, err := harness.Dial(server.Addr, answerTimeout)
	if err != nil {
		return err
	}
	defer healthy.Close()
	a, err := startAttackers(server.Addr, key, o)
	if err != nil {
		return err
	}
	defer a.stop()
	var sides [2]side
	if err := ask(healthy, o.duration, &harness.Latencies{}); err != nil { // to warm up
		return err
	}
	for range o.rounds {
		for i := range sides {
			if err := a.round(server, healthy, i == 1, o.duration, &sides[i]); err != nil {
				return err
			}
		}
	}
	alone, beside := &sides[0], &sides[1]
	for _, q := range []float64{0.5, 0.99} {
		before, after := alone.taken.Quantile(q), beside.taken.Quantile(q)
		fmt.Printf("    p%-3.0f %6.2f ms alone, %6.2f ms beside, ratio %.2f\n", 100*q, ms(before), ms(after), ms(after)/ms(before))
	}
	fmt.Printf("    processors taken: the hub %.2f alone and %.2f beside, the attackers %.2f\n",
		alone.hub/alone.elapsed, beside.hub/beside.elapsed, beside.away/beside.elapsed)
	fmt.Printf("    hostile requests: %.0f/s, of which %.0f/s were refused unread\n",
		float64(a.sent)/beside.elapsed, float64(a.unread)/beside.elapsed)
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// fill stores what the healthy query shows and makes the attackers' key.
func fill(ctx context.Context, server *harness.Server) (string, error) {
	var events []any
	for i := range 100 {
		events = append(events, map[string]any{"type": "healthy", "payload": i})
	}
	if err := server.GraphQL(ctx, `mutation($events: [PublishEventInput!]!) { publishEvents(input: $events) { event { id } userErrors { message } } }`,
		map[string]any{"events": events}, &struct{}{}); err != nil {
		return "", err
	}
	var made struct{ CreateAPIKey struct{ Key string } }
	err := server.GraphQL(ctx, `mutation { createApiKey(input: {name: "attacker", role: VIEWER}) { key userErrors { message } } }`, nil, &made)
	return made.CreateAPIKey.Key, err
}

// ask sends the healthy query at its pace.
func ask(c *harness.Conn, duration time.Duration, taken *harness.Latencies) error {
	for until := time.Now().Add(duration); time.Now().Before(until); {
		began := time.Now()
		status, answer, err := c.Ask("/graphql", []byte(healthyQuery))
		if err != nil {
			return err
		}
		if status != http.StatusOK || strings.HasPrefix(string(answer), `{"errors"`) {
			return fmt.Errorf("the healthy query was answered %d %.300s", status, answer)
		}
		taken.Add(time.Since(began))
		time.Sleep(healthyPause)
	}
	return nil
}

// attackers are a process that attacks when it is told to.
type attackers struct {
	cmd          *exec.Cmd
	in           io.WriteCloser
	out          *bufio.Scanner
	sent, unread int
}

func startAttackers(addr, key string, o options) (*attackers, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "-attack", addr, "-key", key, "-attackers", strconv.Itoa(o.count), "-pace", strconv.Itoa(o.pace)) //nolint:gosec // this program
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &attackers{cmd: cmd, in: in, out: bufio.NewScanner(out)}, cmd.Start()
}

// tell has the process begin or end an attack and returns what it answers.
func (a *attackers) tell(what string) (string, error) {
	if _, err := io.WriteString(a.in, what+"\n"); err != nil {
		return "", err
	}
	if !a.out.Scan() {
		return "", errors.Join(errors.New("the attackers have ended"), a.out.Err())
	}
	return a.out.Text(), nil
}

// stop ends the process.
func (a *attackers) stop() {
	_ = a.in.Close() // which ends it
	_ = a.cmd.Wait()
}

// round measures the healthy query once.
func (a *attackers) round(server *harness.Server, healthy *harness.Conn, attacked bool, duration time.Duration, to *side) error {
	pids := []int{server.PID(), a.cmd.Process.Pid}
	var before, after [2]float64
	for i, pid := range pids {
		var err error
		if before[i], err = harness.CPUSeconds(pid); err != nil {
			return err
		}
	}
	began := time.Now()
	if attacked {
		if _, err := a.tell("begin"); err != nil {
			return err
		}
	}
	if err := ask(healthy, duration, &to.taken); err != nil {
		return err
	}
	if attacked {
		told, err := a.tell("end")
		if err != nil {
			return err
		}
		var sent, unread int
		if _, err := fmt.Sscan(told, &sent, &unread); err != nil {
			return fmt.Errorf("the attackers said %q: %w", told, err)
		}
		a.sent, a.unread = a.sent+sent, a.unread+unread
	}
	for i, pid := range pids {
		var err error
		if after[i], err = harness.CPUSeconds(pid); err != nil {
			return err
		}
	}
	to.hub, to.away = to.hub+after[0]-before[0], to.away+after[1]-before[1]
	to.elapsed += time.Since(began).Seconds()
	return nil
}

// attack begins and ends attacks as standard input says, until that ends.
func attack(o options) error {
	var bodies [][]byte
	for _, request := range gatetest.All() {
		if !strings.HasPrefix(request.Query, "subscription") && !strings.HasPrefix(request.Query, "mutation") {
			bodies = append(bodies, request.Body())
		}
	}
	var next, sent, unread atomic.Int64
	var running sync.WaitGroup
	var stop chan struct{}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "begin":
			stop = make(chan struct{})
			for range o.count {
				running.Go(func() {
					one := &attacker{options: o}
					defer one.hangUp()
					for wait := one.waits(); wait(stop); {
						sent.Add(1)
						if !one.send(bodies[int(next.Add(1))%len(bodies)]) {
							unread.Add(1)
						}
					}
				})
			}
			fmt.Println("begun")
		case "end":
			close(stop)
			running.Wait()
			fmt.Println(sent.Swap(0), unread.Swap(0))
		}
	}
	return nil
}

// attacker is one connection that is made again whenever the hub has closed it.
type attacker struct {
	options
	conn *harness.Conn
}

// waits returns what waits until the next request is due and reports false at the end.
func (a *attacker) waits() func(stop <-chan struct{}) bool {
	pause := time.Duration(0)
	if a.pace > 0 {
		pause = time.Second / time.Duration(a.pace)
	}
	due := time.Now()
	return func(stop <-chan struct{}) bool {
		due = due.Add(pause)
		select {
		case <-stop:
			return false
		case <-time.After(time.Until(due)):
			return true
		}
	}
}

// send sends a request and reports whether it was read before it was refused.
func (a *attacker) send(body []byte) bool {
	if a.conn == nil {
		conn, err := harness.Dial(a.addr, answerTimeout)
		if err != nil {
			return false
		}
		a.conn = conn
	}
	status, _, err := a.conn.AskAs(a.key, "/graphql", body)
	if err != nil { // closed, as is what was not read to its end
		a.hangUp()
	}
	return err == nil && status != http.StatusTooManyRequests
}

func (a *attacker) hangUp() {
	if a.conn != nil {
		a.conn.Close()
		a.conn = nil
	}
}
