package listen

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Bounds of settling.
const (
	maxSettled   = 500
	settleLinger = 5 * time.Millisecond
	// rememberDone is how many deliveries are remembered that were forwarded and of which
	// the hub has not said that it knows: where it could not be told, it hands them over
	// again.
	rememberDone = 10_000
)

const pulled = `subscription ($id: ID!, $most: Int) { deliveryStream(endpointId: $id, maxInFlight: $most) {
	deliveries { rawBody contentType leaseToken leaseExpiresAt
		delivery { id attemptCount event { id type headers { name value } source { slug } } } } } }`

type pulledStep struct {
	DeliveryStream struct {
		Deliveries []struct {
			RawBody        []byte
			ContentType    string
			LeaseToken     string
			LeaseExpiresAt time.Time
			Delivery       struct {
				ID           string
				AttemptCount int
				Event        *struct {
					ID, Type string
					Headers  []header
					Source   *struct{ Slug string }
				}
			}
		}
	}
}

// word is what a delivery is settled with.
type word struct {
	DeliveryID string `json:"deliveryId"`
	LeaseToken string `json:"leaseToken"`
	Outcome    string `json:"outcome"`
	Reason     string `json:"reason,omitempty"`
	expires    time.Time
}

// relayAll pulls the deliveries of an endpoint, forwards them and says what came of it.
func (l *listener) relayAll(ctx context.Context, f Forward, sourceID string) error {
	endpointID := l.options.EndpointID
	if endpointID == "" {
		err := l.insist(ctx, f.label(), func(ctx context.Context) (err error) {
			endpointID, err = l.endpoint(ctx, f, sourceID)
			return err
		})
		if err != nil {
			return ended(ctx, err)
		}
	}
	done, err := lru.New[string, int](rememberDone)
	if err != nil {
		return err
	}
	r := &relay{listener: l, forward: f, endpointID: endpointID, done: done, words: make(chan word, l.options.MaxInFlight)}
	var settling sync.WaitGroup
	settling.Go(func() { r.settleAll(outlasting(ctx, 2*partingBound)) })
	// The stream outlasts the run, or what it has leased could not be settled any more.
	streaming, part := context.WithCancel(context.WithoutCancel(ctx))
	defer part()
	failed := make(chan error, 1)
	sending := outlasting(ctx, partingBound)
	go func() {
		failed <- l.insist(streaming, f.label(), func(streaming context.Context) error { return r.pull(streaming, sending) })
	}()
	select {
	case err = <-failed:
		failed <- nil
	case <-ctx.Done():
	}
	r.part()
	close(r.words)
	settling.Wait()
	part()
	if last := <-failed; err == nil && isFatal(last) {
		err = last
	}
	return ended(ctx, err)
}

// relay is one forward's relay.
type relay struct {
	*listener
	forward    Forward
	endpointID string
	done       *lru.Cache[string, int] // deliveries, and the attempts that the hub knew when they were handed over
	words      chan word

	mu       sync.Mutex // guards parted, and that nothing is added to forwards afterwards
	parted   bool
	forwards sync.WaitGroup
}

// part waits for the forwards under way; none is begun any more.
func (r *relay) part() {
	r.mu.Lock()
	r.parted = true
	r.mu.Unlock()
	r.forwards.Wait()
}

