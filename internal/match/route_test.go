package match_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hookgraph/hookgraph/internal/hub"
)

func configuration(subs ...*hub.Subscription) *hub.Configuration {
	for i, s := range subs {
		if s.ID == "" {
			s.ID = fmt.Sprintf("sub_%d", i)
		}
		if s.EndpointID == "" {
			s.EndpointID = "end_1"
		}
		if s.EventTypes == nil {
			s.EventTypes = []string{"*"}
		}
	}
	return hub.NewConfiguration(1,
		[]*hub.Source{{ID: "src_1", Slug: "billing"}, {ID: "src_2", Slug: "shop"}},
		[]*hub.Endpoint{{ID: "end_1", State: hub.EndpointActive}, {ID: "end_2", State: hub.EndpointDisabled}},
		subs)
}

func TestRoute(t *testing.T) {
	t.Parallel()
	m := newMatcher(t)
	for name, c := range map[string]struct {
		sub  hub.Subscription
		want bool
	}{
		"everything":                    {hub.Subscription{}, true},
		"its type":                      {hub.Subscription{EventTypes: []string{"order.*", "invoice.paid"}}, true},
		"another type":                  {hub.Subscription{EventTypes: []string{"order.*", "invoice.void"}}, false},
		"no type":                       {hub.Subscription{EventTypes: []string{}}, false},
		"its source":                    {hub.Subscription{SourceIDs: []string{"src_2", "src_1"}}, true},
		"another source":                {hub.Subscription{SourceIDs: []string{"src_2"}}, false},
		"a filter that says yes":        {hub.Subscription{Filter: `body.amount > 100 && event.source == "billing"`}, true},
		"a filter that says no":         {hub.Subscription{Filter: `body.amount < 100`}, false},
		"a filter over a missing key":   {hub.Subscription{Filter: `body.missing == 1`}, false},
		"a filter that does not parse":  {hub.Subscription{Filter: `body.`}, false},
		"paused, its deliveries wait":   {hub.Subscription{State: hub.SubscriptionPaused}, true},
		"disabled, its deliveries wait": {hub.Subscription{EndpointID: "end_2"}, true},
		"an endpoint that is gone":      {hub.Subscription{EndpointID: "end_3"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := m.Route(jsonEvent(invoice), configuration(&c.sub))
			if (len(got) == 1) != c.want {
				t.Fatalf("got %v", got)
			}
		})
	}
	t.Run("to a partner's endpoint goes what that partner sees", func(t *testing.T) {
		t.Parallel()
		cfg := hub.NewConfiguration(1, nil,
			[]*hub.Endpoint{{ID: "end_own"}, {ID: "end_a", PartnerID: "prt_a"}, {ID: "end_b", PartnerID: "prt_b"}},
			[]*hub.Subscription{
				{ID: "sub_own", EndpointID: "end_own", EventTypes: []string{"*"}},
				{ID: "sub_a", EndpointID: "end_a", EventTypes: []string{"*"}},
				{ID: "sub_b", EndpointID: "end_b", EventTypes: []string{"*"}, Filter: `event.partnerId == "prt_b" && has(event.partnerId)`},
			}, &hub.Partner{ID: "prt_a", EventTypes: []string{"invoice.*"}}, &hub.Partner{ID: "prt_b"})
		for _, c := range []struct{ eventType, partner, want string }{
			{"invoice.paid", "", "sub_a sub_own"},
			{"order.paid", "", "sub_own"},
			{"order.paid", "prt_a", "sub_a sub_own"},
			{"invoice.paid", "prt_b", "sub_b sub_own"},
		} {
			ev := &hub.Event{Type: c.eventType, PartnerID: c.partner, Payload: &hub.Payload{}}
			if got := strings.Join(m.Route(ev, cfg), " "); got != c.want {
				t.Errorf("%+v: got %s", c, got)
			}
		}
	})
	t.Run("answers in the order of IDs", func(t *testing.T) {
		t.Parallel()
		cfg := configuration(&hub.Subscription{ID: "sub_c"}, &hub.Subscription{ID: "sub_a", Filter: "true"}, &hub.Subscription{ID: "sub_b"})
		if got := m.Route(jsonEvent(invoice), cfg); !slices.Equal(got, []string{"sub_a", "sub_b", "sub_c"}) {
			t.Fatalf("got %v", got)
		}
	})
}

// Not parallel: it counts the allocations of the whole process.
func TestRouteAllocatesNothingButItsAnswerWithoutFilters(t *testing.T) {
	m := newMatcher(t)
	cfg := configuration(&hub.Subscription{EventTypes: []string{"order.*", "invoice.*"}, SourceIDs: []string{"src_1"}})
	ev := jsonEvent(invoice)
	if got := testing.AllocsPerRun(100, func() { m.Route(ev, cfg) }); got > 1 {
		t.Fatalf("%v allocations", got)
	}
}

func BenchmarkRoute(b *testing.B) {
	m := newMatcher(b)
	ev := jsonEvent(`{"id":"in_1","amount":4200,"customer":{"tier":3},"pad":"` + strings.Repeat("x", 900) + `"}`)
	many := make([]*hub.Subscription, 100)
	for i := range many {
		many[i] = &hub.Subscription{ID: fmt.Sprintf("sub_%03d", i), Filter: fmt.Sprintf("body.customer.tier == %d", i%4)}
	}
	for name, cfg := range map[string]*hub.Configuration{
		"1 without filter":         configuration(&hub.Subscription{EventTypes: []string{"invoice.*"}}),
		"1 filtering on the event": configuration(&hub.Subscription{Filter: `event.type.endsWith(".paid")`}),
		"1 filtering on the body":  configuration(&hub.Subscription{Filter: `body.amount > 100 && body.customer.tier == 3`}),
		"100 filtering on a body":  configuration(many...),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.Route(ev, cfg)
			}
		})
	}
}
