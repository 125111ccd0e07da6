package main

import (
	"encoding/json"
	"sync"
)

// arrivals is what the sink has seen.
type arrivals struct {
	mu    sync.Mutex
	count map[string]int             // webhook-id to arrivals
	ids   map[string]map[string]bool // dedupe key to the webhook-ids it came under
}

func newArrivals() *arrivals {
	return &arrivals{count: make(map[string]int), ids: make(map[string]map[string]bool)}
}

func (a *arrivals) add(id string, body []byte) {
	var event struct{ Key string }
	if json.Unmarshal(body, &event) != nil {
		event.Key = "unreadable"
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count[id]++
	if a.ids[event.Key] == nil {
		a.ids[event.Key] = make(map[string]bool, 1)
	}
	a.ids[event.Key][id] = true
}

// missing counts acknowledged events that have not arrived.
func (a *arrivals) missing(l *ledger) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for key := range l.acknowledged {
		if len(a.ids[key]) == 0 {
			n++
		}
	}
	return n
}

// repeated counts deliveries that arrived more than once.
func (a *arrivals) repeated() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, count := range a.count {
		if count > 1 {
			n++
		}
	}
	return n
}

// renamed counts events that arrived under more than one webhook-id.
func (a *arrivals) renamed() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, ids := range a.ids {
		if len(ids) > 1 {
			n++
		}
	}
	return n
}
