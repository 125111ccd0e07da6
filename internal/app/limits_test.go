package app_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// counted is the owner of an endpoint with limits, who counts what is under way at once and
// notes when each request came. The hub must not give up what it has not answered yet, and
// begin something else: an endpoint's timeout is longer than the machine can be busy.
type counted struct {
	url   string
	limit int // of what is under way

	mu        sync.Mutex
	now, most int
	came      []time.Time
	ids       map[string]int
	waiting   chan struct{} // until it is closed requests wait; nil: none does
}

func count(t *testing.T, limit int) *counted {
	t.Helper()
	o := &counted{limit: limit, ids: map[string]int{}, waiting: make(chan struct{})}
	server := httptest.NewServer(o)
	o.url = server.URL
	t.Cleanup(func() { o.answers(); server.CloseClientConnections(); server.Close() })
	return o
}

func (o *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.now++
	o.most = max(o.most, o.now)
	o.came = append(o.came, time.Now())
	o.ids[r.Header.Get("Webhook-Id")]++
	waiting := o.waiting
	o.mu.Unlock()
	if waiting != nil {
		select {
		case <-waiting:
		case <-r.Context().Done():
		}
	}
	time.Sleep(3 * time.Millisecond) // what an owner does with it
	o.mu.Lock()
	o.now-- // before the answer goes out
	o.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

// answers lets what waits and all that comes be answered.
func (o *counted) answers() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.waiting != nil {
		close(o.waiting)
		o.waiting = nil
	}
}

// holds lets what comes wait from now on.
func (o *counted) holds() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting = make(chan struct{})
}

func (o *counted) underWay() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.now
}

// delivered is how many deliveries have come.
func (o *counted) delivered() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.ids)
}

func (o *counted) judge(t *testing.T) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.most > o.limit {
		t.Errorf("%d requests were under way at once, of %d", o.most, o.limit)
	}
}

func nodes(t *testing.T, n int, hubs ...*client) {
	t.Helper()
	for _, hub := range hubs {
		testkit.Eventually(t, "the nodes know each other", func() bool { return hub.metric("hookgraph_nodes") == float64(n) })
	}
}

// TestTheNodesOfAHubKeepToAConcurrencyTogether has another node come and go again while
// deliveries are made, and holds requests until as many are under way as may be.
func TestTheNodesOfAHubKeepToAConcurrencyTogether(t *testing.T) {
	t.Parallel()
	onNodes(t, func(t *testing.T, o config.Server) {
		a := start(t, o)
		nodes(t, 1, a)
		a.source("s")
		var owners []*counted
		for _, limit := range []int{1, 1, 3, 3} {
			owner := count(t, limit)
			owners = append(owners, owner)
			endpoint, _ := a.endpoint(owner.url, fmt.Sprintf(`timeout: "PT60S", maxConcurrency: %d`, limit))
			a.subscribe(endpoint, "")
		}
		sent := 0
		post := func(n int, hubs ...*client) {
			for i := range n {
				hubs[i%len(hubs)].post("s", nil, []byte(`{}`))
				sent++
			}
		}
		full := func(what string) {
			for _, owner := range owners {
				testkit.Eventually(t, what, func() bool { return owner.underWay() >= owner.limit })
				owner.judge(t)
			}
		}
		post(20, a)
		full("one node makes use of the limits")
		b := start(t, o)
		nodes(t, 2, a, b)
		post(20, a, b)
		for _, owner := range owners {
			owner.answers()
		}
		post(40, a, b)
		for _, owner := range owners {
			testkit.Eventually(t, "everything is delivered", func() bool { return owner.delivered() == sent })
			testkit.Eventually(t, "nothing is under way", func() bool { return owner.underWay() == 0 })
			owner.holds()
		}
		post(20, a, b)
		full("two nodes make use of the limits")
		for _, owner := range owners {
			owner.answers()
		}
		a.stop()
		nodes(t, 1, b)
		for _, owner := range owners {
			testkit.Eventually(t, "everything is delivered", func() bool { return owner.delivered() == sent })
			testkit.Eventually(t, "nothing is under way", func() bool { return owner.underWay() == 0 })
			owner.holds()
		}
		post(10, b)
		full("the other node makes use of the limits")
		for _, owner := range owners {
			owner.answers()
			testkit.Eventually(t, "everything is delivered", func() bool { return owner.delivered() == sent })
			owner.judge(t)
		}
	})
}

