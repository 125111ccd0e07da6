package registry_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/registry"
)

// subscribed is a setup with an endpoint and two sources.
func subscribed(t *testing.T) (b *bundle, endpointID string, sourceIDs []string) {
	t.Helper()
	b = setup(t)
	e, _, err := b.CreateEndpoint(t.Context(), endpoint(nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two"} {
		src, err := b.CreateSource(t.Context(), open(name))
		if err != nil {
			t.Fatal(err)
		}
		sourceIDs = append(sourceIDs, src.ID)
	}
	return b, e.ID, sourceIDs
}

func TestANewSubscription(t *testing.T) {
	t.Parallel()
	t.Run("wants everything by default", func(t *testing.T) {
		t.Parallel()
		b, endpointID, _ := subscribed(t)
		got, err := b.CreateSubscription(t.Context(), registry.CreateSubscriptionInput{Name: "All", EndpointID: endpointID})
		want := &hub.Subscription{
			ID: got.ID, Name: "All", EndpointID: endpointID, State: hub.SubscriptionActive, EventTypes: []string{"*"},
			Ordering: hub.OrderingNone, Poison: hub.PoisonPark, CreatedAt: newYear, UpdatedAt: newYear,
		}
		if err != nil || !reflect.DeepEqual(got, want) || !reflect.DeepEqual(b.store.Configuration().Subscriptions[got.ID], want) {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
	t.Run("takes everything that is right, once", func(t *testing.T) {
		t.Parallel()
		b, endpointID, sources := subscribed(t)
		got, err := b.CreateSubscription(t.Context(), registry.CreateSubscriptionInput{
			Name: "Some", EndpointID: endpointID, EventTypes: registry.Some([]string{"invoice.*", "order.paid", "invoice.*"}),
			SourceIDs: registry.Some([]string{sources[1], sources[0], sources[1]}), Filter: registry.Some(`body.amount > 100`),
		})
		if err != nil || !slices.Equal(got.EventTypes, []string{"invoice.*", "order.paid"}) ||
			!slices.Equal(got.SourceIDs, []string{sources[1], sources[0]}) || got.Filter != `body.amount > 100` {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
	t.Run("finds what another node has just made", func(t *testing.T) {
		t.Parallel()
		b, _, _ := subscribed(t)
		b.store.elsewhere(func(m *memory) {
			m.endpoints["end_new"] = &hub.Endpoint{ID: "end_new"}
			m.sources["src_new"] = &hub.Source{ID: "src_new", Slug: "new"}
		})
		if _, err := b.CreateSubscription(t.Context(), registry.CreateSubscriptionInput{
			Name: "a", EndpointID: "end_new", SourceIDs: registry.Some([]string{"src_new"}),
		}); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("does not come about where the endpoint goes meanwhile", func(t *testing.T) {
		t.Parallel()
		b, endpointID, _ := subscribed(t)
		b.store.elsewhere(func(m *memory) { delete(m.endpoints, endpointID) })
		_, err := b.CreateSubscription(t.Context(), registry.CreateSubscriptionInput{Name: "a", EndpointID: endpointID})
		wrong(t, err, "NOT_FOUND input.endpointId: there is no endpoint")
	})
	t.Run("is not judged while the database is away", func(t *testing.T) {
		t.Parallel()
		b, _, _ := subscribed(t)
		away := errors.New("away")
		b.store.elsewhere(func(m *memory) { m.broken = away })
		if _, err := b.CreateSubscription(t.Context(), registry.CreateSubscriptionInput{Name: "a", EndpointID: "end_x"}); !errors.Is(err, away) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestEverythingWrongWithASubscription(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*registry.CreateSubscriptionInput)
		want   []string
	}{
		"no name":             {func(in *registry.CreateSubscriptionInput) { in.Name = "" }, []string{"REQUIRED input.name: give it a name"}},
		"no endpoint":         {func(in *registry.CreateSubscriptionInput) { in.EndpointID = "" }, []string{"REQUIRED input.endpointId: name the endpoint"}},
		"an unknown endpoint": {func(in *registry.CreateSubscriptionInput) { in.EndpointID = "end_x" }, []string{"NOT_FOUND input.endpointId: no endpoint \"end_x\""}},
		"no event type":       {func(in *registry.CreateSubscriptionInput) { in.EventTypes = registry.Some([]string{}) }, []string{"REQUIRED input.eventTypes: take * for all"}},
		"too many types": {
			func(in *registry.CreateSubscriptionInput) { in.EventTypes = registry.Some(make([]string, 101)) },
			[]string{"LIMIT_EXCEEDED input.eventTypes: at most 100"},
		},
		"patterns of all sorts": {
			func(in *registry.CreateSubscriptionInput) {
				in.EventTypes = registry.Some([]string{"ok.*", "", "a**", " a"})
			},
			[]string{"INVALID input.eventTypes.1: empty", "INVALID input.eventTypes.2: one *", "INVALID input.eventTypes.3: a space"},
		},
		"unknown sources": {
			func(in *registry.CreateSubscriptionInput) { in.SourceIDs = registry.Some([]string{"src_x", "src_y"}) },
			[]string{"NOT_FOUND input.sourceIds.0: \"src_x\"", "NOT_FOUND input.sourceIds.1: \"src_y\""},
		},
		"too many sources": {
			func(in *registry.CreateSubscriptionInput) { in.SourceIDs = registry.Some(make([]string, 1001)) },
			[]string{"LIMIT_EXCEEDED input.sourceIds: at most 1000"},
		},
		"a filter that is no question": {
			func(in *registry.CreateSubscriptionInput) { in.Filter = registry.Some("event.type") },
			[]string{"INVALID input.filter: must be true or false"},
		},
		"a filter with a slip": {
			func(in *registry.CreateSubscriptionInput) {
				in.Filter = registry.Some("body.a == 1 &&\n  event.tpye == \"b\"")
			},
			[]string{"INVALID input.filter: undefined field 'tpye' (2:8)"},
		},
		"a blank filter": {func(in *registry.CreateSubscriptionInput) { in.Filter = registry.Some("  ") }, []string{"INVALID input.filter: empty (1:1)"}},
		"an ordering key that is no text": {
			func(in *registry.CreateSubscriptionInput) { in.OrderingKey = registry.Some("[event.type]") },
			[]string{"INVALID input.orderingKey: must yield a text"},
		},
		"an ordering key with a slip": {
			func(in *registry.CreateSubscriptionInput) { in.OrderingKey = registry.Some("event.oderingKey") },
			[]string{"INVALID input.orderingKey: undefined field 'oderingKey' (1:6)"},
		},
		"all at once": {
			func(in *registry.CreateSubscriptionInput) {
				*in = registry.CreateSubscriptionInput{
					EndpointID: "end_x", EventTypes: registry.Some([]string{""}), SourceIDs: registry.Some([]string{"src_x"}), Filter: registry.Some("("),
				}
			},
			[]string{
				"REQUIRED input.name: ", "NOT_FOUND input.endpointId: ", "INVALID input.eventTypes.0: ",
				"NOT_FOUND input.sourceIds.0: ", "INVALID input.filter: (1:",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, endpointID, _ := subscribed(t)
			in := registry.CreateSubscriptionInput{Name: "a", EndpointID: endpointID}
			c.change(&in)
			_, err := b.CreateSubscription(t.Context(), in)
			wrong(t, err, c.want...)
			if len(b.store.Configuration().Subscriptions) > 0 {
				t.Fatal("it was stored")
			}
		})
	}
}

func TestTheOrderOfASubscription(t *testing.T) {
	t.Parallel()
	b, endpointID, _ := subscribed(t)
	sub, err := b.CreateSubscription(t.Context(), registry.CreateSubscriptionInput{
		Name: "In order", EndpointID: endpointID, Ordering: registry.Some(hub.OrderingStrict),
		OrderingKey: registry.Some("body.customer"), Poison: registry.Some(hub.PoisonSkip),
	})
	if err != nil || sub.Ordering != hub.OrderingStrict || sub.OrderingKey != "body.customer" || sub.Poison != hub.PoisonSkip {
		t.Fatalf("got %+v, %v", sub, err)
	}
	sub, err = b.UpdateSubscription(t.Context(), registry.UpdateSubscriptionInput{ID: sub.ID, Name: registry.Some("Renamed")})
	if err != nil || sub.Ordering != hub.OrderingStrict || sub.OrderingKey != "body.customer" || sub.Poison != hub.PoisonSkip {
		t.Fatalf("what is absent does not stay: %+v, %v", sub, err)
	}
	sub, err = b.UpdateSubscription(t.Context(), registry.UpdateSubscriptionInput{
		ID: sub.ID, Ordering: registry.Null[hub.OrderingMode](), OrderingKey: registry.Null[string](), Poison: registry.Null[hub.PoisonRule](),
	})
	if err != nil || sub.Ordering != hub.OrderingNone || sub.OrderingKey != "" || sub.Poison != hub.PoisonPark {
		t.Fatalf("null does not take the default: %+v, %v", sub, err)
	}
}

func TestChangingASubscription(t *testing.T) {
	t.Parallel()
	create := func(t *testing.T) (*bundle, *hub.Subscription) {
		t.Helper()
		b, endpointID, sources := subscribed(t)
		sub, err := b.CreateSubscription(t.Context(), registry.CreateSubscriptionInput{
			Name: "a", EndpointID: endpointID, EventTypes: registry.Some([]string{"a.*"}), SourceIDs: registry.Some(sources), Filter: registry.Some("true"),
		})
		if err != nil {
			t.Fatal(err)
		}
		b.clock.at = newYear.Add(time.Hour)
		return b, sub
	}
	t.Run("absent keeps what is there", func(t *testing.T) {
		t.Parallel()
		b, sub := create(t)
		got, err := b.UpdateSubscription(t.Context(), registry.UpdateSubscriptionInput{ID: sub.ID, Name: registry.Some("b")})
		want := *sub
		want.Name, want.UpdatedAt = "b", newYear.Add(time.Hour)
		if err != nil || !reflect.DeepEqual(got, &want) {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
	t.Run("null goes back to the default", func(t *testing.T) {
		t.Parallel()
		b, sub := create(t)
		got, err := b.UpdateSubscription(t.Context(), registry.UpdateSubscriptionInput{
			ID: sub.ID, EventTypes: registry.Null[[]string](), SourceIDs: registry.Null[[]string](), Filter: registry.Null[string](),
		})
		if err != nil || !slices.Equal(got.EventTypes, []string{"*"}) || len(got.SourceIDs) > 0 || got.Filter != "" {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
	t.Run("an empty list of sources and an empty filter are none", func(t *testing.T) {
		t.Parallel()
		b, sub := create(t)
		got, err := b.UpdateSubscription(t.Context(), registry.UpdateSubscriptionInput{
			ID: sub.ID, SourceIDs: registry.Some([]string{}), Filter: registry.Some(""),
		})
		if err != nil || len(got.SourceIDs) > 0 || got.Filter != "" {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
	t.Run("is checked as a new one is", func(t *testing.T) {
		t.Parallel()
		b, sub := create(t)
		_, err := b.UpdateSubscription(t.Context(), registry.UpdateSubscriptionInput{
			ID: sub.ID, Name: registry.Null[string](), EndpointID: registry.Some("end_x"), EventTypes: registry.Some([]string{}),
			SourceIDs: registry.Some([]string{"src_x"}), Filter: registry.Some("1"),
		})
		wrong(t, err, "REQUIRED input.name: ", "NOT_FOUND input.endpointId: ", "REQUIRED input.eventTypes: ", "NOT_FOUND input.sourceIds.0: ", "INVALID input.filter: ")
		_, err = b.UpdateSubscription(t.Context(), registry.UpdateSubscriptionInput{ID: sub.ID, EndpointID: registry.Null[string]()})
		wrong(t, err, "REQUIRED input.endpointId: ")
		if !reflect.DeepEqual(b.store.Configuration().Subscriptions[sub.ID], sub) {
			t.Fatal("something was saved")
		}
	})
	t.Run("pauses, resumes and goes", func(t *testing.T) {
		t.Parallel()
		b, sub := create(t)
		for i, step := range []struct {
			do      func() (*hub.Subscription, error)
			want    hub.SubscriptionState
			changes bool
		}{
			{func() (*hub.Subscription, error) { return b.ResumeSubscription(t.Context(), sub.ID) }, hub.SubscriptionActive, false},
			{func() (*hub.Subscription, error) { return b.PauseSubscription(t.Context(), sub.ID) }, hub.SubscriptionPaused, true},
			{func() (*hub.Subscription, error) { return b.PauseSubscription(t.Context(), sub.ID) }, hub.SubscriptionPaused, false},
			{func() (*hub.Subscription, error) { return b.ResumeSubscription(t.Context(), sub.ID) }, hub.SubscriptionActive, true},
		} {
			before := b.store.Configuration().Revision
			got, err := step.do()
			if err != nil || got.State != step.want || (b.store.Configuration().Revision != before) != step.changes {
				t.Fatal(fmt.Sprint("step ", i, ": ", got, err))
			}
		}
		if err := b.DeleteSubscription(t.Context(), sub.ID); err != nil {
			t.Fatal(err)
		}
		_, updated := b.UpdateSubscription(t.Context(), registry.UpdateSubscriptionInput{ID: sub.ID})
		_, paused := b.PauseSubscription(t.Context(), sub.ID)
		for _, err := range []error{updated, paused, b.DeleteSubscription(t.Context(), sub.ID)} {
			if hub.CodeOf(err) != hub.CodeNotFound {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestTheTransformOfASubscription(t *testing.T) {
	t.Parallel()
	b, endpointID, _ := subscribed(t)
	transform := func(expression string) registry.Optional[hub.Transform] {
		return registry.Some(hub.Transform{Kind: hub.TransformCEL, Expression: expression})
	}
	made, err := b.CreateSubscription(t.Context(), registry.CreateSubscriptionInput{Name: "S", EndpointID: endpointID, Transform: transform("body.a")})
	if err != nil || made.Transform == nil || made.Transform.Expression != "body.a" {
		t.Fatalf("got %+v, %v", made, err)
	}
	for name, c := range map[string]struct {
		change registry.Optional[hub.Transform]
		want   *hub.Transform
	}{
		"absent keeps it": {registry.Optional[hub.Transform]{}, made.Transform},
		"null drops it":   {registry.Null[hub.Transform](), nil},
	} {
		got, err := b.UpdateSubscription(t.Context(), registry.UpdateSubscriptionInput{ID: made.ID, Name: registry.Some("T"), Transform: transform("body.a")})
		if err != nil || got.Transform == nil {
			t.Fatalf("%s: %+v, %v", name, got, err)
		}
		got, err = b.UpdateSubscription(t.Context(), registry.UpdateSubscriptionInput{ID: made.ID, Transform: c.change})
		if err != nil || !got.Transform.Equal(c.want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	_, err = b.UpdateSubscription(t.Context(), registry.UpdateSubscriptionInput{ID: made.ID, Transform: transform("{\n 'a': evnt.id}")})
	var problems hub.UserErrors
	if !errors.As(err, &problems) || len(problems) != 1 || problems[0].Line != 2 || problems[0].Column != 7 ||
		!slices.Equal(problems[0].Field, []string{"input", "transform", "expression"}) {
		t.Errorf("a wrong one: %+v", err)
	}
	draft, err := b.DraftSubscription(t.Context(), registry.UpdateSubscriptionInput{EventTypes: registry.Some([]string{"a.*"}), Transform: transform("body")})
	if err != nil || draft.Transform == nil || len(b.store.Configuration().Subscriptions) != 1 {
		t.Errorf("a draft: %+v, %v", draft, err)
	}
}
