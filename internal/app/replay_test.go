package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// replay is a replay as the API shows it.
type replay struct {
	ID, State           string
	Reason              *string
	Total, Done, Failed int
	CompletedAt         *time.Time
}

const replayFields = `id state reason total done failed completedAt`

type replayPayload struct {
	Replay *replay
	Count  *int
}

// replay starts a replay, or counts.
func (c *client) replay(input string) replayPayload {
	c.t.Helper()
	var got struct{ StartReplay replayPayload }
	c.do(&got, `mutation { startReplay(input: {`+input+`}) { replay { `+replayFields+` } count userErrors { code message field } } }`, nil)
	return got.StartReplay
}

// replayed returns a replay once it has ended, which takes what its rate takes, or longer
// where the machine is busy: what a rate has not used is not saved up.
func (c *client) replayed(id string) replay {
	c.t.Helper()
	var got struct{ Replay *replay }
	testkit.Eventually(c.t, "the replay ends", func() bool {
		c.do(&got, `query ($id: ID!) { replay(id: $id) { `+replayFields+` } }`, map[string]any{"id": id})
		return got.Replay != nil && got.Replay.CompletedAt != nil
	})
	return *got.Replay
}

// ids counts what arrived by its webhook-id.
func (r *receiver) ids() map[string]int {
	seen := make(map[string]int)
	for _, a := range r.got() {
		seen[a.Header.Get("Webhook-Id")]++
	}
	return seen
}

func TestReplayOfDeadDeliveries(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		var well atomic.Bool
		asked := make(chan struct{}) // closed: both replays were asked for
		owner := listen(t, func(w http.ResponseWriter, r *http.Request, _ int) {
			if !well.Load() {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			select {
			case <-asked:
			case <-r.Context().Done():
			}
		})
		c.source("s")
		endpoint, secret := c.endpoint(owner.URL, `timeout: "PT30S", retryPolicy: {schedule: ["PT0S"]}`)
		c.subscribe(endpoint, "")
		const n = 7
		var dead []string
		for i := range n {
			sent := c.post("s", nil, fmt.Appendf(nil, `{"n":%d}`, i))
			dead = append(dead, c.only(sent.ID, "it dies", func(d delivery) bool { return d.Status == "DEAD" }).ID)
		}
		filter := fmt.Sprintf(`deliveries: {statuses: [DEAD], endpointIds: [%q]}`, endpoint)
		if p := c.replay(filter + `, dryRun: true`); p.Replay != nil || *p.Count != n {
			t.Fatalf("a dry run: %+v", p)
		}
		well.Store(true)
		before := len(owner.got())
		first, again := c.replay(filter+`, rate: 20`), c.replay(filter+`, rate: 20`)
		if first.Replay.ID != again.Replay.ID {
			t.Errorf("asked twice, two replays run: %+v %+v", first.Replay, again.Replay)
		}
		close(asked)
		if r := c.replayed(first.Replay.ID); r.State != "COMPLETED" || r.Total != n || r.Done != n || r.Failed != 0 {
			t.Errorf("%+v", r)
		}
		got := owner.got()[before:]
		if len(got) != n {
			t.Errorf("%d arrived", len(got))
		}
		for _, a := range got {
			verify(t, a, secret)
			if !slices.Contains(dead, a.Header.Get("Webhook-Id")) {
				t.Errorf("%s is no delivery of before", a.Header.Get("Webhook-Id"))
			}
		}
		if p := c.replay(filter + `, dryRun: true`); *p.Count != 0 {
			t.Errorf("%d are left", *p.Count)
		}
	})
}

