package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hookgraph/hookgraph/bench/harness"
)

// reader follows the stream through everything, by its cursor alone.
type reader struct {
	hub           *harness.Server
	mu            sync.Mutex
	sequences     []string
	cursor        string
	reconnections int
}

func (r *reader) run(ctx context.Context) {
	for ctx.Err() == nil {
		_ = r.hub.Stream(ctx, r.cursor, func(cursor string, events []harness.StreamEvent) bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, e := range events {
				r.sequences = append(r.sequences, e.Sequence)
			}
			r.cursor = cursor
			return true
		}) // whatever ended it, the cursor says where to go on
		r.reconnections++
		_ = sleep(ctx, 10*time.Millisecond)
	}
}

func (r *reader) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.sequences) == 0 {
		return ""
	}
	return r.sequences[len(r.sequences)-1]
}

// compare holds what the reader was handed against what is stored.
func (r *reader) compare(stored []harness.StreamEvent) (missed, repeated, outOfOrder int) {
	seen := make(map[string]bool, len(r.sequences))
	for i, s := range r.sequences {
		if seen[s] {
			repeated++
		}
		seen[s] = true
		if i > 0 && s <= r.sequences[i-1] {
			outOfOrder++
		}
	}
	for _, e := range stored {
		if !seen[e.Sequence] {
			missed++
		}
	}
	return missed, repeated, outOfOrder
}

// readLog returns everything that is stored, read anew from the beginning.
func readLog(ctx context.Context, hub *harness.Server) ([]harness.StreamEvent, error) {
	var page struct {
		Events struct{ Nodes []harness.StreamEvent }
	}
	if err := hub.GraphQL(ctx, `{ events(first: 1) { nodes { id sequence dedupeKey } } }`, nil, &page); err != nil {
		return nil, err
	}
	if len(page.Events.Nodes) == 0 {
		return nil, errors.New("nothing is stored")
	}
	newest := page.Events.Nodes[0].Sequence
	var all []harness.StreamEvent
	err := hub.Stream(ctx, "", func(_ string, events []harness.StreamEvent) bool {
		all = append(all, events...)
		return len(all) == 0 || all[len(all)-1].Sequence < newest
	})
	return all, err
}
