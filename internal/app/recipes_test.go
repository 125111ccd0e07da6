package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// recipes runs each program of docs/recipes.md.
var recipes = map[string]func(t *testing.T, p programs){
	"dashboard.ts":  dashboardRecipe,
	"stream-ws.ts":  func(t *testing.T, p programs) { streamRecipe(t, p, "stream-ws.ts") },
	"stream-sse.ts": func(t *testing.T, p programs) { streamRecipe(t, p, "stream-sse.ts") },
	"export.ts":     exportRecipe,
	"partner.ts":    partnerRecipe,
}

// shared are the blocks that the programs import or run beside.
var shared = []string{"follow.ts", "hub.ts", "ledger.ts", "onboard.ts", "tsconfig.json"}

// TestRecipes type-checks the blocks of docs/recipes.md as they stand there and
// runs each program against a hub. A block that nothing runs fails it.
func TestRecipes(t *testing.T) {
	t.Parallel()
	p := compile(t)
	for name, run := range recipes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, p)
		})
	}
}

// blocks are the fenced blocks of a page, by language.
func blocks(t *testing.T, page, language string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", page))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, block := range regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		if language == "" || block[1] == language {
			found = append(found, block[2])
		}
	}
	return found
}

// programs are the recipes, ready to be run.
type programs struct{ node, dir string }

