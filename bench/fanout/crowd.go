package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookgraph/hookgraph/bench/harness"
)

// crowd are all subscribers of one server.
type crowd struct {
	o      options
	events int
	sentAt []atomic.Int64 // ns, by the event's number

	// frames are what the first subscriber got, by the number of the first event in
	// each; only where they are kept.
	frames   [][]byte
	messages atomic.Int64 // that subscribers got

	sockets []*harness.Socket
	readers sync.WaitGroup
	done    chan error // one for each subscriber
}

func newCrowd(o options, keep bool) *crowd {
	c := &crowd{o: o, events: int(o.duration.Seconds() * float64(o.rate))}
	c.sentAt = make([]atomic.Int64, c.events)
	c.sockets = make([]*harness.Socket, o.subscribers)
	c.done = make(chan error, o.subscribers)
	if keep {
		c.frames = make([][]byte, c.events)
	}
	return c
}

// close ends all connections and waits for their readers.
func (c *crowd) close() {
	for _, s := range c.sockets {
		if s != nil {
			s.Close()
		}
	}
	c.readers.Wait()
}

// measure opens the connections, publishes, and waits until everybody has got
// everything.
func (c *crowd) measure(
	ctx context.Context, pid int, dial func(id int) (*harness.Socket, error), publish func(n int) error,
) (*measurement, error) {
	m := &measurement{subscribers: c.o.subscribers, events: c.events}
	var err error
	if m.empty, err = harness.ResidentMiB(pid); err != nil {
		return nil, err
	}
	if err := c.open(dial); err != nil {
		return nil, err
	}
	if m.subscribed, err = harness.ResidentMiB(pid); err != nil {
		return nil, err
	}
	for id, s := range c.sockets {
		c.readers.Go(func() { c.done <- c.read(id, s, &m.latencies) })
	}
	before, err := harness.CPUSeconds(pid)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	pace := time.NewTicker(time.Second / time.Duration(c.o.rate))
	defer pace.Stop()
	for n := range c.events {
		select {
		case <-pace.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		c.sentAt[n].Store(time.Now().UnixNano())
		if err := publish(n); err != nil {
			return nil, err
		}
	}
	late := time.After(15 * time.Second)
	var failures []error
	for range c.sockets {
		select {
		case err := <-c.done:
			if err != nil {
				failures = append(failures, err)
			}
		case <-late:
			return nil, errors.New("not every event has reached every subscriber 15 s after the last one")
		}
	}
	if len(failures) > 0 {
		return nil, fmt.Errorf("%d of %d subscribers failed, one with: %w", len(failures), c.o.subscribers, failures[0])
	}
	after, err := harness.CPUSeconds(pid)
	if err != nil {
		return nil, err
	}
	m.seconds, m.cpu = time.Since(began).Seconds(), after-before
	m.messages = int(c.messages.Load())
	m.loaded, err = harness.ResidentMiB(pid)
	return m, err
}

// open opens the connections, some at a time.
func (c *crowd) open(dial func(id int) (*harness.Socket, error)) error {
	slots := make(chan struct{}, 16)
	errs := make([]error, len(c.sockets))
	var opening sync.WaitGroup
	for id := range c.sockets {
		slots <- struct{}{}
		opening.Go(func() {
			defer func() { <-slots }()
			c.sockets[id], errs[id] = dial(id)
		})
	}
	opening.Wait()
	return errors.Join(slices.Compact(errs)...)
}

// read reads until all events are there, and fails over one that is missing,
// repeated or out of order.
func (c *crowd) read(id int, s *harness.Socket, latencies *harness.Latencies) error {
	next := 0
	for next < c.events {
		message, err := s.Receive()
		if err != nil {
			return err
		}
		if bytes.HasPrefix(message, []byte(`{"type":"ping"`)) {
			if err := s.Send(`{"type":"pong"}`); err != nil {
				return err
			}
			continue
		}
		now := time.Now().UnixNano()
		c.messages.Add(1)
		for rest := message; ; {
			_, after, found := bytes.Cut(rest, []byte(`{"n":`))
			if !found {
				break
			}
			digits, _, _ := bytes.Cut(after, []byte(","))
			n, err := strconv.Atoi(string(digits))
			if err != nil || n != next {
				return fmt.Errorf("subscriber %d got event %q, and not %d", id, digits, next)
			}
			if at := c.sentAt[n].Load(); at > 0 { // or it came, in the baseline, with one before
				latencies.Add(time.Duration(now - at))
			}
			next++
			if id == 0 && c.frames != nil && len(rest) == len(message) {
				c.frames[n] = bytes.Clone(message)
			}
			rest = after
		}
	}
	return nil
}
