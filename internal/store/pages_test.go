package store_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

// corpus is a database with something of everything, and the truth about it in
// memory, newest first.
type corpus struct {
	*store.Store
	ctx           context.Context //nolint:containedctx // the test's, for properties that have none
	b             *bundle
	sources       []*hub.Source
	endpoints     []*hub.Endpoint
	subscriptions []*hub.Subscription
	events        []*hub.Event
	deliveries    []*hub.Delivery
	attempts      map[string][]*hub.Attempt // oldest first
}

func newCorpus(t *testing.T, url string) *corpus {
	t.Helper()
	c := &corpus{ctx: t.Context(), attempts: make(map[string][]*hub.Attempt)}
	c.Store, c.b = start(t, url)
	s, b := c.Store, c.b
	for range 3 {
		c.sources = append(c.sources, newSource(t, s, b))
	}
	for i := range 3 {
		e := newEndpoint(t, s, b)
		c.endpoints = append(c.endpoints, e)
		for range i + 1 {
			c.subscriptions = append(c.subscriptions, newSubscription(t, s, b, e))
		}
	}
	b.router.set(func(ev *hub.Event, cfg *hub.Configuration) []string {
		var ids []string
		for i, sub := range cfg.Ordered {
			if len(ev.Payload.Body)%(i+2) == 0 {
				ids = append(ids, sub.ID)
			}
		}
		return ids
	})
	types := []string{"invoice.paid", "invoice.PAID", "invoice_paid", "invoice", "order.created.v1", "order.%", "order.?", "order.[a]", `order.\`, "ordeq", "é.ü"}
	for i := range 90 {
		ev := newEvent(b, c.sources[i%7%3], typed(types[i%len(types)]), func(ev *hub.Event) {
			ev.Payload.Body = []byte(strings.Repeat("x", i))
			if i%2 == 0 {
				ev.OccurredAt = ev.ReceivedAt.Add(-time.Duration(i) * time.Hour)
			}
			if i%5 == 0 {
				ev.OrderingKey = fmt.Sprint("key", i%3)
			}
		})
		receipt := add(t, s, ev)
		shown := *ev
		shown.Payload, shown.Sequence = nil, receipt.Sequence
		c.events = append(c.events, &shown)
		b.clock.advance(time.Second)
	}
	for i := range 60 {
		for _, l := range claim(t, s, c.endpoints[i%3], 1) {
			status := []hub.DeliveryStatus{hub.DeliveryPending, hub.DeliveryDead, hub.DeliveryDelivered}[i%4%3]
			r := attempt(b, l, hub.AttemptRefused, status)
			if status == hub.DeliveryPending {
				r.Delivery.NextAttemptAt = b.clock.Now()
			}
			settled(t, s, r)
			c.attempts[l.Delivery.ID] = append(c.attempts[l.Delivery.ID], r.Attempt)
		}
	}
	got[*hub.Subscription](t)(s.UpdateSubscription(t.Context(), c.subscriptions[1].ID, func(sub *hub.Subscription) error {
		sub.State = hub.SubscriptionPaused
		return nil
	}))
	got[*hub.Endpoint](t)(s.UpdateEndpoint(t.Context(), c.endpoints[2].ID, func(e *hub.Endpoint) error {
		e.State = hub.EndpointDisabled
		return nil
	}))
	for _, ev := range c.events {
		c.deliveries = append(c.deliveries, deliveriesOf(t, s, ev.ID)...)
	}
	slices.Reverse(c.events)
	slices.SortFunc(c.deliveries, func(a, b *hub.Delivery) int { return strings.Compare(b.ID, a.ID) })
	return c
}

// law is what holds of every paginated list: from any key, in any direction, a page
// is the part of the whole list that it names.
func law[T any](t *rapid.T, whole []T, key func(T) string, list func(hub.Page) (hub.Slice[T], error)) {
	page := hub.Page{Size: rapid.IntRange(0, len(whole)+2).Draw(t, "size"), Backward: rapid.Bool().Draw(t, "backward")}
	from, to := 0, len(whole)
	if len(whole) > 0 && rapid.Bool().Draw(t, "has after") {
		i := rapid.IntRange(0, len(whole)-1).Draw(t, "after")
		page.After, from = key(whole[i]), i+1
	}
	if len(whole) > 0 && rapid.Bool().Draw(t, "has before") {
		i := rapid.IntRange(0, len(whole)-1).Draw(t, "before")
		page.Before, to = key(whole[i]), i
	}
	if to < from {
		from = to
	}
	if n := to - from; n > page.Size && page.Backward {
		from = to - page.Size
	} else if n > page.Size {
		to = from + page.Size
	}
	have, err := list(page)
	if err != nil {
		t.Fatal(err)
	}
	if want := ids(whole[from:to], key); !slices.Equal(ids(have.Items, key), want) {
		t.Fatalf("page %+v is %v, want %v", page, ids(have.Items, key), want)
	}
	if from < to { // of an empty page, both sides are the caller's keys
		if have.HasPrevious != (from > 0) || have.HasNext != (to < len(whole)) {
			t.Fatalf("page %+v of [%d,%d) in %d says previous %v, next %v", page, from, to, len(whole), have.HasPrevious, have.HasNext)
		}
	}
}

// walk follows a list to its end, page by page.
func walk[T any](t *rapid.T, whole []T, key func(T) string, list func(hub.Page) (hub.Slice[T], error)) {
	page := hub.Page{Size: rapid.IntRange(1, 40).Draw(t, "step"), Backward: rapid.Bool().Draw(t, "walk backward")}
	var walked []string
	for {
		have, err := list(page)
		if err != nil {
			t.Fatal(err)
		}
		part := ids(have.Items, key)
		if page.Backward {
			walked = append(part, walked...)
		} else {
			walked = append(walked, part...)
		}
		if more := have.HasNext && !page.Backward || have.HasPrevious && page.Backward; !more || len(part) == 0 {
			break
		}
		if page.Backward {
			page.Before = walked[0]
		} else {
			page.After = walked[len(walked)-1]
		}
	}
	if !slices.Equal(walked, ids(whole, key)) {
		t.Fatalf("walked %v, want %v", walked, ids(whole, key))
	}
}

func sequence(ev *hub.Event) string { return ev.Sequence.String() }

func subset[T any](t *rapid.T, name string, of []T) []T {
	var out []T
	for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, len(of)-1), 0, len(of), rapid.ID[int]).Draw(t, name) {
		out = append(out, of[i])
	}
	return out
}

func eventFilters(t *rapid.T, c *corpus) (hub.EventFilter, func(*hub.Event) bool) {
	f := hub.EventFilter{
		Types: subset(t, "types", []string{
			"invoice.*", "invoice", "order.*", "order.%", "order.?", "order.[*", `order.\`, "*.created.*", "*v1", "i*d", "**", "é.*", "*ü", "none",
		}),
		SourceIDs: ids(subset(t, "sources", c.sources), func(s *hub.Source) string { return s.ID }),
	}
	if rapid.Bool().Draw(t, "by ordering key") {
		f.OrderingKey = "key1"
	}
	at := func(name string) time.Time {
		return c.b.clock.Now().Add(-time.Duration(rapid.IntRange(-1000, 120_000).Draw(t, name)) * time.Millisecond)
	}
	if rapid.Bool().Draw(t, "by receipt") {
		f.ReceivedAt = hub.TimeRange{Since: at("since"), Until: at("until")}
	}
	if rapid.Bool().Draw(t, "by occurrence") {
		f.OccurredAt = hub.TimeRange{Until: at("occurred until").Add(-20 * time.Hour)}
	}
	return f, func(ev *hub.Event) bool {
		return (len(f.Types) == 0 || slices.ContainsFunc(f.Types, func(p string) bool { return matches(p, ev.Type) })) &&
			(len(f.SourceIDs) == 0 || slices.Contains(f.SourceIDs, ev.SourceID)) &&
			(f.OrderingKey == "" || f.OrderingKey == ev.OrderingKey) &&
			f.ReceivedAt.Contains(ev.ReceivedAt) && f.OccurredAt.Contains(ev.OccurredAt)
	}
}

// matches is the plain meaning of a pattern: * stands for any text.
func matches(pattern, text string) bool {
	head, tail, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == text
	}
	rest, ok := strings.CutPrefix(text, head)
	for ok {
		if matches(tail, rest) {
			return true
		}
		if rest == "" {
			return false
		}
		rest = rest[1:]
	}
	return false
}

func keep[T any](items []T, admits func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(items), func(item T) bool { return !admits(item) })
}

func reversed[T any](items []T) []T {
	out := slices.Clone(items)
	slices.Reverse(out)
	return out
}

func TestPages(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		c := newCorpus(t, url)
		ctx := t.Context()

		t.Run("of events", func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				f, admits := eventFilters(t, c)
				q := store.EventQuery{Filter: f, OldestFirst: rapid.Bool().Draw(t, "oldest first")}
				whole := keep(c.events, admits)
				if rapid.Bool().Draw(t, "by expression") {
					q.Filter.Expression = "size of the body is even"
					q.Admit = func(ev *hub.Event) (bool, error) { return len(ev.Payload.Body)%2 == 0, nil }
					whole = keep(whole, func(ev *hub.Event) bool { return (ev.Sequence-1)%2 == 0 }) // its body is as long
				}
				n := len(whole)
				if q.OldestFirst {
					whole = reversed(whole)
				}
				list := func(p hub.Page) (hub.Slice[*hub.Event], error) {
					q.Page = p
					return c.Events(ctx, q)
				}
				law(t, whole, sequence, list)
				walk(t, whole, sequence, list)
				count := func() (int, error) { return c.CountEvents(ctx, f) }
				if q.Admit != nil {
					count = func() (int, error) { return c.CountAdmitted(ctx, q) }
				}
				if counted, err := count(); err != nil || counted != n {
					t.Fatalf("counted %d, want %d: %v", counted, n, err)
				}
			})
		})

		t.Run("of the events of sources", func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				f, admits := eventFilters(t, c)
				parents := append(ids(subset(t, "parents", c.sources), func(s *hub.Source) string { return s.ID }), "src_none")
				counts, err := c.CountEventsOfSources(ctx, parents, f)
				if err != nil {
					t.Fatal(err)
				}
				for _, id := range parents {
					whole := keep(c.events, func(ev *hub.Event) bool { return ev.SourceID == id && admits(ev) })
					law(t, whole, sequence, func(p hub.Page) (hub.Slice[*hub.Event], error) {
						all, err := c.EventsOfSources(ctx, parents, f, p)
						return all[id], err
					})
					if counts[id] != len(whole) {
						t.Fatalf("counted %d, want %d", counts[id], len(whole))
					}
				}
			})
		})

		t.Run("of deliveries, alone and nested", func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { deliveryPages(t, c) })
		})

		t.Run("of attempts", func(t *testing.T) {
			tried := keep(c.deliveries, func(d *hub.Delivery) bool { return len(c.attempts[d.ID]) > 0 })
			rapid.Check(t, func(t *rapid.T) {
				parents := ids(subset(t, "parents", tried), deliveryID)
				for _, id := range parents[:min(len(parents), 3)] {
					numbers := make([]int, len(c.attempts[id]))
					for i := range numbers {
						numbers[i] = i + 1
					}
					law(t, numbers, func(n int) string { return fmt.Sprintf("%010d", n) }, func(p hub.Page) (hub.Slice[int], error) {
						all, err := c.AttemptsOf(ctx, parents, p)
						page := hub.Slice[int]{HasNext: all[id].HasNext, HasPrevious: all[id].HasPrevious}
						for _, a := range all[id].Items {
							if a.ID != c.attempts[id][a.Number-1].ID {
								t.Fatalf("attempt %d is %s", a.Number, a.ID)
							}
							page.Items = append(page.Items, a.Number)
						}
						return page, err
					})
				}
			})
		})

		t.Run("with a key that is none are refused", func(t *testing.T) {
			for _, key := range []string{"x", "1", "FFFFFFFFFFFFFFFF", "ffffffffffffffff", "-000000000000001"} {
				_, err := c.Events(ctx, store.EventQuery{Page: hub.Page{Size: 1, After: key}})
				wantCode(t, err, hub.CodeBadUserInput)
			}
			_, err := c.AttemptsOf(ctx, []string{"dlv_x"}, hub.Page{Size: 1, Before: "one"})
			wantCode(t, err, hub.CodeBadUserInput)
		})

		t.Run("nested for many parents are one statement", func(t *testing.T) {
			events, deliveries := ids(c.events, eventID), ids(c.deliveries, deliveryID)
			endpoints := ids(c.endpoints, func(e *hub.Endpoint) string { return e.ID })
			sources := ids(c.sources, func(s *hub.Source) string { return s.ID })
			page, f := hub.Page{Size: 5}, hub.DeliveryFilter{}
			for name, do := range map[string]func(ctx context.Context) error{
				"deliveries of events": func(ctx context.Context) error {
					_, err := c.DeliveriesOf(ctx, store.OfEvents, events, f, page)
					return err
				},
				"deliveries of endpoints": func(ctx context.Context) error {
					_, err := c.DeliveriesOf(ctx, store.OfEndpoints, endpoints, f, page)
					return err
				},
				"counts of deliveries": func(ctx context.Context) error {
					_, err := c.CountDeliveriesOf(ctx, store.OfEvents, events, f)
					return err
				},
				"attempts": func(ctx context.Context) error { _, err := c.AttemptsOf(ctx, deliveries, page); return err },
				"events of sources": func(ctx context.Context) error {
					_, err := c.EventsOfSources(ctx, sources, hub.EventFilter{}, page)
					return err
				},
				"rejections of sources": func(ctx context.Context) error { _, err := c.RejectionsOfSources(ctx, sources, page); return err },
				"last events":           func(ctx context.Context) error { _, err := c.LastEventAt(ctx, sources); return err },
				"backlogs":              func(ctx context.Context) error { _, err := c.Backlog(ctx, endpoints); return err },
				"what is due":           func(ctx context.Context) error { _, err := c.NextDue(ctx); return err },
			} {
				queries := c.b.trace.askedBy(t, do)
				if len(queries) != 1 {
					t.Errorf("%s take %d statements", name, len(queries))
				}
				if strings.Contains(strings.Join(queries, " "), "body`") && !strings.Contains(name, "attempts") && !strings.Contains(name, "rejections") {
					t.Errorf("%s load payloads: %s", name, queries[0])
				}
			}
		})
	})
}