// TestTheNodesOfAHubKeepToARateTogether compares when each request came with when the limit
// permits it at the earliest: a machine that is slow makes it later.
func TestTheNodesOfAHubKeepToARateTogether(t *testing.T) {
	t.Parallel()
	onNodes(t, func(t *testing.T, o config.Server) {
		a := start(t, o)
		a.source("s")
		rates := []int{1, 5, 10}
		var owners []*counted
		for _, rate := range rates {
			owner := count(t, 16)
			owner.answers()
			owners = append(owners, owner)
			endpoint, _ := a.endpoint(owner.url, fmt.Sprintf(`rateLimit: {limit: %d, period: "PT1S"}`, rate))
			a.subscribe(endpoint, fmt.Sprintf(`filter: "body.n < %d"`, 5*rate))
		}
		began := time.Now()
		for n := range 25 {
			a.post("s", nil, fmt.Appendf(nil, `{"n":%d}`, n))
		}
		b := start(t, o)
		nodes(t, 2, a, b)
		for n := 25; n < 50; n++ {
			b.post("s", nil, fmt.Appendf(nil, `{"n":%d}`, n))
		}
		for i, owner := range owners {
			testkit.Eventually(t, "everything is delivered", func() bool { return owner.delivered() == 5*rates[i] })
			owner.mu.Lock()
			came := slices.Clone(owner.came)
			owner.mu.Unlock()
			for n, at := range came {
				if earliest := began.Add(time.Duration(n+1-rates[i]) * time.Second / time.Duration(rates[i])); at.Before(earliest) {
					t.Errorf("of %d a second, request %d came %s too early", rates[i], n, earliest.Sub(at))
				}
			}
		}
	})
}

func TestAKilledNodesPartOfTheLimitsIsTakenOver(t *testing.T) {
	t.Parallel()
	onNodes(t, func(t *testing.T, o config.Server) {
		one, two := launch(t, o), launch(t, o)
		nodes(t, 2, one.client, two.client)
		one.source("s")
		var owners []*counted
		for _, limit := range []int{1, 1, 1, 1, 3} {
			owner := count(t, limit)
			owners = append(owners, owner)
			endpoint, _ := one.endpoint(owner.url, fmt.Sprintf(`timeout: "PT10S", maxConcurrency: %d, retryPolicy: {schedule: ["PT0S", "PT0.1S", "PT0.1S", "PT0.1S"]}`, limit))
			one.subscribe(endpoint, "")
			owner.answers()
		}
		sent := 0
		post := func(n int, hubs ...*killable) {
			for i := range n {
				hubs[i%len(hubs)].post("s", nil, []byte(`{}`))
				sent++
			}
		}
		post(60, one, two)
		two.kill()
		began := time.Now()
		post(40, one)
		nodes(t, 1, one.client)
		t.Logf("the killed node was missed after %s", time.Since(began))
		for _, owner := range owners {
			testkit.Eventually(t, "everything is delivered", func() bool { return owner.delivered() == sent })
		}
		t.Logf("everything was delivered after %s", time.Since(began))
		two.start()
		nodes(t, 2, one.client, two.client)
		post(40, one, two)
		for _, owner := range owners {
			testkit.Eventually(t, "everything is delivered", func() bool { return owner.delivered() == sent })
			owner.judge(t)
		}
	})
}

// TestANodeThatHangsGivesUpItsPart suspends a process, whose connections stay open, and lets
// it go on when the other has taken over.
func TestANodeThatHangsGivesUpItsPart(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.DatabaseURL = testkit.Postgres(t)
	one, two := launch(t, o), launch(t, o)
	nodes(t, 2, one.client, two.client)
	one.source("s")
	var owners []*counted
	for range 4 {
		owner := count(t, 1)
		owners = append(owners, owner)
		endpoint, _ := one.endpoint(owner.url, `timeout: "PT10S", maxConcurrency: 1`)
		one.subscribe(endpoint, "")
		owner.answers()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	sent := 0
	post := func(n int, hubs ...*killable) {
		for range n { // again where nothing can be stored: one that hangs inside a transaction holds all up for some time
			offer(ctx, t, hubs, sent, fmt.Sprint(sent), []byte(`{}`))
			sent++
		}
	}
	delivered := func() {
		for _, owner := range owners {
			testkit.Eventually(t, "everything is delivered", func() bool { return owner.delivered() == sent })
			owner.judge(t)
		}
	}
	post(20, one, two)
	delivered()
	if err := two.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	post(40, one)
	nodes(t, 1, one.client)
	delivered()
	post(100, one)
	if err := two.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	nodes(t, 2, one.client, two.client)
	post(40, one, two)
	delivered()
}
