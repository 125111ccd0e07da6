package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/testkit"
)

// TestQueriesOfTheDocs runs what the pages show to be asked, each until its first
// answer, as it stands there.
func TestQueriesOfTheDocs(t *testing.T) {
	t.Parallel()
	bash := testkit.Program(t, "install bash", "bash")
	testkit.Program(t, "install curl", "curl")
	c := start(t, production(t))
	c.orders("order.created", 3)

	t.Run("the stream of README.md, and how it says to go on", func(t *testing.T) {
		var watch string
		for _, block := range blocks(t, "README.md", "sh") {
			if strings.Contains(block, "$HUB/graphql") {
				watch += block
			}
		}
		text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
		resume := `eventStream(after: "<cursor>")`
		if err != nil || !strings.Contains(string(text), resume) || !strings.Contains(watch, "eventStream(from: EARLIEST)") {
			t.Fatalf("README.md shows %q and not how to resume: %v", watch, err)
		}
		steps := func(script string, behind int) (cursor string, events int) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, bash, "-c", "exec "+script)
			cmd.Env = append(os.Environ(), "HUB="+c.url, "KEY="+operatorKey)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { cancel(); _ = cmd.Wait() }() // it was cut off
			lines := newLines(out)
			for events < behind && lines.Scan() {
				data, ok := strings.CutPrefix(lines.Text(), "data: ")
				if !ok {
					continue
				}
				var step struct {
					Data struct {
						EventStream struct {
							Cursor string
							Events []struct{ ID, Type, Sequence string }
						}
					}
					Errors []any
				}
				if err := json.Unmarshal([]byte(data), &step); err != nil || step.Errors != nil {
					t.Fatalf("%s was answered %s: %v", script, data, err)
				}
				cursor = step.Data.EventStream.Cursor
				events += len(step.Data.EventStream.Events)
			}
			return cursor, events
		}
		cursor, n := steps(watch, 3)
		if n != 3 || cursor == "" {
			t.Fatalf("%d events and the cursor %q", n, cursor)
		}
		c.orders("order.created", 2)
		again := strings.ReplaceAll(resume, "<cursor>", cursor)
		again = strings.ReplaceAll(again, `"`, `\"`) // as it stands in JSON
		if _, n := steps(strings.Replace(watch, "eventStream(from: EARLIEST)", again, 1), 2); n != 2 {
			t.Errorf("behind the cursor came %d events", n)
		}
	})

	pages, err := filepath.Glob(filepath.Join("..", "..", "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	endpoint, _ := c.endpoint("http://127.0.0.1:1/", "")
	puller, webhook := c.streamEndpoint(""), c.source("documented")
	ran := 0
	for _, page := range pages {
		for _, block := range blocks(t, filepath.Join("docs", filepath.Base(page)), "graphql") {
			for _, query := range whole(block, endpoint) {
				ran++
				query = strings.NewReplacer("end_…", puller, "src_…", webhook).Replace(query)
				body, err := json.Marshal(map[string]any{"query": query, "variables": map[string]any{"since": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)}})
				if err != nil {
					t.Fatal(err)
				}
				first := c.first(body)
				if !strings.HasPrefix(first, `{"data":{`) || strings.Contains(first, `"errors"`) || strings.Contains(first, `"userErrors":[{`) {
					t.Errorf("%s\nof %s is answered %s", query, page, first)
				}
			}
		}
	}
	if ran == 0 {
		t.Error("no page shows a query")
	}
}

// whole are the operations that a block of a page shows, with values for what it
// leaves out, and what it shows a part of around it.
func whole(block, endpoint string) []string {
	block = strings.NewReplacer(
		"whsec_…", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "arn:aws:sns:…", "arn:aws:sns:eu-central-1:123456789012:orders", `"…"`, `"a secret"`,
	).Replace(block)
	switch {
	case strings.HasPrefix(block, "create"):
		return []string{"mutation { " + block + " { userErrors { code field message } } }"}
	case strings.HasPrefix(block, "transform:"):
		var all []string
		for line := range strings.Lines(block) {
			all = append(all, fmt.Sprintf(`mutation { createSubscription(input: {name: "Shaped", endpointId: %q, %s}) { userErrors { code field message } } }`, endpoint, line))
		}
		return all
	default:
		return []string{block}
	}
}

// first is the first message that answers an operation of any kind.
func (c *client) first(body []byte) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/graphql", bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"text/event-stream"}, "Authorization": {"Bearer " + c.key}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	for lines := newLines(resp.Body); lines.Scan(); {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			return data
		}
	}
	return resp.Status
}

// member is the name of a member of a JSON object.
var member = regexp.MustCompile(`"(\w+)":`)

// shownAnswers compares the answers that README.md shows of the first event's
// commands with those that they gave: the same members in the same order.
func shownAnswers(t *testing.T, answers string) {
	t.Helper()
	console := blocks(t, "README.md", "console")
	if len(console) != 1 {
		t.Fatalf("README.md has %d blocks of answers", len(console))
	}
	shown := member.FindAllString(console[0], -1)
	var given []string
	for line := range strings.Lines(answers) {
		answer, _, _ := strings.Cut(line, `,"extensions":`)
		given = append(given, member.FindAllString(answer, -1)...)
	}
	if !slices.Equal(shown, given) {
		t.Errorf("README.md shows the members\n%v, the answers have\n%v", shown, given)
	}
}
