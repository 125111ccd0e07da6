// Package harness runs a real hub as a process of its own and talks to it as its
// users do, for the programs that measure it and break it. It knows the hub by its
// public contract alone.
package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// OperatorKey is the key that every hub under test is given.
const OperatorKey = "operator-key-for-measurements-only-0123456789"

// SecretKey is the base64 of 32 zero bytes: nothing here is worth sealing.
const SecretKey = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

// Build compiles the hub of the module at root into dir.
func Build(ctx context.Context, root, dir string) (binary string, err error) {
	binary = filepath.Join(dir, "hookgraph")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, ".")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the hub: %w\n%s", err, out)
	}
	return binary, nil
}

// Server is a hub that runs as a process of its own.
type Server struct {
	Binary      string
	DatabaseURL string
	Addr        string   // host:port; FreeAddr finds one
	Log         string   // file that its log is appended to
	Env         []string // more environment, as NAME=value

	cmd    *exec.Cmd
	exited chan struct{} // closed once the process has been waited for
}

// URL returns the hub's address as a URL.
func (s *Server) URL() string { return "http://" + s.Addr }

// Start starts the process and returns when the hub is ready.
func (s *Server) Start(ctx context.Context) error {
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer func() { _ = log.Close() }() // the child has its own descriptor
	s.cmd = exec.Command(s.Binary, "serve")
	s.cmd.Env = append(os.Environ(),
		"HOOKGRAPH_ADDR="+s.Addr,
		"HOOKGRAPH_DATABASE_URL="+s.DatabaseURL,
		"HOOKGRAPH_OPERATOR_KEY="+OperatorKey,
		"HOOKGRAPH_SECRET_KEY="+SecretKey,
		"HOOKGRAPH_ALLOW_NETWORKS=127.0.0.0/8",
		"HOOKGRAPH_LOG_LEVEL=warn",
		"HOOKGRAPH_LOG_FORMAT=json",
	)
	s.cmd.Env = append(s.cmd.Env, s.Env...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start the hub: %w", err)
	}
	cmd, exited := s.cmd, make(chan struct{})
	s.exited = exited
	go func() {
		_ = cmd.Wait() // how it ended is for the log to say
		close(exited)
	}()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-exited:
			return fmt.Errorf("the hub ended at its start, see %s", s.Log)
		case <-deadline.C:
			return fmt.Errorf("the hub was not ready within 30 s, see %s", s.Log)
		case <-poll.C:
			resp, err := http.Get(s.URL() + "/readyz")
			if err != nil {
				continue
			}
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
	}
}

// PID returns the process ID.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Kill ends the process with SIGKILL, which it cannot notice, and waits until it
// is gone.
func (s *Server) Kill() error { return s.end(syscall.SIGKILL) }

// Stop asks the process to end with SIGTERM and waits until it has.
func (s *Server) Stop() error { return s.end(syscall.SIGTERM) }

func (s *Server) end(sig syscall.Signal) error {
	if s.cmd == nil || s.cmd.Process == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal the hub: %w", err)
	}
	select {
	case <-s.exited:
		return nil
	case <-time.After(45 * time.Second):
		return errors.New("the hub did not end")
	}
}

// CPUSeconds returns the processor time, in user and kernel mode, that a process
// has used. It reads /proc, so it works on Linux alone.
func CPUSeconds(pid int) (float64, error) {
	fields, err := statFields(pid)
	if err != nil {
		return 0, err
	}
	user, err1 := strconv.ParseFloat(fields[11], 64)
	system, err2 := strconv.ParseFloat(fields[12], 64)
	const ticksPerSecond = 100 // USER_HZ, the same on every Linux of today
	return (user + system) / ticksPerSecond, errors.Join(err1, err2)
}

// statFields returns the fields of /proc/PID/stat from the third on: those behind
// the name of the command, which may hold blanks.
func statFields(pid int) ([]string, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, fmt.Errorf("read the processor time: %w", err)
	}
	_, rest, found := strings.Cut(string(raw), ") ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 15 {
		return nil, errors.New("read the processor time: unknown form of /proc/PID/stat")
	}
	return fields, nil
}

// PeakMiB returns the most memory that a process has held, in MiB.
func PeakMiB(pid int) (float64, error) { return memory(pid, "VmHWM:") }

// ResidentMiB returns the memory that a process holds, in MiB.
func ResidentMiB(pid int) (float64, error) { return memory(pid, "VmRSS:") }

func memory(pid int, name string) (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read the memory: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("read the memory: no %s in /proc/PID/status", name)
}

// FreeAddr returns a loopback address that nothing listens on at the moment.
func FreeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	addr := l.Addr().String()
	return addr, l.Close()
}

