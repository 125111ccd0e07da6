package main_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/bench/harness"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// binary is the program, built once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	return harness.Build(context.Background(), ".", buildDir)
})

var buildDir string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if buildDir, err = os.MkdirTemp("", "hookgraph-test-"); err != nil {
			panic(err)
		}
		defer func() { _ = os.RemoveAll(buildDir) }()
		return m.Run()
	}())
}

// hub is a hub that runs as a process of its own.
type hub struct {
	*harness.Server
	t *testing.T
}

func startHub(t *testing.T, databaseURL string) *hub {
	t.Helper()
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	h := &hub{t: t, Server: &harness.Server{
		Binary: program, DatabaseURL: databaseURL, Addr: testkit.FreeAddr(t), Log: filepath.Join(t.TempDir(), "log"),
	}}
	h.start()
	t.Cleanup(func() { _ = h.Kill() })
	return h
}

func (h *hub) start() {
	h.t.Helper()
	if err := h.Start(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *hub) kill() {
	h.t.Helper()
	if err := h.Kill(); err != nil {
		h.t.Fatal(err)
	}
}

func (h *hub) ask(out any, query string, variables map[string]any) {
	h.t.Helper()
	if err := h.GraphQL(h.t.Context(), query, variables, out); err != nil {
		h.t.Fatal(err)
	}
}

// post sends events to a source, each with a body of its own.
func (h *hub) post(slug string, from, to int) {
	h.t.Helper()
	conn, err := harness.Dial(h.Addr, 10*time.Second)
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	for n := from; n < to; n++ {
		status, answer, err := conn.Post("/in/"+slug, "", fmt.Appendf(nil, `{"type":"x","n":%d}`, n))
		if err != nil || status != http.StatusOK {
			h.t.Fatalf("the source answered %d %s: %v", status, answer, err)
		}
	}
}

// route makes a source, and an endpoint that gets its events.
func (h *hub) route(url string) (slug, subscriptionID string) {
	h.t.Helper()
	slug, sourceID, err := h.Source(h.t.Context(), "")
	if err != nil {
		h.t.Fatal(err)
	}
	endpointID, err := h.Endpoint(h.t.Context(), map[string]any{"name": "Sink", "url": url, "timeout": "PT5S"})
	if err != nil {
		h.t.Fatal(err)
	}
	subscriptionID, err = h.Subscription(h.t.Context(), map[string]any{"name": "All", "endpointId": endpointID, "sourceIds": []string{sourceID}})
	if err != nil {
		h.t.Fatal(err)
	}
	return slug, subscriptionID
}

// receiver counts what arrives.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	total int
	ids   map[string]map[string]int // by body, how often under which webhook-id
}

// receive starts a receiver. Behave may be nil.
func receive(t *testing.T, behave func(w http.ResponseWriter, r *http.Request)) *receiver {
	t.Helper()
	rc := &receiver{ids: make(map[string]map[string]int)}
	rc.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		rc.mu.Lock()
		rc.total++
		if rc.ids[string(body)] == nil {
			rc.ids[string(body)] = make(map[string]int)
		}
		rc.ids[string(body)][r.Header.Get("Webhook-Id")]++
		rc.mu.Unlock()
		if behave != nil {
			behave(w, r)
		}
	}))
	t.Cleanup(func() { rc.CloseClientConnections(); rc.Close() })
	return rc
}

// seen returns how many bodies have arrived, in how many requests.
func (rc *receiver) seen() (bodies, requests int) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return len(rc.ids), rc.total
}

// check says which bodies came under more than one ID.
func (rc *receiver) check(t *testing.T) {
	t.Helper()
	rc.mu.Lock()
	defer rc.mu.Unlock()
	for body, ids := range rc.ids {
		if len(ids) != 1 {
			t.Errorf("%s arrived as %v", body, slices.Collect(maps.Keys(ids)))
		}
	}
}

type replay struct {
	ID, State           string
	Total, Done, Failed int
	CompletedAt         *time.Time
}

func (h *hub) startReplay(input map[string]any) replay {
	h.t.Helper()
	var got struct{ StartReplay struct{ Replay replay } }
	h.ask(&got, `mutation ($input: StartReplayInput!) { startReplay(input: $input) { replay { id state total done failed completedAt } userErrors { message } } }`,
		map[string]any{"input": input})
	return got.StartReplay.Replay
}

func (h *hub) replay(id string) replay {
	h.t.Helper()
	var got struct{ Replay replay }
	h.ask(&got, `query ($id: ID!) { replay(id: $id) { id state total done failed completedAt } }`, map[string]any{"id": id})
	return got.Replay
}

