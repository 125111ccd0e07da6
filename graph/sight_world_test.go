package graph_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/graph"
	"github.com/hookgraph/hookgraph/graph/gate"
	"github.com/hookgraph/hookgraph/internal/auth"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// mark is in every text of what partner A must not see.
const mark = "MARKED"

// party is one who owns things: partner A, partner B or the operator.
type party struct {
	name         string
	id           string // of the partner; "" for the operator
	key          string
	endpoint     *hub.Endpoint
	subscription *hub.Subscription
}

// world is a hub in which partner A, partner B and the operator have one of everything.
type world struct {
	*bundle
	a, b, operator *party
	source         *hub.Source // the operator's, of which A sees no event
	foreign        []string    // the IDs of B and of the operator
	once           string      // the one of these that A was sent while it was shared
	mine           map[string]string
}

// newWorld makes it. Whatever is not A's to see carries the mark.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{mine: make(map[string]string)}
	w.bundle = setup(t, func(cfg *graph.Config) {
		limits := gate.DefaultLimits() // the questions below are large
		limits.Tokens, limits.Depth, limits.Aliases, limits.Fragments = 1<<20, 40, 1<<20, 1<<10
		limits.SameField, limits.Nodes, limits.Cost = 1<<20, 1<<20, 1<<20
		cfg.Limits = limits
		cfg.Points = gate.PointsConfig{Maximum: 1 << 30, RestoreRate: 1 << 30}
	})
	ctx := t.Context()
	w.source = &hub.Source{
		ID: hub.NewID(hub.SourcePrefix, now()), Name: mark + " source", Slug: strings.ToLower(mark) + "-source",
		Kind: hub.SourceWebhook, State: hub.SourceActive, AllowUnverified: true, Secrets: []hub.Secret{mark + " secret"},
		MaxBodyBytes: 1000, CreatedAt: now(), UpdatedAt: now(),
	}
	must(t, w.store.CreateSource(ctx, w.source))
	w.a, w.b, w.operator = w.party("A", "shared.*", "once.shared"), w.party("B", "shared.*", "only.b"), w.party("O")
	w.note(w.source.ID, w.operator.endpoint.ID, w.operator.subscription.ID, w.b.id, w.b.endpoint.ID, w.b.subscription.ID)

	w.mine["prt"], w.mine["end"], w.mine["sub"] = w.a.id, w.a.endpoint.ID, w.a.subscription.ID
	w.mine["src"] = w.store.Configuration().SourcesBySlug[hub.BuiltInAPISlug].ID
	w.once = w.event(&hub.Event{Type: "once.shared"}, mark)
	w.mine["evt"] = w.event(&hub.Event{Type: "direct", PartnerID: w.a.id}, "mine")
	w.event(&hub.Event{Type: "shared.thing"}, "common")
	w.busy()
	for _, p := range []*party{w.a, w.b, w.operator} {
		probe := &hub.Attempt{
			ID: hub.NewID(hub.AttemptPrefix, now()), DeliveryID: hub.NewID(hub.MessagePrefix, now()), EndpointID: p.endpoint.ID, Number: 1, StartedAt: now(), Outcome: hub.AttemptSucceeded,
			StatusCode: 200, RequestURL: p.endpoint.URL, RequestBody: []byte(w.text(p, "probe")), ResponseBody: []byte(w.text(p, "echo")),
		}
		must(t, w.store.RecordAttempt(ctx, probe))
		if p == w.a {
			w.mine["probe"] = probe.ID
		} else {
			w.note(probe.ID)
		}
	}

	w.mine["ety"] = w.described("shared.thing", "thing for all")
	w.described("only.b", mark)
	w.described("private", mark)

	// What was shared and delivered is shared no more.
	_, err := w.store.UpdatePartner(ctx, w.a.id, func(p *hub.Partner) error {
		p.EventTypes = []string{"shared.*"}
		return nil
	})
	must(t, err)

	// A subscription of A's that was another's, whose deliveries stay with that one.
	moved := w.wired(w.b, "first place")
	w.event(&hub.Event{Type: "direct", PartnerID: w.b.id}, mark)
	for _, sub := range w.store.Configuration().Ordered {
		if sub.EndpointID == moved.ID {
			_, err := w.store.UpdateSubscription(ctx, sub.ID, func(sub *hub.Subscription) error {
				sub.Name, sub.EndpointID, sub.Filter = "moved", w.a.endpoint.ID, ""
				return nil
			})
			must(t, err)
		}
	}
	w.note(moved.ID)

	// Deliveries that outlive their endpoint.
	gone := w.wired(w.b, "gone")
	w.event(&hub.Event{Type: "direct", PartnerID: w.b.id}, mark)
	w.note(gone.ID)
	must(t, w.store.DeleteEndpoint(ctx, gone.ID))
	w.gather()
	return w
}

