package catalogue_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/catalogue"
	"github.com/hookgraph/hookgraph/internal/hub"
)

func TestTypesAreLearnedFromTheLog(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(b *bundle) {
		b.event(b.source, "order.paid", `{"id": 7, "note": "CANARY"}`)
		b.look()
		one, seen := b.typed("order.paid")
		if one == nil || one.Described || !one.Common || seen.EventCount != 1 || seen.SampleCount != 1 || !seen.LastSeenAt.Equal(b.clock.Now()) ||
			len(seen.SourceIDs) != 1 || seen.SourceIDs[0] != b.source.ID {
			b.t.Fatalf("after one event: %+v, %+v", one, seen)
		}
		if text := b.schema("order.paid"); !strings.Contains(text, `"integer"`) || strings.Contains(text, "CANARY") {
			b.t.Fatalf("learned %s", text)
		}
		other := b.newSource("other")
		b.events(other, "order.paid", []string{`{"id": "a"}`, `not JSON`})
		b.events(b.source, "order.paid", bodies(3, `{"id": N, "note": "n"}`))
		b.events(b.source, "order.sent", bodies(2, `{"id": N}`), func(ev *hub.Event) { ev.PartnerID = "prt_one" })
		b.clock.Advance(time.Second)
		b.look()
		if _, seen = b.typed("order.paid"); seen.EventCount != 6 || seen.SampleCount != 5 || len(seen.SourceIDs) != 2 {
			b.t.Fatalf("counted %+v", seen)
		}
		if sent, seen := b.typed("order.sent"); sent.Common || seen.EventCount != 2 {
			b.t.Fatalf("of what is addressed to one partner: %+v, %+v", sent, seen)
		}
		var schema struct {
			Required   []string
			Properties map[string]struct{ Type any }
		}
		must(b.t, json.Unmarshal([]byte(b.schema("order.paid")), &schema))
		if len(schema.Required) != 1 || schema.Required[0] != "id" || fmt.Sprint(schema.Properties["id"].Type) != "[string integer]" {
			b.t.Fatalf("two sources taught %+v", schema)
		}

		must(b.t, b.store.DeleteSource(b.t.Context(), b.source.ID))
		if _, seen = b.typed("order.paid"); seen.EventCount != 2 || len(seen.SourceIDs) != 1 {
			b.t.Fatalf("after a source was deleted: %+v", seen)
		}
		if sent, _ := b.typed("order.sent"); sent != nil {
			b.t.Fatal("a type stays of which nothing is left")
		}
		b.clock.Advance(time.Second)
		b.look()
	})
}

