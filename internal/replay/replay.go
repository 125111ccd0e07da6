// Package replay judges what people want to replay and has it started. Carrying it out
// is the store's work, in the same transactions as all else that changes deliveries.
package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
)

// maxFilterList bounds each list of a filter.
const maxFilterList = 100

// Store is what is stored as whoever asks sees it.
type Store interface {
	Configuration() *hub.Configuration
	Refresh(ctx context.Context) error
	CountReplay(ctx context.Context, selection hub.ReplaySelection) (int, error)
	StartReplay(ctx context.Context, r *hub.Replay) (*hub.Replay, error)
}

// Expressions compiles filters, to say what is wrong with them.
type Expressions interface {
	CheckFilter(expression string) error
}

// Input is what somebody wants to replay.
type Input struct {
	Deliveries       *hub.DeliveryFilter
	Events           *hub.EventFilter
	ToSubscriptionID string
	MissedBy         *hub.MissedBy
	Rate             int
	DryRun           bool
	IdempotencyKey   string
}

// Start starts a replay, or with DryRun only counts. What is wrong with the input comes
// as hub.UserErrors, all at once.
func Start(ctx context.Context, store Store, expressions Expressions, in Input) (*hub.Replay, int, error) {
	selection := hub.ReplaySelection{Deliveries: in.Deliveries, Events: in.Events, SubscriptionID: in.ToSubscriptionID, MissedBy: in.MissedBy}
	if problems, err := check(ctx, store, expressions, in); err != nil || len(problems) > 0 {
		if err == nil {
			for i := range problems {
				problems[i].Field = append([]string{"input"}, problems[i].Field...)
			}
			err = problems
		}
		return nil, 0, err
	}
	count, err := store.CountReplay(ctx, selection)
	if err != nil || in.DryRun {
		return nil, count, err
	}
	r, err := store.StartReplay(ctx, &hub.Replay{Selection: selection, Rate: in.Rate, Total: count, IdempotencyKey: in.IdempotencyKey,
		RequestedBy: hub.ViewerFromContext(ctx).Credential()})
	if err != nil {
		return nil, 0, err
	}
	return r, r.Total, nil
}

// check says what is wrong with an input.
func check(ctx context.Context, store Store, expressions Expressions, in Input) (hub.UserErrors, error) {
	var p hub.UserErrors
	given := 0
	for _, is := range []bool{in.Deliveries != nil, in.Events != nil, in.MissedBy != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		p.Add(hub.InputInvalid, "give exactly one of deliveries, events and missedBy")
	}
	if in.Rate < 1 || in.Rate > hub.MaxReplayRate {
		p.Add(hub.InputInvalid, fmt.Sprintf("the rate is 1 to %d deliveries a second", hub.MaxReplayRate), "rate")
	}
	if len(in.IdempotencyKey) > hub.MaxIdempotencyKey {
		p.Add(hub.InputLimitExceeded, fmt.Sprintf("a key has at most %d bytes", hub.MaxIdempotencyKey), "idempotencyKey")
	}
	if f := in.Deliveries; f != nil {
		checkDeliveries(f, &p)
	}
	if f := in.Events; f != nil {
		checkEvents(f, expressions, &p)
	}
	if m := in.MissedBy; m != nil {
		checkRange(m.Received, &p, "missedBy", "until")
	}
	switch {
	case in.Events != nil && in.ToSubscriptionID == "":
		p.Add(hub.InputRequired, "events are sent to a subscription: say which", "toSubscriptionId")
	case in.Events == nil && in.ToSubscriptionID != "":
		p.Add(hub.InputInvalid, "only events are sent to a subscription; deliveries go where they went", "toSubscriptionId")
	}
	err := checkTargets(ctx, store, in, &p)
	return p, err
}

// checkTargets looks up what is named, newly read where this node does not know it.
func checkTargets(ctx context.Context, store Store, in Input, p *hub.UserErrors) error {
	missing := func() (subscription, endpoint bool) {
		cfg := store.Configuration()
		return in.ToSubscriptionID != "" && cfg.Subscriptions[in.ToSubscriptionID] == nil,
			in.MissedBy != nil && cfg.Endpoints[in.MissedBy.EndpointID] == nil
	}
	subscription, endpoint := missing()
	if subscription || endpoint {
		if err := store.Refresh(ctx); err != nil {
			return err
		}
		subscription, endpoint = missing()
	}
	if subscription {
		p.Add(hub.InputNotFound, "there is no such subscription", "toSubscriptionId")
	}
	if endpoint {
		p.Add(hub.InputNotFound, "there is no such endpoint", "missedBy", "endpointId")
	}
	return nil
}

func checkDeliveries(f *hub.DeliveryFilter, p *hub.UserErrors) {
	for name, n := range map[string]int{
		"endpointIds": len(f.EndpointIDs), "eventIds": len(f.EventIDs), "partnerIds": len(f.PartnerIDs), "subscriptionIds": len(f.SubscriptionIDs),
	} {
		checkList(n, p, "deliveries", name)
	}
	if slices.ContainsFunc(f.Statuses, func(s hub.DeliveryStatus) bool { return !s.Ended() }) {
		p.Add(hub.InputInvalid, "only deliveries that have ended are tried again: DELIVERED, DEAD and CANCELED", "deliveries", "statuses")
	}
	checkRange(f.CreatedAt, p, "deliveries", "createdAt")
}

func checkEvents(f *hub.EventFilter, expressions Expressions, p *hub.UserErrors) {
	checkList(len(f.Types), p, "events", "types")
	checkList(len(f.SourceIDs), p, "events", "sourceIds")
	checkList(len(f.PartnerIDs), p, "events", "partnerIds")
	for _, pattern := range f.Types {
		if err := match.CheckTypePattern(pattern); err != nil {
			p.Add(hub.InputInvalid, err.Error(), "events", "types")
		}
	}
	checkRange(f.ReceivedAt, p, "events", "receivedAt")
	checkRange(f.OccurredAt, p, "events", "occurredAt")
	if f.Expression == "" {
		return
	}
	if err := expressions.CheckFilter(f.Expression); err != nil {
		problem := hub.UserError{Code: hub.InputInvalid, Message: "this expression cannot be used", Field: []string{"events", "expression"}}
		if wrong := new(match.ExpressionError); errors.As(err, &wrong) {
			problem.Message, problem.Line, problem.Column = wrong.Message, wrong.Line, wrong.Column
		}
		*p = append(*p, problem)
	}
}

func checkList(n int, p *hub.UserErrors, field ...string) {
	if n > maxFilterList {
		p.Add(hub.InputLimitExceeded, fmt.Sprintf("a list in a filter has at most %d entries", maxFilterList), field...)
	}
}

func checkRange(r hub.TimeRange, p *hub.UserErrors, field ...string) {
	if !r.Since.IsZero() && !r.Until.IsZero() && !r.Since.Before(r.Until) {
		p.Add(hub.InputInvalid, "the span ends before it begins: until "+r.Until.UTC().Format(time.RFC3339), field...)
	}
}
