package replay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
	"github.com/hookgraph/hookgraph/internal/replay"
)

// log is what is stored, and what was started over it.
type log struct {
	known   *hub.Configuration
	later   *hub.Configuration // what Refresh brings
	count   int
	started []*hub.Replay
	err     error
}

func (l *log) Configuration() *hub.Configuration { return l.known }

func (l *log) Refresh(context.Context) error {
	if l.later != nil {
		l.known = l.later
	}
	return l.err
}

func (l *log) CountReplay(context.Context, hub.ReplaySelection) (int, error) { return l.count, l.err }

func (l *log) StartReplay(_ context.Context, r *hub.Replay) (*hub.Replay, error) {
	l.started = append(l.started, r)
	return r, nil
}

// filters takes any expression but one.
type filters struct{}

func (filters) CheckFilter(expression string) error {
	if expression == "wrong" {
		return &match.ExpressionError{Line: 1, Column: 3, Message: "what is this"}
	}
	return nil
}

func configured() *hub.Configuration {
	return hub.NewConfiguration(1, nil, []*hub.Endpoint{{ID: "end_1"}}, []*hub.Subscription{{ID: "sub_1", EndpointID: "end_1"}})
}

func TestWhatIsReplayed(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	many := slices.Repeat([]string{"x"}, 101)
	events := func(f hub.EventFilter) replay.Input {
		return replay.Input{Events: &f, ToSubscriptionID: "sub_1", Rate: 1}
	}
	deliveries := func(f hub.DeliveryFilter) replay.Input { return replay.Input{Deliveries: &f, Rate: 1} }
	missed := func(endpointID string, until time.Time) replay.Input {
		return replay.Input{MissedBy: &hub.MissedBy{EndpointID: endpointID, Received: hub.TimeRange{Since: since, Until: until}}, Rate: 1}
	}
	for name, c := range map[string]struct {
		in   replay.Input
		want []string // none: it is right
	}{
		"deliveries":                   {deliveries(hub.DeliveryFilter{Statuses: []hub.DeliveryStatus{hub.DeliveryDelivered, hub.DeliveryDead, hub.DeliveryCanceled}}), nil},
		"events":                       {events(hub.EventFilter{Types: []string{"a.*"}, Expression: "right"}), nil},
		"what was missed":              {missed("end_1", time.Time{}), nil},
		"nothing":                      {replay.Input{Rate: 1}, []string{"INVALID input: exactly one"}},
		"too much":                     {replay.Input{Deliveries: &hub.DeliveryFilter{}, MissedBy: missed("end_1", since).MissedBy, Rate: 1}, []string{"INVALID input: exactly one", "INVALID input.missedBy.until: ends before"}},
		"no rate":                      {replay.Input{Deliveries: &hub.DeliveryFilter{}}, []string{"INVALID input.rate: 1 to 10000"}},
		"too fast":                     {replay.Input{Deliveries: &hub.DeliveryFilter{}, Rate: 10_001}, []string{"INVALID input.rate: 1 to 10000"}},
		"a long key":                   {replay.Input{Deliveries: &hub.DeliveryFilter{}, Rate: 1, IdempotencyKey: strings.Repeat("k", 256)}, []string{"LIMIT_EXCEEDED input.idempotencyKey: 255"}},
		"what waits":                   {deliveries(hub.DeliveryFilter{Statuses: []hub.DeliveryStatus{hub.DeliveryHeld}}), []string{"INVALID input.deliveries.statuses: ended"}},
		"a long list of deliveries":    {deliveries(hub.DeliveryFilter{EventIDs: many}), []string{"LIMIT_EXCEEDED input.deliveries.eventIds: 100"}},
		"a long list of events":        {events(hub.EventFilter{SourceIDs: many}), []string{"LIMIT_EXCEEDED input.events.sourceIds: 100"}},
		"a span from its end":          {deliveries(hub.DeliveryFilter{CreatedAt: hub.TimeRange{Since: since, Until: since}}), []string{"INVALID input.deliveries.createdAt: ends before"}},
		"no pattern":                   {events(hub.EventFilter{Types: []string{""}}), []string{"INVALID input.events.types: "}},
		"an expression":                {events(hub.EventFilter{Expression: "wrong"}), []string{"INVALID input.events.expression: what is this"}},
		"events to nobody":             {replay.Input{Events: &hub.EventFilter{}, Rate: 1}, []string{"REQUIRED input.toSubscriptionId: "}},
		"deliveries to a subscription": {replay.Input{Deliveries: &hub.DeliveryFilter{}, ToSubscriptionID: "sub_1", Rate: 1}, []string{"INVALID input.toSubscriptionId: "}},
		"an unknown subscription":      {replay.Input{Events: &hub.EventFilter{}, ToSubscriptionID: "sub_2", Rate: 1}, []string{"NOT_FOUND input.toSubscriptionId: "}},
		"an unknown endpoint":          {missed("end_2", time.Time{}), []string{"NOT_FOUND input.missedBy.endpointId: "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &log{known: configured(), count: 7}
			c.in.DryRun = true
			_, n, err := replay.Start(t.Context(), l, filters{}, c.in)
			if len(c.want) == 0 {
				if err != nil || n != 7 || len(l.started) != 0 {
					t.Fatalf("a dry run: %d %v, %d started", n, err, len(l.started))
				}
				c.in.DryRun, c.in.IdempotencyKey = false, "k"
				ctx := hub.WithViewer(t.Context(), &hub.Viewer{KeyID: "key_1"})
				r, n, err := replay.Start(ctx, l, filters{}, c.in)
				if err != nil || n != 7 || r.Total != 7 || r.Rate != 1 || r.IdempotencyKey != "k" || r.RequestedBy != "key key_1" || len(l.started) != 1 {
					t.Fatalf("started: %+v %d %v", r, n, err)
				}
				if s := r.Selection; s.Deliveries != c.in.Deliveries || s.Events != c.in.Events || s.MissedBy != c.in.MissedBy || s.SubscriptionID != c.in.ToSubscriptionID {
					t.Errorf("it is over %+v", s)
				}
				return
			}
			var problems hub.UserErrors
			if !errors.As(err, &problems) || len(problems) != len(c.want) || len(l.started) != 0 {
				t.Fatalf("got %v", err)
			}
			for i, p := range problems {
				code, rest, _ := strings.Cut(c.want[i], " ")
				field, text, _ := strings.Cut(rest, ": ")
				if string(p.Code) != code || strings.Join(p.Field, ".") != field || !strings.Contains(p.Message, text) {
					t.Errorf("got %s %v: %s, want %s", p.Code, p.Field, p.Message, c.want[i])
				}
				if place := [2]int{p.Line, p.Column}; field == "input.events.expression" != (place == [2]int{1, 3}) {
					t.Errorf("%v: it is said to be at %v", p.Field, place)
				}
			}
		})
	}
}

func TestWhatAnotherNodeHasJustMadeIsFound(t *testing.T) {
	t.Parallel()
	in := replay.Input{Events: &hub.EventFilter{}, ToSubscriptionID: "sub_1", Rate: 1, DryRun: true}
	l := &log{known: hub.NewConfiguration(0, nil, nil, nil), later: configured()}
	if _, _, err := replay.Start(t.Context(), l, filters{}, in); err != nil {
		t.Errorf("got %v", err)
	}
	broken := fmt.Errorf("the database is away")
	l = &log{known: hub.NewConfiguration(0, nil, nil, nil), err: broken}
	if _, _, err := replay.Start(t.Context(), l, filters{}, in); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
