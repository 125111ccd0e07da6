package graph

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
)

// maxFilterList bounds each list of a filter.
const maxFilterList = 100

// checkLengths refuses filters with long lists.
func checkLengths(lists ...int) error {
	if slices.Max(lists) > maxFilterList {
		return hub.NewError(hub.CodeBadUserInput, fmt.Sprintf("a list in a filter has at most %d entries", maxFilterList))
	}
	return nil
}

// checkEventFilter refuses what a filter of events may not say.
func (r *Resolver) checkEventFilter(ctx context.Context, f *hub.EventFilter) error {
	if f == nil {
		return nil
	}
	if err := checkLengths(len(f.Types), len(f.SourceIDs), len(f.PartnerIDs)); err != nil {
		return err
	}
	for _, pattern := range f.Types {
		if err := match.CheckTypePattern(pattern); err != nil {
			return hub.NewError(hub.CodeBadUserInput, "filter.types: "+err.Error())
		}
	}
	if f.Expression == "" {
		return nil
	}
	if !hub.ViewerFromContext(ctx).Can(hub.ScopePayloadsRead) { // or it would tell what bodies contain
		return forbidden(hub.ScopePayloadsRead)
	}
	if err := r.matcher.CheckFilter(f.Expression); err != nil {
		if wrong := new(match.ExpressionError); errors.As(err, &wrong) {
			return hub.NewError(hub.CodeBadUserInput, fmt.Sprintf(
				"filter.expression, line %d, column %d: %s", wrong.Line, wrong.Column, wrong.Message))
		}
		return fmt.Errorf("check filter expression: %w", err)
	}
	return nil
}

// expressionOf returns the part of a filter that is asked of events in memory,
// nil where there is none. An event that the expression fails on is not admitted.
func (r *Resolver) expressionOf(ctx context.Context, f *hub.EventFilter) func(*hub.Event) (bool, error) {
	if f == nil || f.Expression == "" {
		return nil
	}
	expression := f.Expression
	return func(event *hub.Event) (bool, error) {
		slug := ""
		if source := r.store(ctx).Configuration().Senders[event.SourceID]; source != nil {
			slug = source.Slug
		}
		admitted, err := r.matcher.Admits(expression, event, slug)
		return admitted && err == nil, nil
	}
}

// admission returns a whole filter as it is asked of events in memory, nil where
// it admits everything.
func (r *Resolver) admission(ctx context.Context, f *hub.EventFilter) func(*hub.Event) (bool, error) {
	if f == nil {
		return nil
	}
	expression := r.expressionOf(ctx, f)
	return func(event *hub.Event) (bool, error) {
		if !fitsEvent(f, event) {
			return false, nil
		}
		if expression == nil {
			return true, nil
		}
		return expression(event)
	}
}

// fitsEvent reports whether an event fits all of a filter but its expression.
func fitsEvent(f *hub.EventFilter, event *hub.Event) bool {
	wanted := func(pattern string) bool { return hub.TypeMatches(pattern, event.Type) }
	return (len(f.Types) == 0 || slices.ContainsFunc(f.Types, wanted)) &&
		among(f.SourceIDs, event.SourceID) &&
		ofAny(f.PartnerIDs, event.PartnerID) &&
		(f.DedupeKey == "" || f.DedupeKey == event.DedupeKey) &&
		(f.OrderingKey == "" || f.OrderingKey == event.OrderingKey) &&
		f.ReceivedAt.Contains(event.ReceivedAt) &&
		f.OccurredAt.Contains(event.OccurredAt)
}

// checkDeliveryFilter refuses what a filter of deliveries may not say.
func checkDeliveryFilter(f *hub.DeliveryFilter) error {
	if f == nil {
		return nil
	}
	return checkLengths(len(f.Statuses), len(f.EndpointIDs), len(f.SubscriptionIDs), len(f.EventIDs), len(f.PartnerIDs))
}

// admitsChange returns a filter as it is asked of the log of changes. What is not
// stored any more cannot be shown, and is passed over.
func admitsChange(f *hub.DeliveryFilter) func(*hub.DeliveryChange) (bool, error) {
	return func(change *hub.DeliveryChange) (bool, error) {
		d := &change.Delivery
		return d.EventID != "" && (f == nil || fitsDelivery(f, d)), nil
	}
}

// fitsDelivery reports whether a delivery fits a filter.
func fitsDelivery(f *hub.DeliveryFilter, d *hub.Delivery) bool {
	return among(f.Statuses, d.Status) && among(f.EndpointIDs, d.EndpointID) && among(f.SubscriptionIDs, d.SubscriptionID) &&
		among(f.EventIDs, d.EventID) && ofAny(f.PartnerIDs, d.PartnerID) && f.CreatedAt.Contains(d.CreatedAt)
}

// valueOf returns what a pointer points to, the zero value for nil.
func valueOf[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
