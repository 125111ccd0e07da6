package receive_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/receive"
)

func apiSource(slug string) *hub.Source {
	return &hub.Source{ID: "src_" + slug, Slug: slug, Kind: hub.SourceAPI, State: hub.SourceActive, MaxBodyBytes: 1000}
}

func newDoor(t *testing.T, s *store) *receive.Door {
	t.Helper()
	return receive.New(receive.Config{Store: s, Expressions: newMatcher(t), Clock: clock{now}})
}

func TestPublish(t *testing.T) {
	t.Parallel()
	payload := json.RawMessage(` {"b": 1.00, "a": "é"}`)
	t.Run("stores the payload's bytes under the built-in source", func(t *testing.T) {
		t.Parallel()
		store := newStore(apiSource(hub.BuiltInAPISlug))
		at := time.Date(2026, 1, 2, 3, 4, 5, 6789, time.FixedZone("", 3600))
		got, err := newDoor(t, store).Publish(t.Context(), []receive.Publication{{Type: "a.b", Payload: payload, DedupeKey: "k", OrderingKey: "o", OccurredAt: at}})
		if err != nil || len(got) != 1 || len(got[0].Errors) > 0 || got[0].Duplicate {
			t.Fatalf("%+v, %v", got, err)
		}
		e, stored := got[0].Event, store.last(t)
		if e.ID != stored.ID || e.Sequence != 1 || string(stored.Payload.Body) != string(payload) || stored.ContentType != "application/json" {
			t.Fatalf("%+v", stored)
		}
		if e.Type != "a.b" || e.DedupeKey != "k" || e.OrderingKey != "o" || !e.OccurredAt.Equal(at.Truncate(time.Microsecond)) || e.SourceID != "src_api" || !e.ReceivedAt.Equal(now) {
			t.Fatalf("%+v", e)
		}
	})
	t.Run("answers a duplicate with the first event, within one call too", func(t *testing.T) {
		t.Parallel()
		store := newStore(apiSource(hub.BuiltInAPISlug))
		p := receive.Publication{Type: "a", Payload: payload, DedupeKey: "k"}
		got, err := newDoor(t, store).Publish(t.Context(), []receive.Publication{p, p})
		if err != nil || got[0].Duplicate || !got[1].Duplicate || got[1].Event.ID != got[0].Event.ID || len(store.all()) != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
	})
	t.Run("lets each answer for itself, and stores the rest at once and in order", func(t *testing.T) {
		t.Parallel()
		paused := apiSource("paused")
		paused.State = hub.SourcePaused
		store := newStore(apiSource(hub.BuiltInAPISlug), apiSource("other"), paused, open())
		got, err := newDoor(t, store).Publish(t.Context(), []receive.Publication{
			{Type: "one", Payload: payload},
			{Payload: payload},
			{Type: "a\nb", Payload: payload},
			{Type: "a"},
			{Type: "a", Payload: json.RawMessage(`{`)},
			{Type: "two", Payload: json.RawMessage(`null`), SourceID: "src_other"},
			{Type: "a", Payload: payload, SourceID: "src_open"},
			{Type: "a", Payload: payload, SourceID: "src_paused"},
			{Type: "a", Payload: payload, SourceID: "src_none"},
			{Type: "a", Payload: json.RawMessage(`"` + strings.Repeat("x", 1000) + `"`)},
			{Type: "a", Payload: payload, DedupeKey: strings.Repeat("k", 513), OrderingKey: "\x00"},
			{Type: "three", Payload: payload},
		})
		if err != nil || store.appends != 1 {
			t.Fatalf("%v, %d transactions", err, store.appends)
		}
		want := []string{"", "type REQUIRED", "type INVALID", "payload REQUIRED", "payload INVALID", "", "sourceId INVALID", "sourceId CONFLICT",
			"sourceId NOT_FOUND", "payload LIMIT_EXCEEDED", "dedupeKey INVALID orderingKey INVALID", ""}
		for i, p := range got {
			var found []string
			for _, e := range p.Errors {
				found = append(found, strings.Join(e.Field, ".")+" "+string(e.Code))
			}
			if strings.Join(found, " ") != want[i] || (p.Event == nil) != (len(p.Errors) > 0) {
				t.Errorf("publication %d: %q, want %q", i, found, want[i])
			}
		}
		events := store.all()
		if len(events) != 3 || events[0].Type != "one" || events[1].Type != "two" || events[1].SourceID != "src_other" || events[2].Type != "three" {
			t.Fatalf("stored %+v", events)
		}
	})
	t.Run("fills what is not given by the source's expressions", func(t *testing.T) {
		t.Parallel()
		source := apiSource(hub.BuiltInAPISlug)
		source.DedupeKey, source.OrderingKey = "body.id", "body.customer"
		store := newStore(source)
		got, err := newDoor(t, store).Publish(t.Context(), []receive.Publication{
			{Type: "a", Payload: json.RawMessage(`{"id":"1","customer":"c"}`), OrderingKey: "mine"},
			{Type: "a", Payload: json.RawMessage(`{}`)},
		})
		if err != nil || got[0].Event.DedupeKey != "1" || got[0].Event.OrderingKey != "mine" || len(got[1].Errors) != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
	})
	t.Run("fails as a whole where the store does", func(t *testing.T) {
		t.Parallel()
		store := newStore(apiSource(hub.BuiltInAPISlug))
		store.err = &hub.Error{Code: hub.CodeUnavailable, Message: "later"}
		if _, err := newDoor(t, store).Publish(t.Context(), []receive.Publication{{Type: "a", Payload: payload}}); hub.CodeOf(err) != hub.CodeUnavailable || !errors.Is(err, store.err) {
			t.Fatal(err)
		}
	})
	t.Run("takes no more than 500", func(t *testing.T) {
		t.Parallel()
		if _, err := newDoor(t, newStore()).Publish(t.Context(), make([]receive.Publication, 501)); hub.CodeOf(err) != hub.CodeBadUserInput {
			t.Fatal(err)
		}
	})
}
