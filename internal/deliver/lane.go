package deliver

import (
	"slices"
	"sync"
	"time"

	"github.com/hookgraph/hookgraph/internal/deliver/policy"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// The bounds of the leases that a lane holds beyond its slots, so that these
// need not wait for the database. They are few enough to be worked off in
// lookahead as long as the endpoint answers as it did, and are given back when it
// does not.
const (
	lookahead      = 50 * time.Millisecond
	maxQueued      = 256
	maxQueuedBytes = 4 << 20
	maxQueueWait   = 2 * time.Second
	stallAfter     = 500 * time.Millisecond
)

// tokenRetry is how soon a queue is looked at again that waits for tokens. Those that
// come in between are used together: few, so that a fast lane does not come in bursts.
const tokenRetry = 2 * time.Millisecond

// refusalEcho is how long after a lane turned a fresh delivery away the database
// is asked for it again, unless as many have been claimed: it was turned away
// before its commit, so a claim made in between does not see it.
const (
	refusalEcho  = 200 * time.Millisecond
	refusalRetry = 10 * time.Millisecond
)

// stopAtOnce bounds how long a lane stays stopped by its own verdict, in case it
// never shows in the configuration.
const stopAtOnce = time.Minute

// lane is one endpoint as the dispatcher works for it.
type lane struct {
	id string
	d  *Dispatcher

	lookAt time.Time // guarded by agenda.mu
	place  int       // guarded by agenda.mu

	// settling is held from deciding a result to handing it to the store, so that
	// what the store keeps of the endpoint's health is what was decided last.
	settling sync.Mutex

	// mu guards everything below.
	mu            sync.Mutex
	closed        bool               // the dispatcher stops: nothing begins any more
	configuration *hub.Configuration // the snapshot that endpoint is from
	peers         *hub.Peers         // the nodes that share is of
	endpoint      *hub.Endpoint      // nil once it is deleted
	share         policy.Share       // this node's, of what the endpoint permits
	template      *template
	state         policy.State
	rate          bucket
	stopped       time.Time // disabled by a verdict that the snapshot does not show yet, until then at most
	stoppedAs     time.Time // the endpoint's UpdatedAt when it was

	pulled    bool // consumers pull: a slot is an unsettled delivery, and costs none of the dispatcher's
	consumers []*Consumer
	handed    map[string]*handed // unsettled, by the delivery

	slots    hold // granted and running; each has a token, too
	granted  int  // of these, reserved for a lease that has not come yet
	promised int  // places in the queue for such leases
	queue    fifo

	// backlog says that the database may have due deliveries for which there was
	// no room.
	backlog bool
	refused int // fresh deliveries turned away whose rows have not been claimed yet
	// behind says that some of them have been due for long: then half of the room
	// is theirs, so that fresh deliveries cannot keep them waiting for ever.
	behind     bool
	refusedAt  time.Time
	latency    time.Duration // of recent attempts, quick to rise and slow to fall; 0: unknown
	bodyBytes  int           // of recent deliveries
	busySince  time.Time     // when the first of the running attempts began
	finishedAt time.Time
}

// job is a lease that has got its slot.
type job struct {
	lane      *lane
	lease     hub.Lease
	template  *template
	transform *hub.Transform // that failed
}

// refresh takes over the latest configuration, and which nodes there are.
func (l *lane) refresh(now time.Time) {
	current, peers := l.d.config.Store.Configuration(), l.d.config.Store.Peers()
	if current == nil || current == l.configuration && peers == l.peers {
		return
	}
	e := current.Endpoints[l.id]
	if e != nil && (e != l.endpoint || peers != l.peers) {
		l.share = policy.ShareOf(e, peers)
		l.rate.configure(l.share.Rate(e), l.configuration == nil && l.inherited(e, peers), now)
	}
	l.configuration, l.peers = current, peers
	if e == l.endpoint {
		return
	}
	l.endpoint, l.template = e, nil
	if e == nil {
		return
	}
	l.pulled = e.Kind == hub.EndpointStream
	l.template = newTemplate(e, l.d.userAgent, l.d.book)
	if e.State != hub.EndpointActive || !e.UpdatedAt.Equal(l.stoppedAs) {
		l.stopped = time.Time{} // the configuration has caught up
	}
}

// inherited reports whether the lane's share of an endpoint was that of other nodes until
// this one came, so that they have perhaps just used it up.
func (l *lane) inherited(e *hub.Endpoint, peers *hub.Peers) bool {
	return peers != nil && e.Kind != hub.EndpointStream && e.CreatedAt.Before(l.d.began) &&
		slices.ContainsFunc(peers.Others, func(other hub.Peer) bool { return !other.Gone(policy.Timeout(e)) })
}

// gate returns how many attempts may be in flight, and if none, when to ask
// again (zero: when somebody has changed the endpoint).
func (l *lane) gate(now time.Time) (limit int, opens time.Time) {
	l.refresh(now)
	switch {
	case l.closed || l.endpoint == nil:
		return 0, time.Time{}
	case l.stopped.After(now):
		return 0, l.stopped
	}
	limit, opens = l.state.Gate(l.endpoint, l.share, now)
	if l.pulled && limit > 0 {
		limit = l.wanted()
	}
	return limit, opens
}

// within reports whether no more is under way than this node's share.
func (l *lane) within(now time.Time) bool {
	l.refresh(now)
	return l.endpoint == nil || l.pulled || l.slots.n <= l.share.Slots(l.endpoint)
}

// depth returns how many leases may wait for a slot.
func (l *lane) depth(limit int, now time.Time) int {
	if l.pulled || l.latency == 0 || l.state.Health.Breaker != hub.BreakerClosed {
		return 0
	}
	if l.d.slots.crowded() || l.slots.n > 0 && now.Sub(later(l.busySince, l.finishedAt)) > stallAfter {
		return 0
	}
	n := min(maxQueued, int(time.Duration(limit)*lookahead/l.latency), l.rate.most(lookahead))
	if l.bodyBytes > 0 {
		n = min(n, maxQueuedBytes/l.bodyBytes)
	}
	return n
}

// stocked reports whether a lane with a rate has enough leases in its queue until half
// of them are used up. Without that, each token would be worth a claim of its own.
func (l *lane) stocked(depth int) bool {
	return l.rate.limiter != nil && 2*(l.promised+l.queue.len()) > depth
}

// held is how many leases the lane has or has room promised for.
func (l *lane) held() int { return l.slots.n + l.promised + l.queue.len() }

// admit makes room for one more lease: a slot, or a place in the queue.
func (l *lane) admit(now time.Time, limit, depth int) bool {
	if l.takeSlot(now, limit) {
		l.granted++
		return true
	}
	if l.promised+l.queue.len() < depth {
		l.promised++
		return true
	}
	return false
}

// takeSlot takes a slot of the lane and of the dispatcher, and a token.
func (l *lane) takeSlot(now time.Time, limit int) bool {
	if l.slots.n >= limit || !l.rate.take(now) {
		return false
	}
	switch {
	case l.pulled:
		l.slots.n++
	case !l.d.slots.take(l):
		l.rate.put()
		return false
	}
	if l.slots.n == 1 {
		l.busySince = now
	}
	return true
}

// freeSlot gives a slot back; its token too where it was not used.
func (l *lane) freeSlot(used bool) {
	if l.pulled {
		l.slots.n--
	} else {
		l.d.slots.release(l)
	}
	if !used {
		l.rate.put()
	}
}

// reserve makes room for a fresh delivery, or remembers that it will be in the
// database.
func (l *lane) reserve(now time.Time) bool {
	limit, opens := l.gate(now)
	if limit == 0 {
		if !opens.IsZero() {
			l.d.agenda.at(l, opens)
		}
		return false
	}
	depth := l.depth(limit, now)
	if (!l.behind || 2*l.held() < limit+depth) && l.admit(now, limit, depth) {
		return true
	}
	l.backlog, l.refusedAt = true, now
	l.refused++
	l.d.agenda.at(l, now.Add(refusalRetry))
	return false
}

// release gives back room that was made.
func (l *lane) release() {
	switch {
	case l.promised > 0:
		l.promised--
	case l.granted > 0:
		l.granted--
		l.freeSlot(false)
	}
}

// room makes room for as many as possible, up to most. Where there is none, it
// sees to it that the lane is looked at again.
func (l *lane) room(now time.Time, most int) int {
	defer l.d.slots.decline(l) // where it was offered one and has no use for it
	limit, opens := l.gate(now)
	if limit == 0 {
		if !opens.IsZero() {
			l.d.agenda.at(l, opens)
		}
		return 0
	}
	depth := l.depth(limit, now)
	if l.stocked(depth) {
		l.backlog = true
		return 0
	}
	n := 0
	for n < most && l.admit(now, limit, depth) {
		n++
	}
	if n == 0 {
		l.backlog = true // a freed slot rings
		if opens := l.rate.opens(now); opens.After(now) || 0 < l.slots.n && l.slots.n < limit {
			// Not the lane's own slots are short, but tokens or everybody's slots.
			// With none at all it is told when it is its turn.
			l.d.agenda.at(l, later(opens, now.Add(slotRetry)))
		}
	}
	return n
}

// accept puts a lease where room was made for it. It returns the job to start now,
// if there is one.
func (l *lane) accept(lease hub.Lease, now time.Time) (job, bool) {
	l.measure(lease)
	switch {
	case l.granted > 0:
		l.granted--
		if limit, _ := l.gate(now); l.slots.n <= limit && l.fit(&lease, now) {
			return job{lane: l, lease: lease, template: l.template}, true
		}
		l.freeSlot(false)
	case l.promised > 0:
		l.promised--
		l.queue.push(queued{lease: lease, since: now})
		return l.next(now)
	}
	l.d.returns.add(lease)
	return job{}, false
}

// fit reports whether a lease may be worked on now.
func (l *lane) fit(lease *hub.Lease, now time.Time) bool {
	if s := l.configuration.Subscriptions[lease.Delivery.SubscriptionID]; s != nil && s.State == hub.SubscriptionPaused {
		return false
	}
	return lease.ExpiresAt.IsZero() || lease.ExpiresAt.After(now)
}

// next takes the first of the queue that may be worked on, if a slot is free. Of
// an endpoint that gets nothing now, all are given back.
func (l *lane) next(now time.Time) (job, bool) {
	limit, opens := l.gate(now)
	if limit == 0 {
		l.returnQueue(l.queue.len())
		if !opens.IsZero() {
			l.d.agenda.at(l, opens)
		}
		return job{}, false
	}
	for l.queue.len() > 0 && l.takeSlot(now, limit) {
		q := l.queue.pop()
		if l.fit(&q.lease, now) && now.Sub(q.since) <= maxQueueWait {
			return job{lane: l, lease: q.lease, template: l.template}, true
		}
		l.freeSlot(false)
		l.d.returns.add(q.lease)
	}
	if l.queue.len() > 0 && l.slots.n < limit {
		// As in room: tokens or everybody's slots are short.
		l.d.agenda.at(l, later(l.rate.opens(now), now.Add(tokenRetry)))
	}
	return job{}, false
}

// returnQueue gives back the first n of the queue.
func (l *lane) returnQueue(n int) {
	for range n {
		l.d.returns.add(l.queue.pop().lease)
	}
}

// returnStale gives back what has waited too long for a slot: the endpoint is
// slower than it was.
func (l *lane) returnStale(now time.Time) {
	for l.queue.len() > 0 && now.Sub(l.queue.first().since) > maxQueueWait {
		l.returnQueue(1)
		l.backlog = true
	}
}

// finished frees the slot of an attempt and returns what is to be attempted next.
// Where that leaves room worth a claim, it wakes the recovery loop.
func (l *lane) finished(now time.Time) (job, bool) {
	l.freeSlot(true)
	l.finishedAt = now
	j, ok := l.next(now)
	if l.backlog && !l.closed {
		// With a queue, half of it is claimed at a time.
		limit, _ := l.gate(now)
		if depth := l.depth(limit, now); limit > 0 && (depth == 0 || 2*l.held() <= limit+depth) && !l.stocked(depth) {
			l.d.agenda.at(l, now)
		}
	}
	return j, ok
}

// measure remembers how large and how slow deliveries are, to size the queue.
func (l *lane) measure(lease hub.Lease) {
	if lease.Event != nil && lease.Event.Payload != nil {
		l.bodyBytes += (len(lease.Event.Payload.Body) - l.bodyBytes) / 8
	}
}

func (l *lane) measureLatency(took time.Duration) {
	took = max(took, 100*time.Microsecond)
	switch {
	case l.latency == 0:
		l.latency = took
	case took > l.latency:
		l.latency += (took - l.latency) / 2
	default:
		l.latency -= (l.latency - took) / 8
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