func TestReplayOfEventsAndOfWhatWasMissed(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		c.source("s")
		var events []string
		for i := range 6 {
			events = append(events, c.post("s", nil, fmt.Appendf(nil, `{"type":"t%d","n":%d}`, i%2, i)).ID)
		}
		since := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
		owner := listen(t, nil)
		endpoint, _ := c.endpoint(owner.URL, "")
		subscription := c.subscribe(endpoint, `filter: "body.n >= 2"`)
		input := fmt.Sprintf(`events: {receivedAt: {since: %q}, expression: "body.n != 5"}, toSubscriptionId: %q, idempotencyKey: "once"`, since, subscription)
		if p := c.replay(input + `, dryRun: true`); *p.Count != 3 {
			t.Errorf("a dry run counts %d", *p.Count)
		}
		p := c.replay(input)
		if r := c.replayed(p.Replay.ID); r.State != "COMPLETED" || r.Total != 3 || r.Done != 3 {
			t.Errorf("%+v", r)
		}
		if again := c.replay(input); again.Replay.ID != p.Replay.ID || len(owner.got()) != 3 {
			t.Errorf("the same key started %+v; %d arrived", again.Replay, len(owner.got()))
		}
		a := c.ask(`mutation { startReplay(input: {deliveries: {}, idempotencyKey: "once"}) { userErrors { code field } } }`, nil)
		if string(a.Data) != `{"startReplay":{"userErrors":[{"code":"CONFLICT","field":["input","idempotencyKey"]}]}}` {
			t.Errorf("%s %+v", a.Data, a.Errors)
		}
		// What the endpoint has missed is now the one event that was left out.
		missed := fmt.Sprintf(`missedBy: {endpointId: %q, since: %q}`, endpoint, since)
		if p := c.replay(missed + `, dryRun: true`); *p.Count != 1 {
			t.Errorf("%d missed", *p.Count)
		}
		if r := c.replayed(c.replay(missed).Replay.ID); r.Done != 1 || r.Total != 1 {
			t.Errorf("%+v", r)
		}
		c.only(events[5], "the missed event is delivered", func(d delivery) bool { return d.Status == "DELIVERED" })
		if got := owner.got(); len(got) != 4 {
			t.Errorf("%d arrived", len(got))
		}
	})
}

func TestInputOfReplays(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	a := c.ask(`mutation { startReplay(input: {
		deliveries: {statuses: [PENDING]}, events: {types: ["a b*"], expression: "nonsense +"}, rate: 0, toSubscriptionId: "sub_x"
	}) { replay { id } count userErrors { code field line column } } }`, nil)
	var got struct {
		StartReplay struct {
			UserErrors []struct {
				Field        []string
				Line, Column *int
			}
		}
	}
	if err := json.Unmarshal(a.Data, &got); err != nil || len(got.StartReplay.UserErrors) < 5 {
		t.Errorf("%s %+v", a.Data, a.Errors)
	}
	for _, e := range got.StartReplay.UserErrors {
		inExpression := slices.Equal(e.Field, []string{"input", "events", "expression"})
		if inExpression != (e.Line != nil && e.Column != nil && *e.Line == 1 && *e.Column == 11) {
			t.Errorf("%v is wrong at %v, %v", e.Field, e.Line, e.Column)
		}
	}
}