func deliveryPages(t *rapid.T, c *corpus) {
	ctx := c.ctx
	f := hub.DeliveryFilter{
		Statuses: subset(t, "statuses", []hub.DeliveryStatus{
			hub.DeliveryPending, hub.DeliveryHeld, hub.DeliveryDelivered, hub.DeliveryDead, hub.DeliveryCanceled,
		}),
		EndpointIDs: ids(subset(t, "endpoints", c.endpoints), func(e *hub.Endpoint) string { return e.ID }),
	}
	admits := func(d *hub.Delivery) bool {
		return (len(f.Statuses) == 0 || slices.Contains(f.Statuses, d.Status)) &&
			(len(f.EndpointIDs) == 0 || slices.Contains(f.EndpointIDs, d.EndpointID))
	}
	whole := keep(c.deliveries, admits)
	list := func(p hub.Page) (hub.Slice[*hub.Delivery], error) { return c.Deliveries(ctx, f, p) }
	law(t, whole, deliveryID, list)
	walk(t, whole, deliveryID, list)
	if n, err := c.CountDeliveries(ctx, f); err != nil || n != len(whole) {
		t.Fatalf("counted %d, want %d: %v", n, len(whole), err)
	}

	of := rapid.SampledFrom([]store.Parent{store.OfEvents, store.OfEndpoints, store.OfSubscriptions}).Draw(t, "parent")
	parentOf := map[store.Parent]func(*hub.Delivery) string{
		store.OfEvents:        func(d *hub.Delivery) string { return d.EventID },
		store.OfEndpoints:     func(d *hub.Delivery) string { return d.EndpointID },
		store.OfSubscriptions: func(d *hub.Delivery) string { return d.SubscriptionID },
	}[of]
	parents := ids(rapid.SliceOfN(rapid.SampledFrom(c.deliveries), 1, 20).Draw(t, "of"), parentOf)
	slices.Sort(parents)
	parents = append(slices.Compact(parents), "none")
	counts, err := c.CountDeliveriesOf(ctx, of, parents, f)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range parents[len(parents)-min(3, len(parents)):] {
		whole := keep(c.deliveries, func(d *hub.Delivery) bool { return parentOf(d) == id && admits(d) })
		law(t, whole, deliveryID, func(p hub.Page) (hub.Slice[*hub.Delivery], error) {
			all, err := c.DeliveriesOf(ctx, of, parents, f, p)
			return all[id], err
		})
		if counts[id] != len(whole) {
			t.Fatalf("counted %d of %s, want %d", counts[id], id, len(whole))
		}
	}
}