func TestAReplayGoesOnAfterTheHubIsKilled(t *testing.T) {
	t.Parallel()
	testkit.EachDatabase(t, func(t *testing.T, databaseURL string) {
		h := startHub(t, databaseURL)
		sink := receive(t, nil)
		slug, _ := h.route(sink.URL + "/live")
		const n = 120
		var ignored any
		h.post(slug, 0, n)
		testkit.Eventually(t, "all is delivered", func() bool { bodies, _ := sink.seen(); return bodies == n })

		again := receive(t, nil)
		_, subscription := h.route(again.URL)
		h.ask(&ignored, `mutation ($id: ID!) { updateSubscription(input: {id: $id, sourceIds: []}) { userErrors { message } } }`, map[string]any{"id": subscription})
		input := map[string]any{"events": map[string]any{}, "toSubscriptionId": subscription, "rate": 10, "idempotencyKey": "once"} // for 12 s
		first := h.startReplay(input)
		for _, part := range []int{10, 40} {
			testkit.Eventually(t, "it goes on", func() bool { bodies, _ := again.seen(); return bodies >= part })
			h.kill()
			before, _ := again.seen()
			if before >= n {
				t.Fatal("it had ended before the hub was killed")
			}
			h.start()
			r := h.replay(first.ID)
			if after, _ := again.seen(); r.State != "RUNNING" || r.Total != n || r.Done > after || r.Failed != 0 {
				t.Errorf("%d had arrived when the hub was killed, %d a moment later: %+v", before, after, r)
			}
			if r := h.startReplay(input); r.ID != first.ID {
				t.Errorf("asked again with the key, another replay runs: %+v", r)
			}
		}
		// What the kill cut off waits for the end of its lease.
		testkit.Eventually(t, "it ends", func() bool { return h.replay(first.ID).CompletedAt != nil })
		if r := h.replay(first.ID); r.State != "COMPLETED" || r.Total != n || r.Done != n || r.Failed != 0 {
			t.Errorf("in the end it is %+v", r)
		}
		again.check(t)
		if bodies, requests := again.seen(); bodies != n || requests > n+2*attemptsAtOnce {
			t.Errorf("%d events arrived in %d requests", bodies, requests)
		}
		if r := h.startReplay(input); r.ID != first.ID || r.State != "COMPLETED" {
			t.Errorf("asked again after its end: %+v", r)
		}

		// What was asked to end before a kill, ends after it; and one that was cut short
		// by a kill can be canceled.
		other := receive(t, nil)
		_, subscription = h.route(other.URL)
		h.ask(&ignored, `mutation ($id: ID!) { updateSubscription(input: {id: $id, sourceIds: []}) { userErrors { message } } }`, map[string]any{"id": subscription})
		second := h.startReplay(map[string]any{"events": map[string]any{}, "toSubscriptionId": subscription, "rate": 5})
		testkit.Eventually(t, "the second begins", func() bool { bodies, _ := other.seen(); return bodies > 2 })
		h.kill()
		h.start()
		h.ask(&ignored, `mutation ($id: ID!) { cancelReplay(id: $id) { userErrors { message } } }`, map[string]any{"id": second.ID})
		testkit.Eventually(t, "it is canceled", func() bool { return h.replay(second.ID).CompletedAt != nil })
		r := h.replay(second.ID)
		// What had arrived when its record was cut off waits for another attempt, so the
		// cancellation ends it too.
		if bodies, _ := other.seen(); r.State != "CANCELED" || r.Done > bodies || r.Done+r.Failed < bodies || bodies >= n {
			t.Errorf("%d had arrived, and it is %+v", bodies, r)
		}
		other.check(t)
	})
}

// attemptsAtOnce is how many attempts of one endpoint a kill can cut off.
const attemptsAtOnce = 16

// listener is hookgraph listen as a process of its own.
type listener struct {
	t      *testing.T
	cmd    *exec.Cmd
	mu     sync.Mutex
	out    bytes.Buffer
	exited chan struct{} // closed once the process has been waited for
}

func (l *listener) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *listener) printed() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

func (h *hub) listen(args ...string) *listener {
	h.t.Helper()
	l := &listener{t: h.t, exited: make(chan struct{})}
	l.cmd = exec.Command(h.Binary, append([]string{"listen", "--url", h.URL(), "--key", harness.OperatorKey}, args...)...)
	l.cmd.Stdout, l.cmd.Stderr = l, l
	if err := l.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func() {
		_ = l.cmd.Wait() // how it ended is asked of its state
		close(l.exited)
	}()
	h.t.Cleanup(func() { _ = l.cmd.Process.Kill() })
	return l
}

// end sends a signal and waits until the process is gone.
func (l *listener) end(signal syscall.Signal) (code int, took time.Duration) {
	l.t.Helper()
	began := time.Now()
	if err := l.cmd.Process.Signal(signal); err != nil {
		l.t.Fatal(err)
	}
	select {
	case <-l.exited:
	case <-time.After(30 * time.Second):
		l.t.Fatalf("it does not end: %s", l.printed())
	}
	return l.cmd.ProcessState.ExitCode(), time.Since(began)
}

