package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// How receivers behave. Those of a kind that is none of these answer at once.
const (
	good    = "good"
	hang    = "hang"    // no answer comes at all
	drip    = "drip"    // 200 at once, then a byte of body every 50 ms
	endless = "endless" // 200, then body as fast as it is taken
	mixed   = "mixed"   // a third of each
)

// receivers are servers of their own addresses that misbehave on command.
type receivers struct {
	mu        sync.Mutex
	kind      string
	count     int  // how many of them misbehave, from the first on
	alternate bool // only with every second request
	over      chan struct{}
	requests  []int
}

// serveReceivers serves n receivers, prints the address of each, and obeys the lines
// of its standard input: "KIND COUNT ALTERNATE". It ends with its input.
func serveReceivers(n int) error {
	r := &receivers{kind: good, over: make(chan struct{}), requests: make([]int, n)}
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { r.answer(i, w, q) })}
		go func() { _ = server.Serve(l) }() // until the process ends
		fmt.Println(l.Addr())
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var kind string
		var count int
		var alternate bool
		if _, err := fmt.Sscan(lines.Text(), &kind, &count, &alternate); err != nil {
			return err
		}
		r.mu.Lock()
		r.kind, r.count, r.alternate = kind, count, alternate
		close(r.over)
		r.over = make(chan struct{})
		clear(r.requests)
		r.mu.Unlock()
		fmt.Println("done")
	}
	return lines.Err()
}

func (r *receivers) answer(i int, w http.ResponseWriter, q *http.Request) {
	_, _ = io.Copy(io.Discard, q.Body)
	r.mu.Lock()
	r.requests[i]++
	kind, over := r.kind, r.over
	if i >= r.count || r.alternate && r.requests[i]%2 == 0 {
		kind = good
	}
	r.mu.Unlock()
	if kind == mixed {
		kind = []string{hang, drip, endless}[i%3]
	}
	block := make([]byte, 32<<10)
	control := http.NewResponseController(w)
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for kind != good {
		size := 0
		switch kind {
		case drip:
			size = 1
		case endless:
			size = len(block)
		}
		if size > 0 {
			if _, err := w.Write(block[:size]); err != nil {
				return
			}
			_ = control.Flush()
		}
		select {
		case <-over:
			return
		case <-q.Context().Done():
			return
		default:
		}
		if kind != endless {
			select {
			case <-over:
				return
			case <-q.Context().Done():
				return
			case <-pause.C:
			}
		}
	}
}

// remote are the receivers as the program sees them that started them.
type remote struct {
	urls  []string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

func startReceivers(ctx context.Context, n int) (*remote, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r := &remote{cmd: exec.CommandContext(ctx, self, "-receivers", strconv.Itoa(n))}
	r.cmd.Stderr = os.Stderr
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	r.lines = bufio.NewScanner(out)
	for range n {
		if !r.lines.Scan() {
			r.stop()
			return nil, fmt.Errorf("the receivers did not start: %w", r.lines.Err())
		}
		r.urls = append(r.urls, "http://"+r.lines.Text()+"/")
	}
	return r, nil
}

// behave sets how the receivers behave from now on. Requests that hang are over.
func (r *remote) behave(kind string, count int, alternate bool) error {
	if _, err := fmt.Fprintln(r.in, kind, count, alternate); err != nil {
		return err
	}
	if !r.lines.Scan() || strings.TrimSpace(r.lines.Text()) != "done" {
		return fmt.Errorf("the receivers do not obey: %q, %w", r.lines.Text(), r.lines.Err())
	}
	return nil
}

func (r *remote) stop() {
	_ = r.in.Close()
	_ = r.cmd.Wait() // its input has ended, so it ends
}
