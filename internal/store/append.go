package store

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hookgraph/hookgraph/ent/dedupekey"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// MaxKeyBytes bounds an event's type, dedupe key and ordering key: PostgreSQL
// cannot index longer ones.
const MaxKeyBytes = 1024

// appendRequest is the events of one Append on their way through the writer.
type appendRequest struct {
	ticket
	events   []*pendingEvent
	bytes    int
	revision int64 // of the configuration they were routed by
	receipts []hub.Receipt
}

// pendingEvent is an event with all that can be worked out before the commit.
type pendingEvent struct {
	event     *hub.Event // the store's own copy
	keyID     string     // of its dedupe key; "" where it has none
	headers   []byte
	routes    []string   // IDs of the subscriptions that want it
	positions []position // what keeps its deliveries to them in order, alike; nil: nothing does
}

// Append stores events in one transaction, in order, and returns once it is
// durable. The caller sets each event's ID, ReceivedAt and Payload. An event whose
// dedupe key its source has sent before, within the source's window, is counted on
// the first one, which the receipt then names.
//
// A source that does not exist is hub.ErrNotFound; trouble with the database and a
// full queue are CodeUnavailable with RetryAfter. After an error nothing was
// acknowledged, and after an error of ctx nothing was stored either.
func (s *Store) Append(ctx context.Context, events []*hub.Event) ([]hub.Receipt, error) {
	if len(events) == 0 {
		return nil, nil
	}
	cfg := s.config.Load()
	r := &appendRequest{
		ticket: newTicket(), events: make([]*pendingEvent, len(events)),
		revision: cfg.Revision, receipts: make([]hub.Receipt, len(events)),
	}
	for i, ev := range events {
		p, err := s.prepare(ev, cfg)
		if err != nil {
			return nil, err
		}
		r.events[i] = p
		r.bytes += len(p.event.Payload.Body) + len(p.headers) + len(p.event.Payload.Query)
	}
	if !s.writing() {
		return nil, unavailable(errStopping)
	}
	if err := s.queue.addAppend(r); err != nil {
		return nil, unavailable(err)
	}
	if !r.wait(ctx.Done()) {
		return nil, ctx.Err()
	}
	if r.err != nil {
		return nil, r.err
	}
	return r.receipts, nil
}

// writing reports whether a writer runs in this process.
func (s *Store) writing() bool { return s.started.Load() }

// prepare does for an event what needs no database: in its caller's goroutine, so
// that the writer has less to do.
func (s *Store) prepare(in *hub.Event, cfg *hub.Configuration) (*pendingEvent, error) {
	ev := *in
	if ev.Payload == nil {
		ev.Payload = &hub.Payload{}
	}
	for _, field := range []struct{ name, value string }{
		{"type", ev.Type}, {"dedupe key", ev.DedupeKey}, {"ordering key", ev.OrderingKey},
	} {
		if len(field.value) > MaxKeyBytes {
			return nil, hub.NewError(hub.CodeBadUserInput, fmt.Sprintf("the event's %s is longer than %d bytes", field.name, MaxKeyBytes))
		}
	}
	p := &pendingEvent{event: &ev, headers: encodeHeaders(ev.Payload.Headers)}
	if ev.DedupeKey != "" {
		p.keyID = dedupeID(ev.SourceID, ev.DedupeKey)
	}
	ev.Type, ev.DedupeKey, ev.OrderingKey = clean(ev.Type), clean(ev.DedupeKey), clean(ev.OrderingKey)
	ev.ContentType = clean(ev.ContentType)
	if err := s.route(p, cfg); err != nil {
		return nil, err
	}
	return p, nil
}

// route chooses the subscriptions that want an event. What goes wrong in the
// router concerns that event alone.
func (s *Store) route(p *pendingEvent, cfg *hub.Configuration) (err error) {
	if cfg.Sources[p.event.SourceID] == nil {
		return hub.ErrNotFound
	}
	if s.cfg.Router == nil {
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("route event %s: panic: %v", p.event.ID, r)
		}
	}()
	p.routes, p.positions = s.cfg.Router.Route(p.event, cfg), nil
	for i, id := range p.routes {
		if sub := cfg.Subscriptions[id]; sub != nil && sub.Ordered() {
			if p.positions == nil {
				p.positions = make([]position, len(p.routes))
			}
			p.positions[i] = s.positionOf(p.event, sub, cfg)
		}
	}
	return nil
}

// dedupeID names a source's dedupe key in 128 bits of its SHA-256. The source's ID
// has a fixed form, so that the pair is unambiguous.
func dedupeID(sourceID, key string) string {
	h := sha256.New()
	h.Write([]byte(sourceID))
	h.Write([]byte{0})
	h.Write([]byte(key))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}

// KnownKeys returns those of a source's dedupe keys by which a further event would be a
// duplicate now.
func (s *Store) KnownKeys(ctx context.Context, sourceID string, keys []string) (map[string]bool, error) {
	src := s.config.Load().Sources[sourceID]
	if src == nil {
		return nil, nil
	}
	byID := make(map[string]string, len(keys))
	ids := make([]string, len(keys))
	for i, key := range keys {
		ids[i] = dedupeID(sourceID, key)
		byID[ids[i]] = key
	}
	known, now := make(map[string]bool), s.clock.Now()
	err := inChunks(ids, maxInList, func(part []string) error {
		rows, err := s.read.DedupeKey.Query().Where(dedupekey.IDIn(part...)).All(ctx)
		for _, row := range rows {
			if within(src.DedupeWindow, row.FirstSeenAt.Time(), now) {
				known[byID[row.ID]] = true
			}
		}
		return err
	})
	return known, wrap("look for dedupe keys", err)
}

// clean makes text that both databases take: PostgreSQL refuses NUL and what is
// not UTF-8, and one refused row would fail its whole batch.
func clean(text string) string {
	if utf8.ValidString(text) && !strings.Contains(text, "\x00") {
		return text
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

func encodeHeaders(headers []hub.Header) []byte {
	if len(headers) == 0 {
		return []byte("[]")
	}
	text, err := json.Marshal(headers)
	if err != nil { // two strings always encode
		return []byte("[]")
	}
	return text
}

func decodeHeaders(text []byte) ([]hub.Header, error) {
	var headers []hub.Header
	if err := json.Unmarshal(text, &headers); err != nil {
		return nil, fmt.Errorf("read stored headers: %w", err)
	}
	return headers, nil
}

// within reports whether a key seen first at one time is still a duplicate at
// another.
func within(window time.Duration, first, now time.Time) bool {
	return window <= 0 || now.Sub(first) < window
}
