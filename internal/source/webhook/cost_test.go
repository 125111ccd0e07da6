package webhook_test

import (
	"bufio"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/bench/harness"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

var (
	costs      = flag.Bool("cost", false, "measure what verification costs, which takes a minute or two, and print a table")
	costRounds = flag.Int("cost-rounds", 5, "rounds of -cost, of which medians are taken")
)

const (
	costBody        = 1024 // bytes of each body, about
	costSlice       = 20 * time.Millisecond
	costLoad        = 2 * time.Second
	costConnections = 32
)

// TestCost prints what verifying a request of each preset costs, beside the plain
// HMAC-SHA256 of the same body, and how many events a second the dearest and the
// cheapest let into a hub. It asserts no figures: they are for
// people, on a machine that is quiet.
func TestCost(t *testing.T) {
	if !*costs {
		t.Skip("-cost is not given")
	}
	var out strings.Builder
	a := newAdapter(t, webhook.Presets())
	type row struct {
		sample           *sample
		verify, baseline float64 // ns
	}
	var rows []row
	known := map[string]bool{}
	for _, s := range samples() {
		if known[s.provider] { // another form of the same
			continue
		}
		known[s.provider] = true
		s.pad()
		src, r := s.source(), s.request(false, now, s.body)
		mac := hmac.New(sha256.New, []byte(testSecret))
		var verify, baseline []float64
		for range *costRounds {
			verify = append(verify, nanoseconds(func() {
				again := *r // without what the first one has parsed
				if verdict := a.Verify(t.Context(), src, &again); !verdict.Accepted() {
					t.Fatalf("%s: %s", s.provider, verdict.Detail)
				}
			}))
			baseline = append(baseline, nanoseconds(func() {
				mac.Reset()
				_, _ = mac.Write(r.Body)
				mac.Sum(nil)
			}))
		}
		rows = append(rows, row{s, median(verify), median(baseline)})
	}
	slices.SortFunc(rows, func(x, y row) int { return cmp.Compare(y.verify/y.baseline, x.verify/x.baseline) })
	fmt.Fprintf(&out, "\n| Preset | Verification | HMAC-SHA256 of the body | Ratio |\n| --- | --- | --- | --- |\n")
	for _, r := range rows {
		fmt.Fprintf(&out, "| `%s` | %.1f µs | %.1f µs | %.1f |\n", r.sample.provider, r.verify/1e3, r.baseline/1e3, r.verify/r.baseline)
	}

	binary, err := harness.Build(t.Context(), "../../..", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	gates := []*gate{newGate(t, binary, rows[len(rows)-1].sample), newGate(t, binary, rows[0].sample)}
	var rates, processor [2][]float64
	for range *costRounds {
		for i, g := range gates {
			perSecond, each := g.rate(t)
			rates[i], processor[i] = append(rates[i], perSecond), append(processor[i], each)
		}
	}
	fmt.Fprintf(&out, "\n| Through a hub on SQLite, %d connections | Events/s | Processor time of the hub for an event |\n| --- | --- | --- |\n", costConnections)
	for i, name := range []string{"cheapest", "dearest"} {
		fmt.Fprintf(&out, "| `%s`, the %s | %.0f | %.0f µs |\n", gates[i].provider, name, median(rates[i]), median(processor[i]))
	}
	fmt.Fprintf(&out, "| ratio | %.2f | %.2f |\n", median(rates[1])/median(rates[0]), median(processor[1])/median(processor[0]))
	t.Log(out.String())
}

// pad makes the sample's body as long as bodies of vendors are.
func (s *sample) pad() {
	text := strings.Repeat("x", max(0, costBody-len(s.body)))
	if strings.Contains(s.body, "{") {
		s.body = strings.Replace(s.body, "{", `{"padding":"`+text+`",`, 1)
	} else {
		s.body += "&Padding=" + text
	}
	if s.provider == "twilio-json" {
		s.target = twilioJSONTarget(s.body)
	}
}

// nanoseconds measures what one call takes, for a short while.
func nanoseconds(f func()) float64 {
	n, began := 0, time.Now()
	for time.Since(began) < costSlice {
		for range 16 {
			f()
		}
		n += 16
	}
	return float64(time.Since(began).Nanoseconds()) / float64(n)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// gate is a hub in a process of its own, on SQLite, with the source of one sample.
type gate struct {
	provider string
	server   *harness.Server
	head     string // of a request, up to the header that makes it an event of its own
	rest     string

	next atomic.Int64
}

func newGate(t *testing.T, binary string, s *sample) *gate {
	t.Helper()
	addr, err := harness.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	server := &harness.Server{
		Binary: binary, Addr: addr, DatabaseURL: "sqlite:" + filepath.Join(dir, "hub.db"), Log: filepath.Join(dir, "hub.log"),
		Env: []string{"HOOKGRAPH_PUBLIC_URL=" + publicURL},
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	// One signature makes many events by a key of its own.
	err = server.GraphQL(t.Context(), `mutation ($input: CreateSourceInput!) { createSource(input: $input) { userErrors { field message } } }`,
		map[string]any{"input": map[string]any{
			"name": "acme", "slug": "acme", "provider": s.provider, "secrets": s.secrets, "providerConfig": s.config, "dedupeKey": `headers["x-number"]`,
		}}, new(any))
	if err != nil {
		t.Fatal(err)
	}
	r := s.request(false, time.Now(), s.body)
	var b strings.Builder
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: hub.example\r\nContent-Length: %d\r\n", r.Target, len(r.Body))
	if err := r.Header.Write(&b); err != nil {
		t.Fatal(err)
	}
	return &gate{provider: s.provider, server: server, head: b.String() + "X-Number: ", rest: "\r\n\r\n" + string(r.Body)}
}

// rate sends for a while over a number of connections, one request after another on
// each. It returns the acknowledged events a second, and the hub's processor time for
// each of them in microseconds.
func (g *gate) rate(t *testing.T) (perSecond, processor float64) {
	t.Helper()
	before := g.processor(t)
	var acknowledged atomic.Int64
	var senders sync.WaitGroup
	began := time.Now()
	for range costConnections {
		senders.Go(func() {
			connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", g.server.Addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = connection.Close() }()
			answers := bufio.NewReader(connection)
			for time.Since(began) < costLoad {
				if _, err := io.WriteString(connection, g.head+strconv.FormatInt(g.next.Add(1), 10)+g.rest); err != nil {
					t.Error(err)
					return
				}
				answer, err := http.ReadResponse(answers, nil)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(answer.Body)
				if err != nil || answer.StatusCode != http.StatusOK || strings.Contains(string(body), `"duplicate":true`) {
					t.Errorf("%d %s: %v", answer.StatusCode, body, err)
					return
				}
				acknowledged.Add(1)
			}
		})
	}
	senders.Wait()
	n := float64(acknowledged.Load())
	return n / time.Since(began).Seconds(), (g.processor(t) - before) / n * 1e6
}

func (g *gate) processor(t *testing.T) float64 {
	t.Helper()
	seconds, err := harness.CPUSeconds(g.server.PID())
	if err != nil {
		t.Fatal(err)
	}
	return seconds
}
