package store

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// How much one transaction takes, and how much may wait for one. More than 256
// events a batch gained nothing when measured.
const (
	maxBatchEvents      = 256
	maxBatchSettlements = 512
	maxBatchRejections  = 256

	maxWaitingEvents      = 8192
	maxWaitingBytes       = 128 << 20
	maxWaitingSettlements = 8192

	// settlementLinger is how long results wait for events to share a commit with.
	settlementLinger = 5 * time.Millisecond

	// Beside events a batch takes settlementShare of the results that wait, or a quarter
	// where that is more, since events wait for whatever is in their batch and in the one
	// before: so a burst of results is spread over the commits that events make anyhow, and
	// a steady stream of them is still kept up with. What is claimed counts as results do,
	// but leaves them leastShare. Where no event waits it is loneShare, or half.
	settlementShare = 48
	loneShare       = 128
	leastShare      = 16
)

var (
	errQueueFull = errors.New("the queue to the database is full")
	errStopping  = errors.New("the store is stopping")
)

// ticket is the caller's side of one request to the writer. Whoever moves it on
// first decides: the writer takes it into a batch, or the caller abandons it.
type ticket struct {
	moved atomic.Bool
	done  chan struct{} // closed once err and the answer are set
	err   error
}

func newTicket() ticket { return ticket{done: make(chan struct{})} }

// take reports whether the request is the writer's now.
func (t *ticket) take() bool { return t.moved.CompareAndSwap(false, true) }

func (t *ticket) answer(err error) {
	t.err = err
	close(t.done)
}

// wait returns the answer. If cancel is closed before the writer has taken the
// request, nothing of it will happen and wait reports false.
func (t *ticket) wait(cancel <-chan struct{}) bool {
	select {
	case <-t.done:
		return true
	case <-cancel:
		if t.moved.CompareAndSwap(false, true) {
			return false
		}
		<-t.done // a commit is short, and its outcome must be known
		return true
	}
}

// queue is what waits for the writer. It is bounded: appends and rejections are
// turned away when it is full, settlements wait.
type queue struct {
	mu          sync.Mutex
	room        sync.Cond // settlements have left, or the queue was closed
	appends     []*appendRequest
	settlements []*settlement
	rejections  []*rejectRequest
	claims      []*claimRequest
	bodies      []*bodyRequest
	events      int // of appends
	bytes       int // of appends, rejections and bodies
	unsettled   int // settlements that are not committed, taken ones included
	closed      bool

	wake    chan struct{} // capacity 1
	drained chan struct{} // closed by the writer when it has ended
}

func newQueue() *queue {
	q := &queue{wake: make(chan struct{}, 1), drained: make(chan struct{})}
	q.room.L = &q.mu
	return q
}

func (q *queue) ring() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.room.Broadcast()
	q.mu.Unlock()
	q.ring()
}

func (q *queue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

// admit counts a request in, or says why it cannot wait. The caller holds mu.
func (q *queue) admit(events, bytes int) error {
	switch {
	case q.closed:
		return errStopping
	case q.events+events > maxWaitingEvents && q.events > 0, q.bytes+bytes > maxWaitingBytes && q.bytes > 0:
		return errQueueFull
	}
	q.events += events
	q.bytes += bytes
	return nil
}

func (q *queue) addAppend(r *appendRequest) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.admit(len(r.events), r.bytes); err != nil {
		return err
	}
	q.appends = append(q.appends, r)
	q.ring()
	return nil
}

func (q *queue) addRejection(r *rejectRequest) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.admit(0, r.size); err != nil {
		return err
	}
	q.rejections = append(q.rejections, r)
	q.ring()
	return nil
}

func (q *queue) addClaim(r *claimRequest) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return errStopping
	}
	q.claims = append(q.claims, r)
	q.ring()
	return nil
}

func (q *queue) addBody(r *bodyRequest) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.admit(0, len(r.body.Bytes)); err != nil {
		return err
	}
	q.bodies = append(q.bodies, r)
	q.ring()
	return nil
}