// described puts a type into the catalogue, with a text in all that people say of it.
func (w *world) described(name, text string) string {
	w.t.Helper()
	one, err := w.store.PutEventType(w.t.Context(), name, func(one *hub.EventType, _ []*hub.EventType) error {
		one.Description = text
		one.Schema = fmt.Appendf(nil, `{"properties": {%q: true}}`, text)
		one.Example = fmt.Appendf(nil, `{%q: 1}`, text)
		return nil
	})
	must(w.t, err)
	if text == mark {
		w.note(one.ID)
	}
	return one.ID
}

// note adds IDs to what A must not see.
func (w *world) note(ids ...string) { w.foreign = append(w.foreign, ids...) }

// party makes a partner, or with the name O the operator's part, with an endpoint, a
// subscription to everything and a key.
func (w *world) party(name string, eventTypes ...string) *party {
	w.t.Helper()
	p := &party{name: name}
	role := hub.RoleOperator
	if name != "O" {
		role = hub.RolePartner
		p.id = hub.NewID(hub.PartnerPrefix, now())
		must(w.t, w.store.CreatePartner(w.t.Context(), &hub.Partner{
			ID: p.id, Name: w.text(p, "partner"), EventTypes: eventTypes, CreatedAt: now(), UpdatedAt: now(),
		}))
	}
	key, text := auth.NewKey(w.text(p, "key"), role, role.DefaultScopes(), time.Time{}, now())
	key.PartnerID, key.LastUsedAt = p.id, now()
	must(w.t, w.store.CreateAPIKey(w.t.Context(), key))
	p.key = text
	if name != "A" {
		w.note(key.ID)
	}
	p.endpoint = w.wired(p, "endpoint")
	for _, sub := range w.store.Configuration().Ordered {
		if sub.EndpointID == p.endpoint.ID {
			p.subscription = sub
		}
	}
	return p
}

// text is a text that a party gives to something.
func (w *world) text(p *party, of string) string {
	if p.name == "A" {
		return "own " + of
	}
	return mark + " " + of + " of " + p.name
}

// shapes are the transforms of the parties: A and the operator select what leads to the
// things of all, B builds a body.
func shapes(p *party) *hub.Transform {
	if p.name == "B" {
		return &hub.Transform{Kind: hub.TransformCEL, Expression: `{"type": event.type, "headers": headers, "body": body}`}
	}
	return &hub.Transform{Kind: hub.TransformGraphQL, Expression: `{ type partner { name } source { slug name }
		deliveries(first: 1) { totalCount nodes { reason endpoint { name } subscription { name filter } attempts(first: 1) { nodes { error requestBody responseBody } } } }
		trace { outcome detail subscription { name } } }`}
}