func TestAPartnerSeesTypesThatAreSharedAndNotThoseOfOthers(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(b *bundle) {
		partner := &hub.Partner{ID: hub.NewID(hub.PartnerPrefix, b.clock.Now()), Name: "P", EventTypes: []string{"order.*"}}
		must(b.t, b.store.CreatePartner(b.t.Context(), partner))
		b.event(b.source, "order.paid", `{"id": 7}`)
		b.event(b.source, "user.created", `{"id": 7}`)
		b.event(b.source, "order.theirs", `{"id": 7}`, func(ev *hub.Event) { ev.PartnerID = "prt_other" })
		b.look()
		view := b.store.For(hub.PartnerSight(partner.ID))
		seen := func(f hub.EventTypeFilter) (names string) {
			b.t.Helper()
			found, err := view.EventTypes(b.t.Context(), f, hub.Page{Size: 10})
			must(b.t, err)
			count, err := view.CountEventTypes(b.t.Context(), f)
			must(b.t, err)
			if count != len(found.Items) {
				b.t.Fatalf("%d are counted, %d are listed", count, len(found.Items))
			}
			for _, one := range found.Items {
				names += one.Name + " "
			}
			return names
		}
		if names := seen(hub.EventTypeFilter{}); names != "order.paid " {
			b.t.Fatalf("it sees %s", names)
		}
		if names := seen(hub.EventTypeFilter{SourceIDs: []string{b.source.ID}}); names != "" {
			b.t.Fatalf("by the source it sees %s", names)
		}
		paid, _ := b.typed("order.paid")
		theirs, _ := b.typed("order.theirs")
		shapes, err := view.ShapesOf(b.t.Context(), []string{paid.ID, theirs.ID})
		must(b.t, err)
		counts, err := view.SightingsOf(b.t.Context(), []string{paid.ID, theirs.ID})
		must(b.t, err)
		if len(shapes) != 0 || len(counts) != 1 || counts[paid.ID] == nil || counts[paid.ID].EventCount != 1 || counts[paid.ID].SourceIDs != nil {
			b.t.Fatalf("it sees the shapes %v and the counts %v of %s", shapes, counts, paid.ID)
		}
		_, err = view.PutEventType(b.t.Context(), "order.paid", func(*hub.EventType, []*hub.EventType) error { return nil })
		if hub.CodeOf(err) != hub.CodeForbidden {
			b.t.Fatalf("describing one is %v", err)
		}
		must(b.t, errOf(b.store.PutEventType(b.t.Context(), "order.theirs", func(*hub.EventType, []*hub.EventType) error { return nil })))
		if names := seen(hub.EventTypeFilter{NameContains: "THEIRS"}); names != "order.theirs " {
			b.t.Fatalf("once it is described it sees %s", names)
		}
	})
}

func errOf[T any](_ T, err error) error { return err }

func TestCountsAreExactAcrossKeepers(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(b *bundle) {
		total := 0
		for round := range 4 {
			n := 300 + round
			b.events(b.source, "order.paid", bodies(n, `{"id": N}`))
			total += n
			b.look()
			rival := b.newKeeper()
			must(b.t, rival.Look(b.t.Context())) // has no lease, so does nothing
			if _, seen := b.typed("order.paid"); seen.EventCount != total {
				b.t.Fatalf("%d events are counted as %d", total, seen.EventCount)
			}
			if round%2 == 0 {
				b.keeper.Free(b.t.Context())
				b.keeper = rival
			} else { // it dies with its lease
				b.keeper = b.newKeeper()
				b.clock.Advance(31 * time.Second)
			}
			b.clock.Advance(6 * time.Second)
		}
		b.look()
		b.look()
		if _, seen := b.typed("order.paid"); seen.EventCount != total {
			b.t.Fatalf("%d events are counted as %d", total, seen.EventCount)
		}
	})
}

func TestWhoHasLostTheLeaseStoresNothing(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(b *bundle) {
		b.look()
		rival := b.newKeeper()
		b.clock.Advance(31 * time.Second)
		must(b.t, rival.Look(b.t.Context()))
		b.clock.Advance(-25 * time.Second) // whose clock is behind still believes to have it
		b.event(b.source, "order.paid", `{}`)
		b.look()
		if one, _ := b.typed("order.paid"); one != nil {
			b.t.Fatal("it has stored something")
		}
		must(b.t, rival.Look(b.t.Context()))
		if _, seen := b.typed("order.paid"); seen.EventCount != 1 {
			b.t.Fatalf("counted %d", seen.EventCount)
		}
	})
}

func TestALongLogIsCountedWholeAndSampled(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(b *bundle) {
		const many = 6000
		for range many / 500 {
			b.events(b.source, "many", bodies(500, `{"n": N}`))
		}
		b.event(b.source, "rare", `{"rare": true}`)
		b.look()
		_, seen := b.typed("many")
		if seen.EventCount != many || seen.SampleCount < catalogue.Samples/2 || seen.SampleCount > 3*catalogue.Samples {
			b.t.Fatalf("of %d events: %+v", many, seen)
		}
		if _, seen := b.typed("rare"); seen.EventCount != 1 || seen.SampleCount != 1 {
			b.t.Fatalf("of the one: %+v", seen)
		}
	})
}

