package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookgraph/hookgraph/bench/harness"
)

// ledger is what was acknowledged. A key is in it only after its line is on disk.
type ledger struct {
	mu           sync.Mutex
	file         *os.File
	w            *bufio.Writer
	acknowledged map[string]string // dedupe key to event ID
	lines        chan line
	done         chan error
}

type line struct{ key, id string }

func newLedger(path string) (*ledger, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	l := &ledger{file: f, w: bufio.NewWriter(f), acknowledged: make(map[string]string), lines: make(chan line, 4096), done: make(chan error, 1)}
	go func() { l.done <- l.write() }()
	return l, nil
}

// write syncs whatever waits as one group, and only then counts it.
func (l *ledger) write() error {
	for first := range l.lines {
		group := []line{first}
		for len(l.lines) > 0 {
			group = append(group, <-l.lines)
		}
		for _, one := range group {
			_, _ = fmt.Fprintln(l.w, one.key, one.id) // Flush returns its error
		}
		if err := errors.Join(l.w.Flush(), l.file.Sync()); err != nil {
			return fmt.Errorf("write the ledger: %w", err)
		}
		l.mu.Lock()
		for _, one := range group {
			l.acknowledged[one.key] = one.id
		}
		l.mu.Unlock()
	}
	return l.file.Close()
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acknowledged)
}

func (l *ledger) close() error {
	close(l.lines)
	return <-l.done
}

// senders offer events at a steady rate and send each again until it is
// acknowledged, as a provider does.
type senders struct {
	addr, path   string
	ledger       *ledger
	rate, count  int
	sent, failed atomic.Int64
}

func (s *senders) run(ctx context.Context) {
	keys := make(chan int, s.rate*5)
	var wg sync.WaitGroup
	for range s.count {
		wg.Go(func() {
			var conn *harness.Conn
			defer func() {
				if conn != nil {
					conn.Close()
				}
			}()
			for n := range keys {
				for !s.send(&conn, n) {
					s.failed.Add(1)
					if sleep(ctx, 20*time.Millisecond) != nil {
						return
					}
				}
			}
		})
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	began, n := time.Now(), 0
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			for due := int(time.Since(began).Seconds() * float64(s.rate)); n < due; n++ {
				select {
				case keys <- n:
				default: // the hub was away for long: offer less rather than ever more
				}
			}
		}
	}
	close(keys)
	wg.Wait()
}

// send offers one event and reports whether it was acknowledged.
func (s *senders) send(conn **harness.Conn, n int) bool {
	s.sent.Add(1)
	if *conn == nil {
		c, err := harness.Dial(s.addr, 10*time.Second)
		if err != nil {
			return false
		}
		*conn = c
	}
	key := fmt.Sprintf("key-%d", n)
	body := fmt.Appendf(nil, `{"type":"kill.test","key":%q,"padding":"%0512d"}`, key, n)
	status, answer, err := (*conn).Post(s.path, key, body)
	if err != nil {
		(*conn).Close()
		*conn = nil
		return false
	}
	var ack struct{ ID string }
	if status != 200 || json.Unmarshal(answer, &ack) != nil || ack.ID == "" {
		return false
	}
	s.ledger.lines <- line{key, ack.ID}
	return true
}