// addSettlement waits for room and reports whether the queue was still open.
func (q *queue) addSettlement(s *settlement) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.unsettled >= maxWaitingSettlements && !q.closed {
		q.room.Wait()
	}
	if q.closed {
		return false
	}
	q.unsettled++
	q.settlements = append(q.settlements, s)
	q.ring()
	return true
}

// settled counts settlements out that are committed or given up.
func (q *queue) settled(n int) {
	if n == 0 {
		return
	}
	q.mu.Lock()
	q.unsettled -= n
	q.room.Broadcast()
	q.mu.Unlock()
}

// next waits for work and takes a batch of it. It returns nil when retry fires,
// and false when the queue is closed and empty, or stop is closed.
func (q *queue) next(stop <-chan struct{}, retry <-chan time.Time) (*batch, bool) {
	var linger <-chan time.Time
	lingered := false
	for {
		select { // first, so that a busy queue does not put it off for ever
		case <-retry:
			return nil, true
		default:
		}
		q.mu.Lock()
		urgent := len(q.appends)+len(q.rejections)+len(q.claims)+len(q.bodies) > 0 ||
			len(q.settlements) >= settlementShare || q.closed || lingered
		if urgent && q.waiting() {
			b := q.take()
			q.mu.Unlock()
			return b, true
		}
		if linger == nil && len(q.settlements) > 0 {
			linger = time.After(settlementLinger)
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return nil, false
		}
		select {
		case <-q.wake:
		case <-linger:
			lingered = true
		case <-retry:
			return nil, true
		case <-stop:
			return nil, false
		}
	}
}

// waiting reports whether anything waits. The caller holds mu.
func (q *queue) waiting() bool {
	return len(q.appends)+len(q.settlements)+len(q.rejections)+len(q.claims)+len(q.bodies) > 0
}

// take forms a batch of what waits, oldest first. The caller holds mu.
func (q *queue) take() *batch {
	b := &batch{}
	events := 0
	for len(q.appends) > 0 && (events == 0 || events+len(q.appends[0].events) <= maxBatchEvents) {
		r := q.appends[0]
		q.appends = q.appends[1:]
		q.events -= len(r.events)
		q.bytes -= r.bytes
		if r.take() {
			events += len(r.events)
			b.appends = append(b.appends, r)
		}
	}
	for len(q.rejections) > 0 && len(b.rejections) < maxBatchRejections {
		r := q.rejections[0]
		q.rejections = q.rejections[1:]
		q.bytes -= r.size
		if r.take() {
			b.rejections = append(b.rejections, r)
		}
	}
	for _, r := range q.bodies { // as many as there are workers at most
		q.bytes -= len(r.body.Bytes)
		if r.take() {
			b.bodies = append(b.bodies, r)
		}
	}
	q.bodies = nil
	claimed := 0
	for _, r := range q.claims {
		if r.take() {
			claimed += r.most()
			b.claims = append(b.claims, r)
		}
	}
	n := min(len(q.settlements), q.share(events > 0, claimed), maxBatchSettlements)
	b.settlements = slices.Clone(q.settlements[:n])
	q.settlements = q.settlements[n:]
	q.claims = nil
	q.release()
	return b
}

// share is how many results the next batch takes at most, beside events or without, and
// beside rows that are claimed. The caller holds mu.
func (q *queue) share(events bool, claimed int) int {
	switch {
	case q.closed:
		return maxBatchSettlements
	case events:
		return max(max(settlementShare, len(q.settlements)/4)-claimed, leastShare)
	}
	return max(max(loneShare, len(q.settlements)/2)-claimed, leastShare)
}

// release lets go of backing arrays that are used up. The caller holds mu.
func (q *queue) release() {
	if len(q.appends) == 0 {
		q.appends = nil
	}
	if len(q.settlements) == 0 {
		q.settlements = nil
	}
	if len(q.rejections) == 0 {
		q.rejections = nil
	}
}

// batch is what one transaction is to do.
type batch struct {
	appends     []*appendRequest
	settlements []*settlement
	rejections  []*rejectRequest
	claims      []*claimRequest
	bodies      []*bodyRequest
}