// pull takes deliveries over one connection until it breaks, and forwards them until
// sending ends.
func (r *relay) pull(ctx, sending context.Context) error {
	first := true
	variables := map[string]any{"id": r.endpointID, "most": r.options.MaxInFlight}
	return r.hub.stream(ctx, pulled, variables, func(data json.RawMessage) error {
		var step pulledStep
		if err := json.Unmarshal(data, &step); err != nil {
			return fmt.Errorf("the hub sent what is no step: %w", err)
		}
		if first {
			r.printf("%s  %s is relayed to %s by the endpoint %s\n", time.Now().Format("15:04:05"), r.forward.label(), r.forward.URL, r.endpointID)
			first = false
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.parted {
			return nil // the hub has them back when the stream ends
		}
		for _, d := range step.DeliveryStream.Deliveries {
			p := &parcel{id: d.Delivery.ID, attempts: d.Delivery.AttemptCount, contentType: d.ContentType, body: d.RawBody}
			if e := d.Delivery.Event; e != nil {
				p.eventType, p.headers = e.Type, e.Headers
				if e.Source != nil {
					p.source = e.Source.Slug
				}
			}
			w := word{DeliveryID: d.Delivery.ID, LeaseToken: d.LeaseToken, expires: d.LeaseExpiresAt}
			r.forwards.Go(func() {
				if w, said := r.deliver(sending, p, w); said {
					r.words <- w
				}
			})
		}
		return nil
	})
}

// deliver forwards one delivery and returns what to tell the hub: nothing where the end
// of the run cut it off, which the hub takes for no attempt.
func (r *relay) deliver(ctx context.Context, p *parcel, w word) (_ word, said bool) {
	w.Outcome = "ACKNOWLEDGE"
	if before, forwarded := r.done.Get(p.id); forwarded {
		known, err := r.known(ctx, p.id, before, w.expires)
		switch {
		case err != nil:
			r.say(p, "was forwarded before, but the hub does not say whether it knows; it hands it over again", 0)
			return w, false
		case !known:
			r.say(p, "was forwarded before, which the hub was not told; it is told now", 0)
			return w, true
		}
		r.done.Remove(p.id) // somebody wants it sent again
	}
	status, took, err := r.send(ctx, r.forward.URL, p)
	switch {
	case err != nil && ctx.Err() != nil:
		r.say(p, "cut off by the end of this run; the hub hands it over again", took)
		return w, false
	case err != nil:
		w.Outcome, w.Reason = "RETRY", "no answer: "+err.Error()
		r.say(p, fmt.Sprintf("no answer (%v)", err), took)
	case good(status):
		r.done.Add(p.id, p.attempts)
		r.say(p, fmt.Sprint(status), took)
	default:
		w.Outcome, w.Reason = "RETRY", fmt.Sprintf("it answered %d", status)
		r.say(p, fmt.Sprint(status), took)
	}
	return w, true
}

const attempted = `query ($id: ID!, $after: String) { delivery(id: $id) {
	attempts(first: 100, after: $after) { nodes { number outcome } pageInfo { hasNextPage endCursor } } } }`

// known tells whether the hub knows that a delivery was forwarded which had so many attempts
// before: then it was told, though its answer was lost.
func (r *relay) known(ctx context.Context, id string, attempts int, expires time.Time) (bool, error) {
	ctx, cancel := context.WithDeadline(ctx, expires)
	defer cancel()
	variables := map[string]any{"id": id}
	for {
		var found struct {
			Delivery *struct {
				Attempts struct {
					Nodes []struct {
						Number  int
						Outcome string
					}
					PageInfo struct {
						HasNextPage bool
						EndCursor   *string
					}
				}
			}
		}
		err := r.insist(ctx, r.forward.label(), func(ctx context.Context) error { return r.hub.ask(ctx, attempted, variables, &found) })
		if err != nil || found.Delivery == nil {
			return false, err
		}
		page := &found.Delivery.Attempts
		for _, a := range page.Nodes {
			if a.Number > attempts && a.Outcome == "SUCCEEDED" {
				return true, nil
			}
		}
		if !page.PageInfo.HasNextPage {
			return false, nil
		}
		variables["after"] = page.PageInfo.EndCursor
	}
}

// settleAll tells the hub what has come of deliveries until words is closed, many at a
// time.
func (r *relay) settleAll(ctx context.Context) {
	for first := range r.words {
		batch := []word{first}
		linger := time.After(settleLinger)
	gather:
		for len(batch) < maxSettled {
			select {
			case w, open := <-r.words:
				if !open {
					break gather
				}
				batch = append(batch, w)
			case <-linger:
				break gather
			}
		}
		r.settle(ctx, batch)
	}
}

// settle tells the hub about some deliveries, again and again while it cannot be told and
// a lease holds. What the hub says it knows is forgotten here: if it comes again, somebody
// wants it sent again.
func (r *relay) settle(ctx context.Context, batch []word) {
	last := time.Time{}
	for _, w := range batch {
		if w.expires.After(last) {
			last = w.expires
		}
	}
	ctx, cancel := context.WithDeadline(ctx, last)
	defer cancel()
	var answer struct {
		SettleDeliveries []struct {
			UserErrors []struct{ Code, Message string }
		}
	}
	err := r.insist(ctx, r.forward.label(), func(ctx context.Context) error {
		return r.hub.ask(ctx, `mutation ($input: [SettleDeliveryInput!]!) { settleDeliveries(input: $input) { userErrors { code message } } }`,
			map[string]any{"input": batch}, &answer)
	})
	if err != nil {
		r.printf("%s  %s: %d deliveries could not be settled (%v); the hub hands them over again\n", time.Now().Format("15:04:05"), r.forward.label(), len(batch), err)
		return
	}
	for i, one := range answer.SettleDeliveries[:min(len(batch), len(answer.SettleDeliveries))] {
		if len(one.UserErrors) == 0 {
			r.done.Remove(batch[i].DeliveryID)
		} else {
			r.printf("%s  %s: %s was not settled: %s\n", time.Now().Format("15:04:05"), r.forward.label(), batch[i].DeliveryID, one.UserErrors[0].Message)
		}
	}
}

// endpoint finds the STREAM endpoint of a forward by its name, or makes it and its
// subscription.
func (l *listener) endpoint(ctx context.Context, f Forward, sourceID string) (string, error) {
	name := "listen " + l.options.Name
	if f.Source != "" {
		name += " " + f.Source
	}
	var found struct {
		Endpoints struct {
			Nodes []struct {
				ID, Name      string
				Subscriptions struct{ Nodes []struct{ ID string } }
			}
		}
	}
	err := l.hub.ask(ctx, `query ($name: String!) { endpoints(first: 100, filter: {kinds: [STREAM], nameContains: $name}) {
		nodes { id name subscriptions(first: 1) { nodes { id } } } } }`, map[string]any{"name": name}, &found)
	if err != nil {
		return "", err
	}
	id := ""
	for _, e := range found.Endpoints.Nodes {
		if e.Name != name {
			continue
		}
		if id = e.ID; len(e.Subscriptions.Nodes) > 0 {
			return id, nil
		}
	}
	type problems []struct{ Message string }
	if id == "" {
		var made struct {
			CreateEndpoint struct {
				Endpoint   struct{ ID string }
				UserErrors problems
			}
		}
		err := l.hub.ask(ctx, `mutation ($name: String!) { createEndpoint(input: {name: $name, kind: STREAM}) { endpoint { id } userErrors { message } } }`,
			map[string]any{"name": name}, &made)
		switch {
		case err != nil:
			return "", err
		case len(made.CreateEndpoint.UserErrors) > 0:
			return "", fatal("the endpoint could not be made: %s", made.CreateEndpoint.UserErrors[0].Message)
		}
		id = made.CreateEndpoint.Endpoint.ID
	}
	input := map[string]any{"name": name, "endpointId": id}
	if sourceID != "" {
		input["sourceIds"] = []string{sourceID}
	}
	var made struct {
		CreateSubscription struct{ UserErrors problems }
	}
	err = l.hub.ask(ctx, `mutation ($input: CreateSubscriptionInput!) { createSubscription(input: $input) { subscription { id } userErrors { message } } }`,
		map[string]any{"input": input}, &made)
	if err == nil && len(made.CreateSubscription.UserErrors) > 0 {
		err = fatal("the subscription could not be made: %s", made.CreateSubscription.UserErrors[0].Message)
	}
	return id, err
}