func TestTypesThatAnAttackerChoosesAreBounded(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(b *bundle) {
		const surplus = 37
		var list []*hub.Event
		for i := range hub.MaxTypesPerSource + surplus {
			list = append(list, &hub.Event{
				ID: hub.NewID(hub.EventPrefix, b.clock.Now()), SourceID: b.source.ID, Type: fmt.Sprintf("type.%d", i), ReceivedAt: b.clock.Now(),
				Payload: &hub.Payload{Body: []byte(`{}`)},
			})
		}
		_, err := b.store.Append(b.t.Context(), list)
		must(b.t, err)
		b.look()
		count, err := b.store.CountEventTypes(b.t.Context(), hub.EventTypeFilter{})
		must(b.t, err)
		if beyond := b.watched().Uncatalogued; count != hub.MaxTypesPerSource || beyond != surplus {
			b.t.Fatalf("%d types are catalogued, %d events are not", count, beyond)
		}
		b.event(b.source, "type.1036", `{}`)
		b.event(b.source, "type.3", `{}`)
		b.clock.Advance(time.Second)
		b.look()
		if _, seen := b.typed("type.3"); seen.EventCount != 2 || b.watched().Uncatalogued != surplus+1 {
			b.t.Fatalf("then %+v, and %d are not", seen, b.watched().Uncatalogued)
		}
	})
}

func TestDriftIsToldOnceAnHour(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(b *bundle) {
		b.events(b.source, "order.paid", append(bodies(catalogue.DriftsAfter-2, `{"id": N}`), `{"id": 1, "early": 1}`, `{"id": 2}`))
		b.look()
		b.quiet(hub.SourceDriftType) // everything is new at first
		b.event(b.source, "order.paid", `{"id": "CANARY", "late": 1}`)
		b.pass(10*time.Second, time.Second)
		facts := b.told(hub.SourceDriftType)
		if len(facts) != 1 || facts[0].EventType != "order.paid" || facts[0].SourceID != b.source.ID || facts[0].GivenSchema {
			b.t.Fatalf("told %+v", facts)
		}
		text := fmt.Sprint(facts[0].Changes)
		if !strings.Contains(text, "/id") || !strings.Contains(text, "/late") || strings.Contains(text, "CANARY") {
			b.t.Fatalf("told of %s", text)
		}
		if _, seen := b.typed("order.paid"); seen.DriftedAt.IsZero() {
			b.t.Fatal("the type says nothing of it")
		}
		b.event(b.source, "order.paid", `{"id": 1, "second": 1}`)
		b.event(b.source, "order.paid", `{"id": 1, "third": 1}`)
		b.pass(50*time.Minute, 5*time.Minute)
		b.quiet(hub.SourceDriftType)
		b.pass(20*time.Minute, 5*time.Minute)
		facts = b.told(hub.SourceDriftType)
		if text := fmt.Sprint(facts); len(facts) != 1 || !strings.Contains(text, "/second") || !strings.Contains(text, "/third") || strings.Contains(text, "/late") {
			b.t.Fatalf("an hour later it told %s", text)
		}
		b.event(b.source, "order.paid", `{"id": 3, "third": 5}`) // of a shape that is known
		b.pass(2*time.Hour, time.Hour)
		b.quiet(hub.SourceDriftType)
	})
}

func TestDriftFromAGivenSchemaIsWhatDoesNotFitIt(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(b *bundle) {
		_, err := b.store.PutEventType(b.t.Context(), "order.paid", func(one *hub.EventType, _ []*hub.EventType) error {
			one.Schema = json.RawMessage(`{"properties": {"id": {"type": "integer"}}}`)
			return nil
		})
		must(b.t, err)
		b.events(b.source, "order.paid", []string{`{"id": 1, "more": true}`})
		b.pass(10*time.Second, time.Second)
		b.quiet(hub.SourceDriftType)
		b.event(b.source, "order.paid", `{"id": "x"}`) // the second one of all
		b.pass(10*time.Second, time.Second)
		facts := b.told(hub.SourceDriftType)
		if len(facts) != 1 || !facts[0].GivenSchema || facts[0].Changes[0].Path != "/id" || facts[0].Changes[0].Kind != catalogue.MismatchKind {
			b.t.Fatalf("told %+v", facts)
		}
	})
}