// GraphQL runs one operation and decodes its data into out. Errors and userErrors
// in the answer are returned as an error.
func (s *Server) GraphQL(ctx context.Context, query string, variables map[string]any, out any) error {
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		return fmt.Errorf("encode the operation: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+"/graphql", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+OperatorKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask the hub: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	var answer struct {
		Data   json.RawMessage `json:"data"`
		Errors json.RawMessage `json:"errors"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("decode the answer %q: %w", raw, err)
	}
	if answer.Errors != nil || bytes.Contains(answer.Data, []byte(`"userErrors":[{`)) {
		return fmt.Errorf("the hub answered %s", raw)
	}
	return json.Unmarshal(answer.Data, out)
}

// Route is a source, an endpoint and the subscription between them.
type Route struct{ SourceID, Slug, EndpointID, SubscriptionID string }

// Secret is the HMAC secret of the sources that Connect makes.
const Secret = "inbound-secret-for-measurements"

// SignatureHeader carries the hexadecimal HMAC-SHA256 of the body.
const SignatureHeader = "X-Signature"

// Source makes a verified source. An empty rule leaves the type of its events to the
// hub. It returns the slug as well as the ID.
func (s *Server) Source(ctx context.Context, typeRule string) (slug, id string, err error) {
	var made struct {
		CreateSource struct{ Source struct{ ID, Slug string } }
	}
	input := map[string]any{
		"name": "Load", "secrets": []string{Secret}, "verification": map[string]any{"hmac": map[string]any{"header": SignatureHeader}},
	}
	if typeRule != "" {
		input["eventType"] = typeRule
	}
	err = s.GraphQL(ctx, `mutation ($input: CreateSourceInput!) {
		createSource(input: $input) { source { id slug } userErrors { field message } } }`, map[string]any{"input": input}, &made)
	if err != nil {
		return "", "", fmt.Errorf("create the source: %w", err)
	}
	return made.CreateSource.Source.Slug, made.CreateSource.Source.ID, nil
}

// Endpoint makes an endpoint of the input and returns its ID.
func (s *Server) Endpoint(ctx context.Context, input map[string]any) (string, error) {
	var made struct {
		CreateEndpoint struct{ Endpoint struct{ ID string } }
	}
	err := s.GraphQL(ctx, `mutation ($input: CreateEndpointInput!) {
		createEndpoint(input: $input) { endpoint { id } userErrors { field message } } }`, map[string]any{"input": input}, &made)
	if err != nil {
		return "", fmt.Errorf("create the endpoint: %w", err)
	}
	return made.CreateEndpoint.Endpoint.ID, nil
}

// Subscription makes a subscription of the input and returns its ID.
func (s *Server) Subscription(ctx context.Context, input map[string]any) (string, error) {
	var made struct {
		CreateSubscription struct{ Subscription struct{ ID string } }
	}
	err := s.GraphQL(ctx, `mutation ($input: CreateSubscriptionInput!) {
		createSubscription(input: $input) { subscription { id } userErrors { field message } } }`, map[string]any{"input": input}, &made)
	if err != nil {
		return "", fmt.Errorf("create the subscription: %w", err)
	}
	return made.CreateSubscription.Subscription.ID, nil
}

// Connect makes a verified source, and an endpoint at the URL that gets all of its
// events. An empty URL makes the source alone.
func (s *Server) Connect(ctx context.Context, url string) (Route, error) {
	var route Route
	var err error
	if route.Slug, route.SourceID, err = s.Source(ctx, ""); err != nil || url == "" {
		return route, err
	}
	// The sink answers at once, so what fails there does for a machine that stood still.
	soon := append([]string{"PT0S"}, slices.Repeat([]string{"PT2S"}, 10)...)
	if route.EndpointID, err = s.Endpoint(ctx, map[string]any{
		"name": "Sink", "url": url, "timeout": "PT5S", "maxConcurrency": 64, "retryPolicy": map[string]any{"schedule": soon},
	}); err != nil {
		return route, err
	}
	route.SubscriptionID, err = s.Subscription(ctx, map[string]any{
		"name": "All", "endpointId": route.EndpointID, "sourceIds": []string{route.SourceID},
	})
	return route, err
}

// Metrics returns figures that the hub shows by name, without labels.
func (s *Server) Metrics(ctx context.Context, names ...string) ([]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+OperatorKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask for the metrics: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read the metrics: %w", err)
	}
	values := make([]float64, len(names))
	for i, name := range names {
		_, rest, found := strings.Cut(string(raw), "\n"+name+" ")
		if !found {
			return nil, fmt.Errorf("the metrics have no %s", name)
		}
		line, _, _ := strings.Cut(rest, "\n")
		if values[i], err = strconv.ParseFloat(line, 64); err != nil {
			return nil, fmt.Errorf("read the metric %s: %w", name, err)
		}
	}
	return values, nil
}

// Sockets returns how many sockets a process has open.
func Sockets(pid int) (int, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("count the sockets: %w", err)
	}
	n := 0
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	return n, nil
}