// wired makes an endpoint of a party with a subscription to everything.
func (w *world) wired(p *party, name string) *hub.Endpoint {
	w.t.Helper()
	e := &hub.Endpoint{
		ID: hub.NewID(hub.EndpointPrefix, now()), PartnerID: p.id, Name: w.text(p, name), Kind: hub.EndpointHTTP,
		URL: "https://example.com/" + strings.ReplaceAll(w.text(p, name), " ", "-"), State: hub.EndpointActive,
		Headers: []hub.Header{{Name: "X-Team", Value: w.text(p, "header")}},
		Timeout: time.Second, MaxConcurrency: 1, Signing: hub.SigningStandardV1,
		SigningSecrets: []hub.SigningSecret{{ID: hub.NewID(hub.SecretPrefix, now()), Secret: hub.Secret(w.text(p, "secret")), CreatedAt: now()}},
		RetryPolicy:    hub.RetryPolicy{Schedule: hub.DefaultSchedule, Jitter: hub.DefaultJitter}, CreatedAt: now(), UpdatedAt: now(),
	}
	must(w.t, w.store.CreateEndpoint(w.t.Context(), e))
	if p.name != "A" {
		w.note(e.SigningSecrets[0].ID)
	}
	s := &hub.Subscription{
		ID: hub.NewID(hub.SubscriptionPrefix, now()), Name: w.text(p, "subscription"), EndpointID: e.ID, State: hub.SubscriptionActive,
		EventTypes: []string{"*"}, Filter: fmt.Sprintf("event.type != %q", w.text(p, "filter")), Transform: shapes(p), CreatedAt: now(), UpdatedAt: now(),
	}
	must(w.t, w.store.CreateSubscription(w.t.Context(), s))
	return e
}

// event stores an event of the built-in source, unless it says otherwise.
func (w *world) event(ev *hub.Event, text string) string {
	w.t.Helper()
	ev.ID, ev.ReceivedAt, ev.ContentType = hub.NewID(hub.EventPrefix, now()), now(), "application/json"
	ev.SourceID = cmp.Or(ev.SourceID, w.store.Configuration().SourcesBySlug[hub.BuiltInAPISlug].ID)
	if text == mark {
		ev.DedupeKey, ev.OrderingKey = mark+ev.ID, mark+" order"
		w.note(ev.ID)
	}
	ev.Payload = &hub.Payload{Body: fmt.Appendf(nil, `{"text":%q}`, text), Headers: []hub.Header{{Name: "X-Text", Value: text}}}
	_, err := w.store.Append(w.t.Context(), []*hub.Event{ev})
	must(w.t, err)
	return ev.ID
}

// busy has the operator and partner B do things that are no business of A's, and
// attempts every delivery but the newest of each endpoint.
func (w *world) busy() {
	w.t.Helper()
	w.event(&hub.Event{Type: "direct", PartnerID: w.b.id}, mark)
	w.event(&hub.Event{Type: "only.b"}, mark)
	w.event(&hub.Event{Type: "private", SourceID: w.source.ID}, mark)
	must(w.t, w.store.Reject(w.t.Context(), &hub.Rejection{
		ID: hub.NewID(hub.RejectionPrefix, now()), SourceID: w.source.ID, Reason: hub.RejectedMethod, Detail: mark, Method: "PUT",
		Headers: []hub.Header{{Name: "X-Text", Value: mark}}, Body: []byte(mark), ReceivedAt: now(),
	}))
	shaper := w.shaper()
	for _, p := range []*party{w.a, w.b, w.operator} {
		leases, err := w.store.Claim(w.t.Context(), []hub.Want{{EndpointID: p.endpoint.ID, Limit: 4, Lease: time.Hour}})
		must(w.t, err)
		if len(leases) > 1 { // one of them is left waiting
			leases = leases[:len(leases)-1]
		}
		for _, lease := range leases {
			d := lease.Delivery
			if d.BodyForm != hub.BodyUnshaped {
				w.t.Fatalf("the delivery has the form %q", d.BodyForm)
			}
			body, err := shaper.Shape(w.t.Context(), d.PartnerID, shapes(p), lease.Event)
			must(w.t, err)
			must(w.t, w.store.KeepBody(w.t.Context(), lease, body))
			d.BodyForm = hub.BodyShaped
			d.Status, d.Reason, d.NextAttemptAt, d.CompletedAt = hub.DeliveryDead, w.text(p, "reason"), time.Time{}, now()
			w.store.Settle(hub.Settlement{LeaseToken: lease.Token, Delivery: d, Attempt: &hub.Attempt{
				ID: hub.NewID(hub.AttemptPrefix, now()), DeliveryID: d.ID, StartedAt: now(), Duration: time.Millisecond,
				Outcome: hub.AttemptRefused, StatusCode: 500, Error: w.text(p, "error"), RequestURL: p.endpoint.URL,
				RequestHeaders:  []hub.Header{{Name: "X-Text", Value: w.text(p, "request")}},
				ResponseHeaders: []hub.Header{{Name: "X-Text", Value: w.text(p, "response")}}, ResponseBody: []byte(w.text(p, "response")),
			}})
			testkit.Eventually(w.t, "the attempt is stored", func() bool {
				found, err := w.store.AttemptsOf(w.t.Context(), []string{d.ID}, hub.Page{Size: 1})
				must(w.t, err)
				return len(found[d.ID].Items) == 1
			})
		}
	}
}