func TestWhatIsKnownIsJudgedAnewByEachGivenSchema(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(b *bundle) {
		give := func(schema string) {
			b.t.Helper()
			_, err := b.store.PutEventType(b.t.Context(), "order.paid", func(one *hub.EventType, _ []*hub.EventType) error {
				one.Schema = json.RawMessage(schema)
				return nil
			})
			must(b.t, err)
		}
		mismatch := func(when, path string) {
			b.t.Helper()
			b.event(b.source, "order.paid", `{"id": "y"}`)
			b.pass(2*time.Hour, time.Hour)
			facts := b.told(hub.SourceDriftType)
			if len(facts) != 1 || len(facts[0].Changes) != 1 || facts[0].Changes[0].Path != path || facts[0].Changes[0].Kind != catalogue.MismatchKind {
				b.t.Fatalf("%s: told %+v", when, facts)
			}
			b.event(b.source, "order.paid", `{"id": "z"}`)
			b.pass(2*time.Hour, time.Hour)
			b.quiet(hub.SourceDriftType)
		}
		b.events(b.source, "order.paid", bodies(2*catalogue.DriftsAfter, `{"id": "xN"}`))
		b.look()
		b.quiet(hub.SourceDriftType)
		give(`{"properties": {"id": {"type": "integer"}}}`)
		mismatch("the first schema", "/id")
		give(`{"properties": {"id": {"type": "boolean"}}}`)
		mismatch("another one", "/id")
	})
}

func TestTheHubsOwnEventsDoNotDrift(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(b *bundle) {
		own := &hub.Source{ID: hub.BuiltInHubID, Name: "Hookgraph", Slug: hub.BuiltInHubSlug, Kind: hub.SourceAPI, State: hub.SourceActive, MaxBodyBytes: 1, SilentAfter: time.Minute}
		must(b.t, b.store.CreateSource(b.t.Context(), own))
		b.events(own, hub.SourceDriftType, bodies(2*catalogue.DriftsAfter, `{"n": N}`))
		b.look()
		b.event(own, hub.SourceDriftType, `{"m": 1}`)
		b.pass(10*time.Minute, time.Minute)
		b.quiet(hub.SourceDriftType, hub.SourceSilentType)
		if _, seen := b.typed(hub.SourceDriftType); seen.EventCount != 2*catalogue.DriftsAfter+1 {
			b.t.Fatalf("seen %+v", seen)
		}
	})
}

func TestCapturedRequestsTeachAndDoNotCount(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(b *bundle) {
		capture := func(body string) {
			must(b.t, b.store.Reject(b.t.Context(), &hub.Rejection{
				ID: hub.NewID(hub.RejectionPrefix, b.clock.Now()), SourceID: b.source.ID, Reason: hub.RejectedCaptured, Method: "POST",
				Body: []byte(body), ReceivedAt: b.clock.Now(),
			}))
		}
		capture(`{"id": 1}`)
		b.look()
		one, seen := b.typed("captured")
		if one == nil || one.Common || seen.EventCount != 0 || seen.SampleCount != 1 || !seen.LastSeenAt.IsZero() || !strings.Contains(b.schema("captured"), `"id"`) {
			b.t.Fatalf("learned %+v, %+v", one, seen)
		}
		b.keeper = b.newKeeper() // a restart
		b.clock.Advance(time.Minute)
		capture(`{"id": 2, "more": true}`)
		b.look()
		if _, seen := b.typed("captured"); seen.SampleCount != 2 || !strings.Contains(b.schema("captured"), `"more"`) {
			b.t.Fatalf("then %+v, %s", seen, b.schema("captured"))
		}
	})
}
