package graph_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/hookgraph/hookgraph/graph"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

func TestAStreamShowsWhatAPartnerMaySeeNow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, f := range graph.Schema().Subscription.Fields {
		if !slices.Contains([]string{"eventStream", "deliveryUpdates", "deliveryStream", "statsUpdates"}, f.Name) {
			t.Errorf("the test does not know what a partner may see of %s: teach it", f.Name)
		}
	}
	partner := func(p *party) []string { return []string{"Authorization", "Bearer " + p.key} }
	share := func(eventTypes ...string) {
		t.Helper()
		w.ask(`mutation($in: UpdatePartnerInput!) { updatePartner(input: $in) { userErrors { message } } }`,
			"in", map[string]any{"id": w.a.id, "eventTypes": eventTypes}).into(t, &struct{}{})
	}
	everything := (&asker{t: t, schema: graph.Schema(), w: w}).everyField("EventStreamPayload", 4)

	_, live := w.events(t.Context(), t, `subscription { eventStream { `+strings.TrimPrefix(everything, "{")+` }`, partner(w.a)...)
	_, err := live()
	must(t, err) // from here it is live

	last := w.event(&hub.Event{Type: "direct", PartnerID: w.a.id}, "mine")
	_, stored := w.events(t.Context(), t, `subscription { eventStream(from: EARLIEST) `+everything+` }`, partner(w.a)...)
	told := until(t, stored, last)
	if leaked := w.leaks(told); len(leaked) > 0 || !strings.Contains(told, w.mine["evt"]) || !strings.Contains(told, "common") {
		t.Errorf("A was told %q, by %s", leaked, told)
	}
	until(t, live, last)

	t.Run("with any ID in the filter, and a cursor of another", func(t *testing.T) {
		_, others := w.events(t.Context(), t, `subscription { eventStream(from: EARLIEST, batchSize: 1) { cursor events { id } } }`, partner(w.b)...)
		first, err := others()
		must(t, err)
		ids, err := json.Marshal(append(slices.Clone(w.foreign[:min(90, len(w.foreign))]), w.mine["src"], w.a.id))
		must(t, err)
		for _, list := range []string{"sourceIds", "partnerIds"} {
			_, next := w.events(t.Context(), t, fmt.Sprintf(`subscription { eventStream(after: %q, filter: {%s: %s}) %s }`,
				first.id, list, ids, everything), partner(w.a)...)
			if leaked := w.leaks(until(t, next, last)); len(leaked) > 0 {
				t.Errorf("A was told %q", leaked)
			}
		}
	})
	t.Run("from the moment that sharing changes", func(t *testing.T) {
		share()
		w.event(&hub.Event{Type: "shared.late"}, mark)
		if leaked := w.leaks(until(t, live, w.event(&hub.Event{Type: "direct", PartnerID: w.a.id}, "mine"))); len(leaked) > 0 {
			t.Errorf("A was told %q", leaked)
		}
		share("new.*")
		until(t, live, w.event(&hub.Event{Type: "new.thing"}, "fresh"))
	})
}

func TestDeliveryUpdatesShowAPartnerItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	partner := []string{"Authorization", "Bearer " + w.a.key}
	everything := (&asker{t: t, schema: graph.Schema(), w: w}).everyField("DeliveryUpdatesPayload", 4)
	ids, err := json.Marshal(append(slices.Clone(w.foreign[:min(90, len(w.foreign))]), w.a.id, w.mine["end"], w.mine["sub"]))
	must(t, err)
	arguments := map[string]bool{"(from: EARLIEST)": true, "": true, "(from: EARLIEST, filter: {eventIds: " + string(ids) + "})": false}
	for list, own := range map[string]bool{"endpointIds": true, "subscriptionIds": true, "partnerIds": true} {
		arguments[fmt.Sprintf("(filter: {%s: %s})", list, ids)] = own
	}
	readers := make(map[string]func() (event, error))
	for given := range arguments {
		_, next := w.events(t.Context(), t, "subscription { deliveryUpdates"+given+" "+everything+" }", partner...)
		_, err := next() // from here it is live
		must(t, err)
		readers[given] = next
	}
	_, all := w.events(t.Context(), t, "subscription { deliveryUpdates "+everything+" }")
	_, err = all()
	must(t, err)

	w.busy()
	last := w.event(&hub.Event{Type: "direct", PartnerID: w.a.id}, "the last")
	if told := until(t, all, last); len(w.leaks(told)) == 0 { // or nothing was there to be seen
		t.Errorf("the operator was told %s", told)
	}
	for given, sees := range arguments {
		if !sees {
			continue
		}
		if leaked := w.leaks(until(t, readers[given], last)); len(leaked) > 0 {
			t.Errorf("with %s A was told %q", given, leaked)
		}
	}
}

func TestAPartnerPullsAndSettlesItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	everything := (&asker{t: t, schema: graph.Schema(), w: w}).everyField("DeliveryStreamPayload", 4)
	pull := func(p *party, endpointID string) func() (event, error) {
		_, next := w.events(t.Context(), t, fmt.Sprintf("subscription { deliveryStream(endpointId: %q) %s }", endpointID, everything),
			"Authorization", "Bearer "+p.key)
		return next
	}
	next := pull(w.a, w.a.endpoint.ID)
	first, err := next()
	must(t, err)
	if first.name != "next" || !strings.Contains(first.data, `"deliveries":[]`) {
		t.Fatalf("the stream began with %+v", first)
	}
	second, err := next()
	must(t, err)
	if leaked := w.leaks(second.data); len(leaked) > 0 || !strings.Contains(second.data, "body of "+w.mine["dlv"]) {
		t.Errorf("A was told %q by %s", leaked, second.data)
	}

	refused := func(endpointID string) string {
		t.Helper()
		told, err := pull(w.a, endpointID)()
		must(t, err)
		if !strings.Contains(told.data, `"NOT_FOUND"`) {
			t.Errorf("of %s A was told %s", endpointID, told.data)
		}
		return strings.ReplaceAll(told.data, endpointID, "ID")
	}
	nobodys := refused(hub.NewID(hub.EndpointPrefix, now()))
	for _, id := range w.foreign {
		if hub.IDPrefix(id) != hub.EndpointPrefix {
			continue
		}
		if got := refused(id); got != nobodys {
			t.Errorf("of another's endpoint A was told %s, and of one that does not exist %s", got, nobodys)
		}
	}

	// With tokens that fit, one of each: only its own is settled.
	var input []map[string]any
	for _, id := range append(slices.Clone(w.foreign), w.mine["dlv"]) {
		if hub.IDPrefix(id) == hub.DeliveryPrefix {
			input = append(input, map[string]any{"deliveryId": id, "leaseToken": leaseToken, "outcome": "ACKNOWLEDGE"})
		}
	}
	var got struct {
		SettleDeliveries []struct {
			Delivery   *struct{ ID string }
			UserErrors []struct{ Code string }
		}
	}
	w.askAs(w.a.key, `mutation($in: [SettleDeliveryInput!]!) { settleDeliveries(input: $in) { delivery { id } userErrors { code } } }`, "in", input).into(t, &got)
	last := len(got.SettleDeliveries) - 1
	if last < 2 || len(input) != last+1 {
		t.Fatalf("%d were answered by %+v", len(input), got)
	}
	for i, one := range got.SettleDeliveries {
		own := one.Delivery != nil && one.Delivery.ID == w.mine["dlv"] && len(one.UserErrors) == 0
		others := one.Delivery == nil && len(one.UserErrors) == 1 && one.UserErrors[0].Code == "NOT_FOUND"
		if i == last && !own || i < last && !others {
			t.Errorf("of %s A was told %+v", input[i]["deliveryId"], one)
		}
	}
}