func TestAReplayTellsWhatItIsOver(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		source := c.source("s")
		sent := c.post("s", nil, []byte(`{"type":"x"}`))
		endpoint, _ := c.endpoint(listen(t, nil).URL, "")
		subscription := c.subscribe(endpoint, "")
		type shown struct {
			ID, State, RequestedBy   string
			Deliveries, Events       map[string]any
			MissedSince, MissedUntil *string
			Subscription, Endpoint   *struct{ ID string }
			Rate                     int
		}
		const fields = `id state requestedBy deliveries events missedSince missedUntil subscription { id } endpoint { id } rate`
		begin := func(input map[string]any) shown {
			var got struct{ StartReplay struct{ Replay shown } }
			c.do(&got, `mutation ($input: StartReplayInput!) { startReplay(input: $input) { replay { `+fields+` } userErrors { field message } } }`, map[string]any{"input": input})
			c.replayed(got.StartReplay.Replay.ID)
			return got.StartReplay.Replay
		}
		span := map[string]any{"since": "2026-01-02T03:04:05Z", "until": "2126-01-02T03:04:05.123456Z"}
		deliveries := map[string]any{
			"statuses": []any{"DEAD", "CANCELED"}, "endpointIds": []any{endpoint}, "subscriptionIds": []any{subscription}, "eventIds": []any{sent.ID},
			"partnerIds": []any{"prt_1"}, "createdAt": span,
		}
		events := map[string]any{
			"types": []any{"x", "y.*"}, "sourceIds": []any{source}, "partnerIds": []any{"prt_1"}, "dedupeKey": "k", "orderingKey": "o",
			"receivedAt": span, "occurredAt": map[string]any{"since": "2026-01-02T03:04:05Z"}, "expression": "body.n > 1",
		}
		if r := begin(map[string]any{"deliveries": deliveries, "rate": 7}); !reflect.DeepEqual(r.Deliveries, deliveries) || r.Events != nil ||
			r.MissedSince != nil || r.Rate != 7 || r.RequestedBy != "operator" || r.Endpoint != nil || r.Subscription != nil {
			t.Errorf("over deliveries: %+v", r)
		}
		if r := begin(map[string]any{"deliveries": map[string]any{}}); r.Deliveries == nil || len(r.Deliveries) != 0 {
			t.Errorf("over all deliveries: %+v", r)
		}
		if r := begin(map[string]any{"events": events, "toSubscriptionId": subscription}); !reflect.DeepEqual(r.Events, events) || r.Deliveries != nil ||
			r.Subscription == nil || r.Subscription.ID != subscription {
			t.Errorf("over events: %+v", r)
		}
		somebody := c.createKey(`name: "Somebody", role: OPERATOR`)
		c.key = *somebody.Key
		r := begin(map[string]any{"missedBy": map[string]any{"endpointId": endpoint, "since": span["since"], "until": span["until"]}})
		if r.Endpoint == nil || r.Endpoint.ID != endpoint || *r.MissedSince != span["since"] || *r.MissedUntil != span["until"] || r.RequestedBy != "key "+somebody.APIKey.ID {
			t.Errorf("what was missed: %+v", r)
		}

		// Canceled at once, so that there is one of another state.
		for range 20 {
			c.post("s", nil, []byte(`{"type":"x"}`))
		}
		second := c.subscribe(endpoint, "")
		p := c.replay(fmt.Sprintf(`events: {}, toSubscriptionId: %q, rate: 1`, second))
		list := func(states string) (ids []string, count int) {
			var got struct {
				Replays struct {
					Nodes      []struct{ ID string }
					TotalCount int
				}
			}
			c.do(&got, `{ replays(filter: {states: [`+states+`]}) { nodes { id } totalCount } }`, nil)
			for _, one := range got.Replays.Nodes {
				ids = append(ids, one.ID)
			}
			return ids, got.Replays.TotalCount
		}
		if ids, n := list("RUNNING"); n != 1 || !slices.Equal(ids, []string{p.Replay.ID}) {
			t.Errorf("%d run: %q", n, ids)
		}
		var ignored any
		c.do(&ignored, `mutation ($id: ID!) { cancelReplay(id: $id) { userErrors { message } } }`, map[string]any{"id": p.Replay.ID})
		c.replayed(p.Replay.ID)
		for states, want := range map[string]int{"RUNNING": 0, "CANCELED": 1, "COMPLETED": 4, "COMPLETED, CANCELED": 5, "": 5} {
			if ids, n := list(states); n != want || len(ids) != want {
				t.Errorf("%d are %s: %q", n, states, ids)
			}
		}
	})
}

func TestCancelingAReplay(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		c.source("s")
		for range 30 {
			c.post("s", nil, []byte(`{"type":"x"}`))
		}
		owner := listen(t, nil)
		endpoint, _ := c.endpoint(owner.URL, "")
		subscription := c.subscribe(endpoint, "")
		p := c.replay(fmt.Sprintf(`events: {}, toSubscriptionId: %q, rate: 1`, subscription))
		testkit.Eventually(t, "it has begun", func() bool { return len(owner.got()) > 0 })
		var ignored any
		c.do(&ignored, `mutation ($id: ID!) { cancelReplay(id: $id) { replay { state } userErrors { message } } }`, map[string]any{"id": p.Replay.ID})
		r := c.replayed(p.Replay.ID)
		if arrived := len(owner.got()); r.State != "CANCELED" || r.Done != arrived || arrived >= 30 {
			t.Errorf("%+v; %d arrived", r, arrived)
		}
		c.do(&ignored, `mutation ($id: ID!) { cancelReplay(id: $id) { replay { state } userErrors { message } } }`, map[string]any{"id": p.Replay.ID})
	})
}

func TestAReplayGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		c.source("s")
		const n = 40
		for range n {
			c.post("s", nil, []byte(`{"type":"x"}`))
		}
		owner := listen(t, nil)
		endpoint, _ := c.endpoint(owner.URL, "")
		subscription := c.subscribe(endpoint, "")
		p := c.replay(fmt.Sprintf(`events: {}, toSubscriptionId: %q, rate: 4`, subscription)) // for 10 s
		testkit.Eventually(t, "it has begun", func() bool { return len(owner.got()) > 3 })
		c.stop()
		if len(owner.got()) >= n {
			t.Fatal("it had ended before the stop")
		}
		c = start(t, o)
		if r := c.replayed(p.Replay.ID); r.State != "COMPLETED" || r.Total != n || r.Done != n {
			t.Errorf("%+v", r)
		}
		if ids := owner.ids(); len(ids) != n || len(owner.got()) != n {
			t.Errorf("%d deliveries arrived in %d requests", len(ids), len(owner.got()))
		}
	})
}

func TestTwoNodesReplayOnce(t *testing.T) {
	t.Parallel()
	onNodes(t, func(t *testing.T, o config.Server) {
		a, b := start(t, o), start(t, o)
		a.source("s")
		const n = 80
		for range n {
			a.post("s", nil, []byte(`{"type":"x"}`))
		}
		owner := listen(t, nil)
		endpoint, _ := a.endpoint(owner.URL, "")
		subscription := a.subscribe(endpoint, "")
		x := a.replay(fmt.Sprintf(`events: {}, toSubscriptionId: %q, rate: 200`, subscription))
		y := b.replay(fmt.Sprintf(`missedBy: {endpointId: %q, since: "2020-01-01T00:00:00Z"}, rate: 200`, endpoint))
		first, second := a.replayed(x.Replay.ID), b.replayed(y.Replay.ID)
		if first.State != "COMPLETED" || second.State != "COMPLETED" || first.Done+second.Done != n {
			t.Errorf("%+v %+v", first, second)
		}
		if ids := owner.ids(); len(ids) != n || len(owner.got()) != n {
			t.Errorf("%d deliveries arrived in %d requests", len(ids), len(owner.got()))
		}
	})
}

func TestReplayedDeliveriesAreTransformed(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		c.source("s")
		sent := c.post("s", nil, []byte(`{"type":"x","n":1}`))
		owner := listen(t, nil)
		endpoint, _ := c.endpoint(owner.URL, "")
		shaped := c.subscribe(endpoint, `transform: {kind: CEL, expression: "{'twice': body.n * 2}"}`)
		r := c.replayed(c.replay(fmt.Sprintf(`events: {}, toSubscriptionId: %q`, shaped)).Replay.ID)
		if r.State != "COMPLETED" || r.Done != 1 {
			t.Errorf("%+v", r)
		}
		// Again, as of the delivery: the bytes are the same, whatever the transform is now.
		c.reshape(shaped, "CEL", "{'thrice': body.n * 3}")
		c.replayed(c.replay(`deliveries: {}`).Replay.ID)
		want := `application/json {"twice":2}`
		if got := owner.bodies(); !slices.Equal(got, []string{want, want}) {
			t.Errorf("arrived: %q", got)
		}
		if ids := owner.ids(); len(ids) != 1 {
			t.Errorf("%d deliveries of one", len(ids))
		}
		// What its transform holds belongs to the replay until somebody acts.
		held := c.subscribe(endpoint, `transform: {kind: CEL, expression: "body.missing"}`)
		p := c.replay(fmt.Sprintf(`events: {}, toSubscriptionId: %q`, held))
		testkit.Eventually(t, "it is held", func() bool {
			return slices.ContainsFunc(c.deliveries(sent.ID), func(d delivery) bool { return d.Status == "HELD" && d.AttemptCount == 1 })
		})
		missed := fmt.Sprintf(`missedBy: {endpointId: %q, since: "2020-01-01T00:00:00Z"}, dryRun: true`, endpoint)
		if p := c.replay(missed); *p.Count != 0 {
			t.Errorf("what waits counts as missed: %d", *p.Count)
		}
		c.reshape(held, "CEL", "{'n': body.n}")
		if r := c.replayed(p.Replay.ID); r.State != "COMPLETED" || r.Total != 1 || r.Done != 1 {
			t.Errorf("%+v", r)
		}
		if got := owner.bodies(); len(got) != 3 || got[2] != `application/json {"n":1}` {
			t.Errorf("arrived: %q", got)
		}
	})
}