// compile checks the page's blocks against the tests and compiles them.
func compile(t *testing.T) programs {
	t.Helper()
	p := programs{node: nodeJS(t), dir: t.TempDir()}
	known := append(slices.Collect(maps.Keys(recipes)), shared...)
	var met []string
	for _, block := range blocks(t, "docs/recipes.md", "") {
		first, _, _ := strings.Cut(block, "\n")
		name, ok := strings.CutPrefix(first, "// ")
		if !ok || !slices.Contains(known, name) {
			t.Fatalf("no test runs the block that begins with %q", first)
		}
		met = append(met, name)
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(met)
	slices.Sort(known)
	if !slices.Equal(met, known) {
		t.Fatalf("the page has the blocks %v, the tests know %v", met, known)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "package.json"), []byte(`{"type": "module"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	modules := filepath.Join(packages(t, "clients"), "node_modules")
	if err := os.Symlink(modules, filepath.Join(p.dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	compiler := exec.CommandContext(t.Context(), p.node, filepath.Join(modules, "typescript", "bin", "tsc"), "--project", ".")
	compiler.Dir = p.dir
	if out, err := compiler.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return p
}

// program is one that runs.
type program struct {
	out, errOut *testkit.Output
	done        chan struct{}
	err         error
	kill        func()
}

// run starts a program in a folder, with the hub's URL and a key.
func (p programs) run(t *testing.T, dir, name, url, key string) *program {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	cmd := exec.CommandContext(ctx, p.node, filepath.Join(p.dir, "out", strings.TrimSuffix(name, ".ts")+".js"))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HUB_URL="+url, "HUB_KEY="+key)
	r := &program{out: &testkit.Output{}, errOut: &testkit.Output{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = r.out, r.errOut
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	go func() { r.err = cmd.Wait(); close(r.done) }()
	r.kill = func() { cancel(); <-r.done }
	t.Cleanup(func() {
		r.kill()
		if t.Failed() {
			t.Logf("%s printed %s\n%s", name, r.out, r.errOut)
		}
	})
	return r
}

// ended waits for a program that must end by itself, and well.
func (r *program) ended(t *testing.T) []string {
	t.Helper()
	<-r.done
	if r.err != nil {
		t.Fatalf("%v\n%s", r.err, r.errOut)
	}
	return r.lines()
}

// lines are what a program has printed so far, without a line that it is printing.
func (r *program) lines() []string {
	text := r.out.String()
	return strings.Split(strings.TrimSuffix(text[:strings.LastIndex(text, "\n")+1], "\n"), "\n")
}

// orders publishes events and returns the sum of their totals.
func (c *client) orders(eventType string, n int) int {
	c.t.Helper()
	var input []map[string]any
	sum := 0
	for i := range n {
		input = append(input, map[string]any{"type": eventType, "payload": map[string]any{"total": i + 1}})
		sum += i + 1
	}
	var made any
	c.do(&made, `mutation ($input: [PublishEventInput!]!) { publishEvents(input: $input) { event { id } userErrors { message } } }`, map[string]any{"input": input})
	return sum
}

// production are the options of a hub as it is deployed, at an address that it
// keeps over a restart.
func production(t *testing.T) config.Server {
	t.Helper()
	o := options(t)
	o.Environment, o.Addr = config.Production, testkit.FreeAddr(t)
	return o
}

func streamRecipe(t *testing.T, p programs, name string) {
	o := production(t)
	c := start(t, o)
	dir := t.TempDir()
	type ledger struct {
		Cursor          string
		Orders, Revenue int
	}
	read := func() (l ledger) {
		raw, err := os.ReadFile(filepath.Join(dir, "ledger.json"))
		if err == nil {
			err = json.Unmarshal(raw, &l)
		}
		if err != nil && !os.IsNotExist(err) {
			t.Fatalf("%s: %v", raw, err)
		}
		return l
	}
	orders, revenue := 0, 0
	publish := func(n int) {
		orders, revenue = orders+n, revenue+c.orders("order.created", n)
		c.orders("other", 3)
	}
	publish(250)
	reader := p.run(t, dir, name, c.url, operatorKey)
	testkit.Eventually(t, "what was stored is booked", func() bool { return read().Orders == orders })

	publish(400) // some of it is on its way when the hub stops
	c.stop()
	c = start(t, o)
	publish(50)
	testkit.Eventually(t, "it is back after the restart", func() bool { return read().Orders == orders })

	publish(400) // and when the reader is killed
	reader.kill()
	publish(50)
	p.run(t, dir, name, c.url, operatorKey)
	testkit.Eventually(t, "the next one goes on", func() bool { return read().Orders >= orders })
	if l := read(); l.Orders != orders || l.Revenue != revenue {
		t.Errorf("booked are %+v of %d orders with %d", l, orders, revenue)
	}

	for what, with := range map[string]struct{ cursor, key, says string }{
		"a wrong key":      {"", "wrong", ""},
		"another's cursor": {"nonsense", operatorKey, "BAD_USER_INPUT"},
	} {
		dir := t.TempDir()
		if with.cursor != "" {
			if err := os.WriteFile(filepath.Join(dir, "ledger.json"), fmt.Appendf(nil, `{"cursor":%q,"orders":0,"revenue":0}`, with.cursor), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r := p.run(t, dir, name, c.url, with.key)
		if <-r.done; r.err == nil || !strings.Contains(r.errOut.String(), with.says) {
			t.Errorf("%s ended it with %v and %s", what, r.err, r.errOut)
		}
	}
}

func exportRecipe(t *testing.T, p programs) {
	c := start(t, production(t))
	c.orders("order.created", 210)
	c.orders("other", 3)
	c.orders("order.paid", 40)
	last, n := "", 0
	for _, line := range p.run(t, t.TempDir(), "export.ts", c.url, operatorKey).ended(t) {
		var event struct {
			Sequence, Type string
			Payload        struct{ Total int }
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if event.Sequence <= last || !strings.HasPrefix(event.Type, "order.") || event.Payload.Total != n%210+1 {
			t.Errorf("after %d events and sequence %q comes %s", n, last, line)
		}
		last = event.Sequence
		n++
	}
	if n != 250 {
		t.Errorf("%d events were printed", n)
	}
}

func dashboardRecipe(t *testing.T, p programs) {
	o := production(t)
	c := start(t, o)
	var well atomic.Bool
	target := listen(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
		if !well.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	endpoint, _ := c.endpoint(target.URL, `retryPolicy: {schedule: ["PT0S", "PT1H"]}`)
	c.subscribe(endpoint, "")
	c.orders("order.created", 4)

	board := p.run(t, t.TempDir(), "dashboard.ts", c.url, operatorKey)
	shows := func(what, received string, statuses ...string) {
		t.Helper()
		var line string
		testkit.Eventually(t, what, func() bool {
			lines := board.lines()
			line = lines[len(lines)-1]
			var drawn struct {
				Received   json.Number
				Endpoints  []struct{ ID, State string }
				Deliveries []struct {
					Status       string
					AttemptCount int
				}
			}
			if line == "" {
				return false
			}
			if err := json.Unmarshal([]byte(line), &drawn); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			var got []string
			for _, d := range drawn.Deliveries {
				got = append(got, fmt.Sprintf("%s %d", d.Status, d.AttemptCount))
			}
			return drawn.Received.String() == received && len(drawn.Endpoints) == 1 && drawn.Endpoints[0].ID == endpoint && slices.Equal(got, statuses)
		})
	}
	shows("what has failed", "4", slices.Repeat([]string{"PENDING 1"}, 4)...)
	well.Store(true)
	var found struct {
		Deliveries struct{ Nodes []struct{ ID string } }
	}
	c.do(&found, `{ deliveries { nodes { id } } }`, nil)
	retry := "mutation {" // at once, so that one step brings several changes of one delivery
	for i, d := range found.Deliveries.Nodes {
		retry += fmt.Sprintf(" d%d: retryDelivery(id: %q) { userErrors { message } }", i, d.ID)
	}
	var retried any
	c.do(&retried, retry+" }", nil)
	again := slices.Repeat([]string{"DELIVERED 2"}, 4)
	shows("what becomes of it", "4", again...)
	c.orders("order.created", 1)
	shows("a new one", "5", append([]string{"DELIVERED 1"}, again...)...)

	c.stop()
	c = start(t, o)
	c.orders("order.created", 1)
	shows("what came before it was back", "6", append([]string{"DELIVERED 1", "DELIVERED 1"}, again...)...)
}

func partnerRecipe(t *testing.T, p programs) {
	c := start(t, production(t))
	var made struct{ PartnerID, Key string }
	lines := p.run(t, t.TempDir(), "onboard.ts", c.url, operatorKey).ended(t)
	if err := json.Unmarshal([]byte(strings.Join(lines, "\n")), &made); err != nil || made.Key == "" {
		t.Fatalf("%s: %v", lines, err)
	}
	publish := func(input string) string {
		t.Helper()
		var published struct {
			PublishEvent struct{ Event struct{ ID string } }
		}
		c.do(&published, `mutation { publishEvent(input: {`+input+`}) { event { id } userErrors { message } } }`, nil)
		return published.PublishEvent.Event.ID
	}

	early := publish(`type: "order.created", payload: {n: 0}`)
	partner := p.run(t, t.TempDir(), "partner.ts", c.url, made.Key)
	streamed := func(id, kind string) string { return fmt.Sprintf(`{"event":%q,"type":%q}`, id, kind) }
	testkit.Eventually(t, "the partner sees what is shared", func() bool { return slices.Contains(partner.lines(), streamed(early, "order.created")) })
	var own struct{ Endpoint, URL string }
	if err := json.Unmarshal([]byte(partner.lines()[0]), &own); err != nil {
		t.Fatal(err)
	}

	publish(`type: "private", payload: {n: 1}`)
	shared := publish(`type: "order.paid", payload: {n: 2}`)
	addressed := publish(fmt.Sprintf(`type: "private", payload: {n: 3}, partnerId: %q`, made.PartnerID))
	want := []string{ // by kind, in the order of the log
		streamed(early, "order.created"), streamed(shared, "order.paid"), streamed(addressed, "private"),
		`{"n":2}`, `{"n":3}`,
	}
	var got []string
	testkit.Eventually(t, "both doors have told of both", func() bool {
		var bodies []string
		got = nil
		for _, line := range partner.lines()[1:] {
			var one struct {
				Webhook string
				Body    json.RawMessage
			}
			if err := json.Unmarshal([]byte(line), &one); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if one.Webhook == "" {
				got = append(got, line)
			} else {
				bodies = append(bodies, string(one.Body))
			}
		}
		slices.Sort(bodies)
		got = append(got, bodies...)
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		t.Errorf("the partner got %v, not %v", got, want)
	}

	forged, err := http.NewRequestWithContext(t.Context(), http.MethodPost, own.URL, bytes.NewReader([]byte(`{"n": 4}`)))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"webhook-id": "dlv_x", "webhook-timestamp": fmt.Sprint(time.Now().Unix()), "webhook-signature": "v1,AAAA"} {
		forged.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(forged)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a forged delivery was answered with %d", resp.StatusCode)
	}
}