// gather notes the IDs that the hub has made: deliveries, attempts and rejections.
func (w *world) gather() {
	w.t.Helper()
	ctx := w.t.Context()
	deliveries, err := w.store.Deliveries(ctx, hub.DeliveryFilter{}, hub.Page{Size: 1000})
	must(w.t, err)
	for _, d := range deliveries.Items {
		attempts, err := w.store.AttemptsOf(ctx, []string{d.ID}, hub.Page{Size: 100})
		must(w.t, err)
		for _, a := range attempts[d.ID].Items {
			if d.PartnerID == w.a.id {
				w.mine["att"] = a.ID
			} else {
				w.note(a.ID)
			}
		}
		if d.PartnerID == w.a.id {
			w.mine["dlv"] = d.ID
		} else {
			w.note(d.ID)
		}
	}
	rejections, err := w.store.Rejections(ctx, hub.RejectionFilter{}, hub.Page{Size: 1000})
	must(w.t, err)
	for _, r := range rejections.Items {
		w.note(r.ID)
	}
	slices.Sort(w.foreign)
	w.foreign = slices.Compact(w.foreign)
	for _, id := range w.foreign {
		if hub.IDPrefix(id) == "" {
			w.t.Fatalf("%q is no ID", id)
		}
	}
}

// leaks returns what an answer to A holds of others, apart from what A has asked by.
func (w *world) leaks(answer string, asked ...string) []string {
	for _, text := range asked {
		quoted, _ := json.Marshal(text)
		answer = strings.ReplaceAll(answer, strings.Trim(string(quoted), `"`), "asked")
		answer = strings.ReplaceAll(answer, text, "asked")
	}
	var found []string
	for _, id := range w.foreign {
		if strings.Contains(answer, id) {
			found = append(found, id)
		}
	}
	if at := strings.Index(strings.ToUpper(answer), mark); at >= 0 {
		found = append(found, answer[max(0, at-60):min(len(answer), at+60)])
	}
	if strings.Contains(answer, `"INTERNAL"`) {
		found = append(found, "an internal error: "+answer)
	}
	return found
}

// told is what an answer says, without what it cost.
func told(a *answer) string {
	said, _, _ := strings.Cut(a.Raw, `,"extensions":{"cost"`)
	return said
}

// dump is all of B and the operator, as the operator sees it.
func (w *world) dump(s *asker) string {
	w.t.Helper()
	var out strings.Builder
	for part := range slices.Chunk(w.foreign, 50) {
		answer := w.ask("query($ids: [ID!]!) { nodes(ids: $ids) "+s.everyField("Node", 3)+" }", "ids", part)
		if strings.Contains(answer.Raw, "errors") || answer.Status != 200 {
			w.t.Fatalf("the operator is answered %s", answer.Raw)
		}
		out.Write(answer.Data)
	}
	return out.String()
}