func TestListenLosesNothingWhoeverIsKilled(t *testing.T) {
	t.Parallel()
	for _, durable := range []bool{true, false} {
		t.Run(fmt.Sprintf("durable %v", durable), func(t *testing.T) {
			t.Parallel()
			h := startHub(t, "sqlite:"+filepath.Join(t.TempDir(), "hub.db"))
			const n = 200
			// The sink answers no more than it may, so that each kill comes in its midst.
			answers := make(chan struct{}, 2*n)
			mayAnswer := func(count int) {
				for range count {
					answers <- struct{}{}
				}
			}
			sink := receive(t, func(_ http.ResponseWriter, r *http.Request) {
				select {
				case <-answers:
				case <-r.Context().Done():
				}
			})
			t.Cleanup(func() { close(answers) })
			slug, _, err := h.Source(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			const inFlight = 4
			args := []string{"--forward", "/" + slug + "=" + sink.URL, "--name", "test", "--state", filepath.Join(t.TempDir(), "state.json")}
			ready := "is forwarded to"
			if durable {
				args, ready = append(args, "--durable", "--max-in-flight", fmt.Sprint(inFlight)), "is relayed to"
			}
			l := h.listen(args...)
			testkit.Eventually(t, "it is up", func() bool { return strings.Contains(l.printed(), ready) })
			arrived := func(n int) func() bool {
				return func() bool { bodies, _ := sink.seen(); return bodies >= n }
			}
			h.post(slug, 0, n)
			mayAnswer(n / 4)
			testkit.Eventually(t, "some have arrived", arrived(n/4+1))
			l.end(syscall.SIGKILL)
			h.post(slug, n, n+20)
			l = h.listen(args...)
			mayAnswer(n / 4)
			testkit.Eventually(t, "some more have arrived", arrived(n/4+n/8))
			h.kill()
			h.start()
			mayAnswer(n)
			testkit.Eventually(t, "all have arrived", arrived(n+20))
			if code, took := l.end(syscall.SIGINT); code != 0 || took > 5*time.Second {
				t.Errorf("it ended with %d after %s: %s", code, took, l.printed())
			}
			sink.check(t)
			// What was under way when the listener died, it cannot know to have arrived.
			if bodies, requests := sink.seen(); bodies != n+20 || requests > bodies+inFlight {
				t.Errorf("%d events arrived in %d requests", bodies, requests)
			}
		})
	}
}

// attempts are how the deliveries of a hub stand, and what was tried.
func (h *hub) attempts() (statuses map[string]int, outcomes map[string]int) {
	h.t.Helper()
	var got struct {
		Deliveries struct {
			Nodes []struct {
				Status   string
				Attempts struct{ Nodes []struct{ Outcome string } }
			}
		}
	}
	h.ask(&got, `{ deliveries(first: 100) { nodes { status attempts { nodes { outcome } } } } }`, nil)
	statuses, outcomes = map[string]int{}, map[string]int{}
	for _, d := range got.Deliveries.Nodes {
		statuses[d.Status]++
		for _, a := range d.Attempts.Nodes {
			outcomes[a.Outcome]++
		}
	}
	return statuses, outcomes
}

func TestAnInterruptedRelayLeavesNothingLeased(t *testing.T) {
	t.Parallel()
	h := startHub(t, "sqlite:"+filepath.Join(t.TempDir(), "hub.db"))
	slug, _, err := h.Source(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	open := sync.OnceFunc(func() { close(release) })
	sink := receive(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(open)
	args := []string{"--durable", "--name", "test", "--forward", "/" + slug + "=" + sink.URL, "--max-in-flight", "3"}
	l := h.listen(args...)
	testkit.Eventually(t, "it is up", func() bool { return strings.Contains(l.printed(), "is relayed to") })
	h.post(slug, 0, 10)
	testkit.Eventually(t, "three are under way", func() bool { bodies, _ := sink.seen(); return bodies == 3 })

	// A receiver that does not answer is not waited for without end, and what it was sent
	// counts for nothing.
	if code, took := l.end(syscall.SIGINT); code != 0 || took > 10*time.Second {
		t.Errorf("it ended with %d after %s: %s", code, took, l.printed())
	}
	testkit.Eventually(t, "the interruption is recorded", func() bool { _, outcomes := h.attempts(); return outcomes["INTERRUPTED"] == 3 })
	if statuses, outcomes := h.attempts(); statuses["PENDING"] != 10 || len(outcomes) != 1 {
		t.Errorf("after the interrupt: %v %v", statuses, outcomes)
	}

	// One that answers is heard out, and what has not been begun is free at once.
	began := time.Now()
	l = h.listen(args...)
	testkit.Eventually(t, "three are under way again", func() bool { _, requests := sink.seen(); return requests == 6 })
	time.AfterFunc(300*time.Millisecond, open)
	if code, took := l.end(syscall.SIGTERM); code != 0 || took > 4*time.Second {
		t.Errorf("it ended with %d after %s: %s", code, took, l.printed())
	}
	if statuses, _ := h.attempts(); statuses["DELIVERED"] != 3 || statuses["PENDING"] != 7 {
		t.Errorf("after the second: %v", statuses)
	}
	l = h.listen(args...)
	testkit.Eventually(t, "all are delivered", func() bool { statuses, _ := h.attempts(); return statuses["DELIVERED"] == 10 })
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the leases were waited for: %s", took)
	}
	sink.check(t)
	if bodies, requests := sink.seen(); bodies != 10 || requests != 13 {
		t.Errorf("%d arrived in %d requests", bodies, requests)
	}
	l.end(syscall.SIGINT)
}