func TestStatisticsShowAPartnerItsOwn(t *testing.T) {
	t.Parallel()
	hour := time.Now().UTC().Truncate(time.Hour)
	w := newWorld(t)
	s := &asker{t: t, schema: graph.Schema(), w: w}
	fields := s.everyField("StatsBucket", 0)
	between := func(since, until, key, filter string) (all hub.StatsBucket) {
		t.Helper()
		var got struct{ Stats []hub.StatsBucket }
		w.askAs(key, fmt.Sprintf("{ stats(since: %q, until: %q, bucket: %q, filter: %s) %s }", since, until, span.bucket, filter, fields)).into(t, &got)
		for _, one := range got.Stats {
			all.Received += one.Received
			all.Rejected += one.Rejected
			all.DeliveriesCreated += one.DeliveriesCreated
			all.Attempts += one.Attempts
			all.Dead += one.Dead
		}
		return all
	}
	counts := func(key, filter string) hub.StatsBucket {
		t.Helper()
		return between(span.since, span.until, key, filter)
	}
	var lists struct {
		Deliveries struct{ TotalCount int }
		Events     struct{ TotalCount int }
	}
	w.askAs(w.a.key, `query($id: [ID!]!) { deliveries { totalCount } events(filter: {partnerIds: $id}) { totalCount } }`, "id", []string{w.a.id}).into(t, &lists)
	own := counts(w.a.key, "{}")
	if own.Received != lists.Events.TotalCount || own.DeliveriesCreated != lists.Deliveries.TotalCount || own.Rejected != 0 || own.Attempts == 0 || own.Dead != own.Attempts {
		t.Errorf("A is told %+v and sees %+v", own, lists)
	}
	if as := counts(operatorKey, fmt.Sprintf("{partnerIds: [%q]}", w.a.id)); as != own {
		t.Errorf("of A the operator is told %+v and A %+v", as, own)
	}
	if all := counts(operatorKey, "{}"); all.Received <= own.Received || all.Attempts <= own.Attempts || all.Rejected == 0 {
		t.Errorf("the operator is told %+v of all", all)
	}
	for _, filter := range []string{
		fmt.Sprintf("{endpointIds: [%q]}", w.b.endpoint.ID), fmt.Sprintf("{subscriptionIds: [%q]}", w.operator.subscription.ID),
		fmt.Sprintf("{partnerIds: [%q]}", w.b.id), fmt.Sprintf("{sourceIds: [%q]}", w.source.ID), `{partnerIds: [""]}`,
	} {
		if got := counts(w.a.key, filter); got != (hub.StatsBucket{}) {
			t.Errorf("by %s A is told %+v", filter, got)
		}
		if filter != `{partnerIds: [""]}` && counts(operatorKey, filter) == (hub.StatsBucket{}) {
			t.Errorf("by %s there is nothing to be told", filter)
		}
	}

	// The same question of several is answered to each with the eyes of its own.
	live := "subscription { statsUpdates(interval: \"PT1S\", bucket: \"PT1H\") " + fields + " }"
	seen := make(map[string]hub.StatsBucket)
	for range 2 {
		for _, key := range []string{operatorKey, w.a.key, w.b.key} {
			_, next := w.events(t.Context(), t, live, "Authorization", "Bearer "+key)
			e, err := next()
			must(t, err)
			var got struct {
				Data struct{ StatsUpdates hub.StatsBucket }
			}
			must(t, json.Unmarshal([]byte(e.data), &got))
			newest := got.Data.StatsUpdates
			since, until := newest.Start.UTC().Format(time.RFC3339), newest.Start.UTC().Add(time.Hour).Format(time.RFC3339)
			if of := between(since, until, key, "{}"); newest.Received != of.Received || newest.Attempts != of.Attempts || newest.Rejected != of.Rejected {
				t.Errorf("live it is %+v, and asked for %+v", newest, of)
			}
			seen[key] = newest
		}
		a, b, all := seen[w.a.key], seen[w.b.key], seen[operatorKey]
		if !a.Start.Equal(hour) || !b.Start.Equal(hour) || !all.Start.Equal(hour) {
			break // the hour of what has happened is over, and what is live is another
		}
		if a.Received != own.Received || a.Attempts != own.Attempts || a.Rejected != 0 ||
			b.Received == a.Received || all.Received <= a.Received+b.Received || all.Rejected == 0 {
			t.Errorf("live A is told %+v, B %+v and the operator %+v", a, b, all)
		}
	}
}

