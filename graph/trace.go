package graph

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
	"github.com/hookgraph/hookgraph/internal/store"
)

// Bounds of a trace.
const (
	maxTracedDeliveries = hub.MaxPageSize
	maxTracedAttempts   = 20 // of each delivery
	maxTracedRules      = 1000
	maxTracedNoes       = 100
)

// tracer gathers the decisions about an event.
type tracer struct {
	r        *Resolver
	snapshot *model.Snapshot
	event    *model.Event
	steps    []*model.TraceStep
}

// trace tells every decision about an event, oldest first.
func (r *Resolver) trace(ctx context.Context, event *model.Event) ([]*model.TraceStep, error) {
	l := loader.FromContext(ctx)
	t := &tracer{r: r, snapshot: l.Snapshot(), event: event}
	t.received()
	oldest := hub.Page{Size: maxTracedDeliveries, Backward: true} // the list begins with the newest
	found, err := r.store(ctx).DeliveriesOf(ctx, store.OfEvents, []string{event.ID}, hub.DeliveryFilter{}, oldest)
	if err != nil {
		return nil, err
	}
	page := found[event.ID]
	deliveries := l.ShowDeliveries(page.Items)
	if err := t.delivered(ctx, deliveries); err != nil {
		return nil, err
	}
	if err := t.filtered(ctx, deliveries, page.HasPrevious); err != nil {
		return nil, err
	}
	slices.SortStableFunc(t.steps, func(a, b *model.TraceStep) int { return a.At.Compare(b.At) })
	return t.steps, nil
}

func (t *tracer) add(at time.Time, step model.TraceStepKind, outcome, detail string) *model.TraceStep {
	one := &model.TraceStep{At: at, Step: step, Outcome: outcome}
	if detail != "" {
		one.Detail = &detail
	}
	t.steps = append(t.steps, one)
	return one
}

func (t *tracer) received() {
	detail := "its source has been deleted since"
	if source := t.event.Source(); source != nil {
		detail = fmt.Sprintf("from the source %q", source.Slug)
	}
	t.add(t.event.ReceivedAt, model.TraceStepKindReceived, "STORED", detail)
	if n := t.event.DuplicateCount; n > 0 {
		t.add(t.event.LastDuplicateAt, model.TraceStepKindDuplicate, "COUNTED",
			fmt.Sprintf("its source has sent it again, times so far: %d", n))
	}
}

// delivered tells of the deliveries and their attempts.
func (t *tracer) delivered(ctx context.Context, deliveries []*model.Delivery) error {
	if len(deliveries) == 0 {
		return nil
	}
	ids := make([]string, len(deliveries))
	for i, d := range deliveries {
		ids[i] = d.ID
	}
	newest := hub.Page{Size: maxTracedAttempts, Backward: true}
	attempts, err := t.r.store(ctx).AttemptsOf(ctx, ids, newest)
	if err != nil {
		return err
	}
	for _, d := range deliveries {
		of := func(step *model.TraceStep) { step.Subscription, step.Delivery = d.Subscription(), d }
		of(t.add(d.CreatedAt, model.TraceStepKindMatched, "DELIVERY_CREATED", ""))
		for _, a := range attempts[d.ID].Items {
			detail := fmt.Sprintf("attempt %d", a.Number)
			if a.StatusCode != 0 {
				detail += fmt.Sprintf(", HTTP %d", a.StatusCode)
			}
			if a.Error != "" {
				detail += ": " + a.Error
			}
			of(t.add(a.StartedAt, model.TraceStepKindAttempted, string(a.Outcome), detail))
		}
		reason := d.Delivery.Reason
		switch d.Status {
		case hub.DeliveryHeld:
			of(t.add(hub.SystemClock{}.Now(), model.TraceStepKindHeld, "HELD", reason))
		case hub.DeliveryDelivered:
			of(t.add(d.CompletedAt, model.TraceStepKindDelivered, string(d.Status), reason))
		case hub.DeliveryDead:
			of(t.add(d.CompletedAt, model.TraceStepKindDead, string(d.Status), reason))
		case hub.DeliveryCanceled:
			of(t.add(d.CompletedAt, model.TraceStepKindCanceled, string(d.Status), reason))
		case hub.DeliveryPending:
		}
	}
	return nil
}

// filtered tells which filters said no, by the rules that held when the event came in.
// With more, there are deliveries besides those that are given.
func (t *tracer) filtered(ctx context.Context, deliveries []*model.Delivery, more bool) error {
	rules, err := t.r.store(ctx).RulesAt(ctx, t.event.Event.Sequence, maxTracedRules)
	if err != nil {
		return err
	}
	matched := make(map[string]bool, len(deliveries))
	for _, d := range deliveries {
		matched[d.SubscriptionID] = true
	}
	slug := t.r.shaper.slugOf(t.event.Event)
	whole := t.r.shaper.whole()
	hidden := func(rule hub.Rule) bool {
		e := whole.Endpoints[rule.EndpointID]
		return e != nil && e.PartnerID != "" && !hub.PartnerSight(e.PartnerID).Sees(t.event.Event, whole)
	}
	rules = slices.DeleteFunc(rules, func(rule hub.Rule) bool {
		if matched[rule.SubscriptionID] || rule.Filter == "" && !hidden(rule) {
			return true
		}
		rule.Filter = ""
		verdict, _ := t.r.matcher.Judge(rule, t.event.Event, slug)
		return verdict != match.Matched
	})
	if len(rules) == 0 {
		return nil
	}
	payload, err := payloadOf(ctx, t.event)
	if err != nil || payload == nil {
		return err
	}
	told := *t.event.Event
	told.Payload = payload
	noes := 0
	for _, rule := range rules {
		if err := ctx.Err(); err != nil {
			return err
		}
		verdict, reason := t.r.matcher.Judge(rule, &told, slug)
		switch {
		case verdict != match.Matched:
		case hidden(rule):
			verdict, reason = match.OutOfSight, "the partner whose endpoint it is may not see the event"
		default:
			if more {
				continue // its delivery is among those that are not told of
			}
			// A filter may name the event's source, and that has been deleted since.
			verdict, reason = match.FilterFalse, "the filter said no when the event came in: "+rule.Filter
		}
		subscription := t.snapshot.Configuration.Subscriptions[rule.SubscriptionID]
		if subscription == nil {
			reason += fmt.Sprintf(" (of the subscription %q, which has been deleted since)", rule.Name)
		}
		step := t.add(t.event.ReceivedAt, model.TraceStepKindFiltered, string(verdict), reason)
		if subscription != nil {
			step.Subscription = model.NewSubscription(t.snapshot, subscription)
		}
		if noes++; noes == maxTracedNoes {
			break
		}
	}
	return nil
}
