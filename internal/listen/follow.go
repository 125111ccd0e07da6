package listen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// position is how far a forward has come: everything up to the cursor, and some events
// of the step behind it.
type position struct {
	Cursor string   `json:"cursor"`
	Done   []string `json:"done,omitempty"`
}

// state remembers the positions of a run's forwards in a file, which one run at a time
// may use.
type state struct {
	path string
	lock *flock.Flock

	mu        sync.Mutex
	positions map[string]position
}

func openState(path string, restart bool) (*state, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("remember how far events were forwarded: %w", err)
	}
	s := &state{path: path, lock: flock.New(path + ".lock"), positions: make(map[string]position)}
	if held, err := s.lock.TryLock(); err != nil || !held {
		return nil, fmt.Errorf("another hookgraph listen uses %s; end it, or give another --state", path)
	}
	raw, err := os.ReadFile(path)
	switch {
	case restart, errors.Is(err, os.ErrNotExist):
		return s, nil
	case err == nil:
		err = json.Unmarshal(raw, &s.positions)
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("read %s (%w); --restart begins anew", path, err)
	}
	return s, nil
}

func (s *state) close() { _ = s.lock.Unlock() } // the end of the process does so as well

func (s *state) of(key string) position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.positions[key]
}

// keep writes a position down. A process that is killed finds either the old file or
// the new one.
func (s *state) keep(key string, p position) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.positions[key] = p
	raw, err := json.Marshal(s.positions)
	if err != nil {
		return err
	}
	next := s.path + ".next"
	if err := os.WriteFile(next, raw, 0o600); err != nil {
		return fatal("remember how far events were forwarded: %w", err)
	}
	if err := os.Rename(next, s.path); err != nil {
		return fatal("remember how far events were forwarded: %w", err)
	}
	return nil
}

const followed = `subscription ($after: String, $from: StreamStart, $filter: EventFilter) {
	eventStream(after: $after, from: $from, filter: $filter, batchSize: 50) {
		cursor events { id type contentType rawBody headers { name value } source { slug } } } }`

type followedStep struct {
	EventStream struct {
		Cursor string
		Events []struct {
			ID, Type, ContentType string
			RawBody               []byte
			Headers               []header
			Source                *struct{ Slug string }
		}
	}
}

// follow forwards the log. It holds its place where the URL cannot be reached, and goes
// on where that answered, whatever it said.
func (l *listener) follow(ctx context.Context, f Forward, sourceID string) error {
	key := f.Source + "=" + f.URL
	for {
		err := l.insist(ctx, f.label(), func(ctx context.Context) error { return l.followOnce(ctx, f, sourceID, key) })
		if err != nil {
			return ended(ctx, err)
		}
	}
}

func (l *listener) followOnce(ctx context.Context, f Forward, sourceID, key string) error {
	at := l.state.of(key)
	variables := map[string]any{"from": "LATEST"}
	if l.options.Earliest {
		variables["from"] = "EARLIEST"
	}
	if at.Cursor != "" {
		variables["after"] = at.Cursor
	}
	if sourceID != "" {
		variables["filter"] = map[string]any{"sourceIds": []string{sourceID}}
	}
	first := true
	return l.hub.stream(ctx, followed, variables, func(data json.RawMessage) error {
		var step followedStep
		if err := json.Unmarshal(data, &step); err != nil {
			return fmt.Errorf("the hub sent what is no step: %w", err)
		}
		if first {
			l.printf("%s  %s is forwarded to %s\n", time.Now().Format("15:04:05"), f.label(), f.URL)
			first = false
		}
		done := make(map[string]bool, len(at.Done))
		for _, id := range at.Done {
			done[id] = true
		}
		for _, e := range step.EventStream.Events {
			if done[e.ID] {
				continue
			}
			p := &parcel{id: e.ID, eventType: e.Type, contentType: e.ContentType, headers: e.Headers, body: e.RawBody}
			if e.Source != nil {
				p.source = e.Source.Slug
			}
			if err := l.reach(ctx, f, p); err != nil {
				return err
			}
			at.Done = append(at.Done, e.ID)
			if err := l.state.keep(key, at); err != nil {
				return err
			}
		}
		at = position{Cursor: step.EventStream.Cursor}
		return l.state.keep(key, at)
	})
}

// reach forwards a parcel until the URL answers, or ctx ends. What is under way then may
// still end.
func (l *listener) reach(ctx context.Context, f Forward, p *parcel) error {
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		if ctx.Err() != nil {
			return errParted
		}
		status, took, err := l.send(outlasting(ctx, partingBound), f.URL, p)
		if err == nil {
			l.say(p, fmt.Sprint(status), took)
			return nil
		}
		l.say(p, fmt.Sprintf("no answer (%v); again in %s", err, wait), took)
		if !sleep(ctx, wait) {
			return errParted
		}
	}
}

// outlasting is a context that ends some time after another does.
func outlasting(ctx context.Context, by time.Duration) context.Context {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() { time.AfterFunc(by, cancel) })
	return longer
}