// What is made of events for a partner, tried out by it or sent to it, is made with its
// own eyes.
func TestTransformsShowAPartnerItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := &asker{t: t, schema: graph.Schema(), w: w}
	shaper := w.shaper()
	var transforms []*hub.Transform
	for _, f := range s.schema.Types["Event"].Fields {
		if strings.HasPrefix(f.Name, "__") || hidden(f) {
			continue
		}
		made := 0
		for depth := range 4 { // as deep as the limits of a selection let it
			selection := "{ " + f.Name
			if kind := s.schema.Types[f.Type.Name()].Kind; kind != ast.Scalar && kind != ast.Enum {
				selection += " " + s.everyField(f.Type.Name(), depth)
			} else if depth > 0 {
				break
			}
			transform := shapedBy(hub.TransformGraphQL, strings.ReplaceAll(selection, "deliveries {", "deliveries(first: 1) {")+" }")
			if shaper.CheckTransform(w.a.id, transform) == nil {
				transforms = append(transforms, transform)
				made++
			}
		}
		if made == 0 {
			t.Errorf("no selection of Event.%s is within the limits", f.Name)
		}
	}
	transforms = append(transforms, shapes(w.a), shapedBy(hub.TransformCEL, `{"type": event.type, "source": event.source, "headers": headers, "body": body}`))
	own, err := w.store.For(hub.PartnerSight(w.a.id)).Events(t.Context(), store.EventQuery{Page: hub.Page{Size: 100}})
	must(t, err)
	if len(own.Items) < 2 {
		t.Fatalf("A sees %d events", len(own.Items))
	}
	ids := slices.DeleteFunc(slices.Clone(w.foreign), func(id string) bool { return hub.IDPrefix(id) != "evt" })
	foreign, err := w.store.EventsByID(t.Context(), ids)
	must(t, err)
	whole := func(ev *hub.Event) *hub.Event {
		payloads, err := w.store.Payloads(t.Context(), []string{ev.ID})
		must(t, err)
		out := *ev
		out.Payload = payloads[ev.ID]
		return &out
	}
	for _, transform := range transforms {
		for _, ev := range own.Items {
			body, err := shaper.Shape(t.Context(), w.a.id, transform, whole(ev))
			must(t, err)
			if leaked := w.leaks(string(body.Bytes)); len(leaked) > 0 {
				t.Errorf("by %s A is sent %q", transform.Expression, leaked)
			}
		}
		if transform.Kind == hub.TransformGraphQL { // CEL has nothing but the event that is sent
			for _, ev := range foreign {
				if body, err := shaper.Shape(t.Context(), w.a.id, transform, whole(ev)); err == nil || len(w.leaks(err.Error(), ev.ID)) > 0 {
					t.Errorf("by %s A is sent %s %v", transform.Expression, body.Bytes, err)
				}
			}
		}
		for _, input := range []map[string]any{{"last": 100}, {"eventIds": append(slices.Clone(ids), w.mine["evt"])}} {
			input["transform"] = map[string]any{"kind": transform.Kind, "expression": transform.Expression}
			answer := w.askAs(w.a.key, `mutation($in: PreviewSubscriptionInput!) { previewSubscription(input: $in) {
				results { event { id } matched reason body error } userErrors { message } } }`, "in", input)
			if leaked := w.leaks(answer.Raw); len(leaked) > 0 || !strings.Contains(answer.Raw, `"matched":true`) || strings.Contains(answer.Raw, `"body":null`) {
				t.Errorf("trying %s out A is told %q by %s", transform.Expression, leaked, answer.Raw)
			}
		}
	}

	// What A is told of a transform does not depend on whose an endpoint is.
	said := make(map[string]bool)
	for _, id := range []string{w.b.endpoint.ID, w.operator.endpoint.ID, hub.NewID(hub.EndpointPrefix, now())} {
		answer := w.askAs(w.a.key, `mutation($id: ID!) { createSubscription(input: {name: "n", endpointId: $id, transform: {kind: GRAPHQL, expression: "{ source { createdAt } }"}}) {
			subscription { id } userErrors { field message code } } }`, "id", id)
		said[strings.ReplaceAll(told(answer), id, "ID")] = true
	}
	if len(said) != 1 {
		t.Errorf("A is told %v", said)
	}
}
