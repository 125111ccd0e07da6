package transport

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// largeBytes is the size from which a request waits for its turn to be taken apart,
// whatever it asks. What people and programs ask is far smaller; a megabyte takes tens
// of milliseconds.
const largeBytes = 8 << 10

// turns are the rights to take requests apart: large ones from their JSON on, and small
// ones whose document is not known to be admitted. Half of the processors at most do
// that at a time, so that known documents find the others free however many unknown ones
// come. Credentials take turns, so that whoever sends one waits for no more than one
// request of each other credential.
type turns struct {
	// mu guards the fields below.
	mu      sync.Mutex
	free    int
	waiting map[string][]chan struct{} // those who wait, by their credential
	order   []string                   // the credentials that have somebody waiting
}

func newTurns(n int) *turns { return &turns{free: n, waiting: make(map[string][]chan struct{})} }

// take waits for a turn and reports false where ctx ends before.
func (t *turns) take(ctx context.Context, credential string) bool {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return true
	}
	granted := make(chan struct{})
	if len(t.waiting[credential]) == 0 {
		t.order = append(t.order, credential)
	}
	t.waiting[credential] = append(t.waiting[credential], granted)
	t.mu.Unlock()
	select {
	case <-granted:
		return true
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.waiting[credential], granted)
	if i < 0 {
		return true // it was granted at the same time
	}
	t.leave(credential, i)
	return false
}

// leave takes one out of those who wait. The caller holds mu.
func (t *turns) leave(credential string, i int) {
	if left := slices.Delete(t.waiting[credential], i, i+1); len(left) > 0 {
		t.waiting[credential] = left
		return
	}
	delete(t.waiting, credential)
	at := slices.Index(t.order, credential)
	t.order = slices.Delete(t.order, at, at+1)
}

// end gives a turn to the next credential.
func (t *turns) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.order) == 0 {
		t.free++
		return
	}
	credential := t.order[0]
	close(t.waiting[credential][0])
	t.leave(credential, 0)
	if len(t.waiting[credential]) > 0 { // behind the others
		t.order = append(t.order[1:], credential)
	}
}

// turn is that of one request, from when it needs one until it is taken apart.
type turn struct {
	h     *Handler
	taken bool
	ended sync.Once
	// until is how long it waits for what its sender owes; without end if zero.
	until time.Time
}

// turn returns one that is not taken yet.
func (h *Handler) turn() *turn { return &turn{h: h, until: time.Now().Add(h.cfg.Patience)} }

// take waits for the turn, unless the request has it already, and before that until its
// sender owes nothing. It returns goneError where its sender is gone before, and what
// Executor.Owes says where that would take too long.
func (t *turn) take(ctx context.Context, viewer *hub.Viewer) (*hub.Error, map[string]any) {
	for !t.taken {
		if refused, told := t.await(ctx, viewer); refused != nil {
			return refused, told
		}
		if !t.h.turns.take(ctx, viewer.Credential()) {
			return goneError, nil
		}
		if t.taken = !t.h.owes(viewer); !t.taken { // others of the same sender came first
			t.h.turns.end()
		}
	}
	return nil, nil
}

// await waits until the sender owes nothing, as take does.
func (t *turn) await(ctx context.Context, viewer *hub.Viewer) (*hub.Error, map[string]any) {
	for viewer != nil {
		owing, told := t.h.cfg.Executor.Owes(viewer)
		if owing == nil {
			break
		}
		if !t.until.IsZero() {
			if time.Now().Add(owing.RetryAfter).After(t.until) || !t.h.delay(viewer) {
				return owing, told
			}
		}
		wait := time.NewTimer(owing.RetryAfter)
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
		wait.Stop()
		if !t.until.IsZero() {
			t.h.delayed(viewer)
		}
		if ctx.Err() != nil {
			return goneError, nil
		}
	}
	return nil, nil
}

// owes reports whether a sender has to wait.
func (h *Handler) owes(viewer *hub.Viewer) bool {
	if viewer == nil {
		return false
	}
	owing, _ := h.cfg.Executor.Owes(viewer)
	return owing != nil
}

// maxDelayed is how many requests of one credential wait at a time until it owes nothing.
const maxDelayed = 16

// delay counts a request that waits until its sender owes nothing, unless there are as
// many as may.
func (h *Handler) delay(viewer *hub.Viewer) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting[viewer.Credential()] >= maxDelayed {
		return false
	}
	h.waiting[viewer.Credential()]++
	return true
}

// delayed ends what delay has counted.
func (h *Handler) delayed(viewer *hub.Viewer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiting[viewer.Credential()]--; h.waiting[viewer.Credential()] == 0 {
		delete(h.waiting, viewer.Credential())
	}
}

// goneError is why a request is not executed that has ended before it had its turn.
var goneError = hub.NewError(hub.CodeUnavailable, "the request has ended")

// end gives the turn to the next. A second call does nothing.
func (t *turn) end() {
	t.ended.Do(func() {
		if t.taken {
			t.h.turns.end()
		}
	})
}
