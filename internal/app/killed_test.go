package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// inFlight says how many attempts are under way, by its own account.
func (p *killable) inFlight() float64 {
	p.t.Helper()
	return p.metric("hookgraph_in_flight_attempts")
}

// metric returns one of a hub's metrics.
func (c *client) metric(name string) float64 {
	c.t.Helper()
	status, raw := c.send(http.MethodGet, "/metrics", http.Header{"Authorization": {"Bearer " + c.key}}, nil)
	_, rest, found := strings.Cut(string(raw), "\n"+name+" ")
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseFloat(line, 64)
	if status != http.StatusOK || !found || err != nil {
		c.t.Fatalf("the metrics are answered %d, %v", status, err)
	}
	return n
}

// offer posts a body under a dedupe key to one of the hubs after the other until one
// has acknowledged it. One that has not is left some time: it may be starting.
func offer(ctx context.Context, t *testing.T, hubs []*killable, turn int, key string, body []byte) {
	for ; ctx.Err() == nil; turn++ {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, hubs[turn%len(hubs)].url+"/in/s", bytes.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Webhook-Id", key)
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	t.Errorf("%s was not acknowledged", key)
}

// orderly is a receiver that notes whatever comes in another order than STRICT promises:
// the number of a key comes once the one before was accepted, and again, under the same
// webhook-id, until a later one has come.
type orderly struct {
	mu                        sync.Mutex
	keys                      map[string]*orderlyKey
	stalled                   chan struct{} // nil, or closed: requests are answered
	held                      int
	arrivals, failed, repeats int
	wrong                     []string
}

type orderlyKey struct {
	next     int    // the number that has not come yet
	id       string // of the one before
	accepted bool   // the one before
}

func (o *orderly) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	var body numbered
	if err != nil || json.Unmarshal(raw, &body) != nil {
		return // cut off
	}
	id := r.Header.Get("Webhook-Id")
	time.Sleep(2 * time.Millisecond) // what an owner does with it
	o.mu.Lock()
	defer o.mu.Unlock()
	if stalled := o.stalled; stalled != nil {
		o.held++
		o.mu.Unlock()
		<-stalled
		o.mu.Lock()
		o.held--
	}
	o.arrivals++
	k := o.keys[body.Account]
	if k == nil {
		k = &orderlyKey{accepted: true}
		o.keys[body.Account] = k
	}
	switch {
	case body.Number == k.next && k.accepted:
		k.next, k.id, k.accepted = k.next+1, id, false
		if body.Number%3 == 1 {
			o.failed++
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
	case body.Number == k.next-1 && id == k.id:
		if k.accepted {
			o.repeats++
		}
	default:
		o.wrong = append(o.wrong, fmt.Sprintf("number %d of %s as %s, when %d was next and %s was accepted: %t", body.Number, body.Account, id, k.next, k.id, k.accepted))
	}
	k.accepted = true
}

func (o *orderly) arrived() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.arrivals
}

// stall lets requests wait, and returns once one of each key does.
func (o *orderly) stall(t *testing.T) (goOn func()) {
	t.Helper()
	stalled := make(chan struct{})
	o.mu.Lock()
	o.stalled = stalled
	o.mu.Unlock()
	goOn = sync.OnceFunc(func() {
		o.mu.Lock()
		o.stalled = nil
		o.mu.Unlock()
		close(stalled)
	})
	t.Cleanup(goOn) // before the server is closed
	testkit.Eventually(t, "every key is under way", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.held >= len(o.keys)
	})
	return goOn
}

// accepted counts what was.
func (o *orderly) accepted() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, k := range o.keys {
		if n += k.next; !k.accepted {
			n--
		}
	}
	return n
}

func (o *orderly) judge(t *testing.T) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, wrong := range o.wrong[:min(len(o.wrong), 5)] {
		t.Error(wrong)
	}
	if o.failed == 0 {
		t.Error("nothing had to be retried")
	}
	t.Logf("%d requests, %d refused, %d repeated after they were accepted", o.arrivals, o.failed, o.repeats)
}

// linesUnderKills offers lines to hubs while kill does what it does, and wants each of them
// to come to its end in order.
func linesUnderKills(t *testing.T, hubs []*killable, keys, each int, kill func(owner *orderly, came func(n int))) {
	t.Helper()
	owner := &orderly{keys: map[string]*orderlyKey{}}
	server := httptest.NewServer(owner)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	hubs[0].source("s")
	// Nothing dies, however slow the machine is.
	endpoint, _ := hubs[0].endpoint(server.URL, `timeout: "PT5S", maxConcurrency: 16, retryPolicy: {schedule: ["PT0S", "PT0.02S", "PT0.1S", "PT0.5S"`+strings.Repeat(`, "PT1S"`, 28)+`]}`)
	hubs[0].subscribe(endpoint, `ordering: STRICT, orderingKey: "body.account"`)
	var offering sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for key := range keys {
		offering.Go(func() {
			for n := range each {
				offer(ctx, t, hubs, key+n, fmt.Sprintf("%d/%d", key, n), fmt.Appendf(nil, `{"account":"a%d","number":%d}`, key, n))
			}
		})
	}
	kill(owner, func(n int) {
		testkit.Eventually(t, fmt.Sprintf("%d requests have come", n), func() bool { return owner.arrived() >= n })
	})
	offering.Wait()
	testkit.Eventually(t, "every line has come to its end", func() bool { return owner.accepted() >= keys*each })
	owner.judge(t)
}

func TestAKilledHubGoesOnWithItsLines(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		hub := launch(t, o)
		kills := []int{20, 60, 100, 140, 180, 220}
		if strings.HasPrefix(o.DatabaseURL, "postgres") {
			kills = []int{60, 200} // what was under way is taken up once its lease has run out
		}
		linesUnderKills(t, []*killable{hub}, 8, 30, func(_ *orderly, came func(int)) {
			for _, n := range kills {
				came(n)
				hub.kill()
				hub.start()
			}
			came(kills[len(kills)-1] + 10)
		})
	})
}

func TestLinesGoOnWhenOneOfTwoNodesIsKilled(t *testing.T) {
	t.Parallel()
	onNodes(t, func(t *testing.T, o config.Server) {
		one, two := launch(t, o), launch(t, o)
		linesUnderKills(t, []*killable{one, two}, 8, 60, func(owner *orderly, came func(int)) {
			came(120)
			goOn := owner.stall(t)
			var underWay [2]float64
			testkit.Eventually(t, "something is under way", func() bool {
				underWay = [2]float64{one.inFlight(), two.inFlight()}
				return underWay[0]+underWay[1] > 0
			})
			busier := one
			if underWay[1] > underWay[0] {
				busier = two
			}
			busier.kill()
			goOn()
			testkit.Eventually(t, "what was under way has been answered", func() bool {
				owner.mu.Lock()
				defer owner.mu.Unlock()
				return owner.held == 0
			})
			came(owner.arrived() + 1) // what the killed node had is taken over
			t.Logf("under way on the two nodes: %v", underWay)
		})
	})
}
