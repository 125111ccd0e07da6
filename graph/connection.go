package graph

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/graph/page"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// counter adapts a count to a connection.
func counter(count func(context.Context) (int, error)) func(context.Context) (*int, error) {
	return func(ctx context.Context) (*int, error) {
		n, err := count(ctx)
		if err != nil {
			return nil, err
		}
		return &n, nil
	}
}

func eventConnection(s hub.Slice[*model.Event], count func(context.Context) (int, error)) *model.EventConnection {
	return model.NewConnection(s, func(e *model.Event) string {
		return page.Events.Cursor(e.Event.Sequence.String())
	}, counter(count))
}

func rejectionConnection(s hub.Slice[*model.Rejection], count func(context.Context) (int, error)) *model.RejectionConnection {
	return model.NewConnection(s, func(r *model.Rejection) string { return page.Rejections.Cursor(r.ID) }, counter(count))
}

func deliveryConnection(s hub.Slice[*model.Delivery], count func(context.Context) (int, error)) *model.DeliveryConnection {
	return model.NewConnection(s, func(d *model.Delivery) string { return page.Deliveries.Cursor(d.ID) }, counter(count))
}

func attemptConnection(s hub.Slice[*model.Attempt], count func(context.Context) (int, error)) *model.AttemptConnection {
	return model.NewConnection(s, func(a *model.Attempt) string {
		return page.Attempts.Cursor(page.AttemptKey(a.Number))
	}, counter(count))
}

func eventTypeConnection(s hub.Slice[*model.EventType], count func(context.Context) (int, error)) *model.EventTypeConnection {
	return model.NewConnection(s, func(t *model.EventType) string { return page.EventTypes.Cursor(t.ID) }, counter(count))
}

func apiKeyConnection(s hub.Slice[*model.APIKey], count func(context.Context) (int, error)) *model.APIKeyConnection {
	return model.NewConnection(s, func(k *model.APIKey) string { return page.APIKeys.Cursor(k.ID) }, counter(count))
}

// configured makes a page of what lies in memory: the items that fit, newest first.
func configured[R, N any](
	all map[string]R, fits func(R) bool, id func(R) string, order page.Order, arguments page.Arguments,
	show func([]R) []N, nodeID func(N) string,
) (*model.Connection[N], error) {
	p, err := order.Page(arguments)
	if err != nil {
		return nil, err
	}
	var rows []R
	for _, row := range all {
		if fits(row) {
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(a, b R) int { return cmp.Compare(id(b), id(a)) })
	cut := page.Cut(rows, id, p)
	return model.NewConnection(
		hub.Slice[N]{Items: show(cut.Items), HasNext: cut.HasNext, HasPrevious: cut.HasPrevious},
		func(node N) string { return order.Cursor(nodeID(node)) },
		counter(func(context.Context) (int, error) { return len(rows), nil }),
	), nil
}

func sourceID(s *hub.Source) string             { return s.ID }
func endpointID(e *hub.Endpoint) string         { return e.ID }
func subscriptionID(s *hub.Subscription) string { return s.ID }

// among reports whether a filter's list admits a value; an empty list admits all.
func among[T comparable](list []T, value T) bool {
	return len(list) == 0 || slices.Contains(list, value)
}

// ofAny is among for partners: what belongs to nobody is not of any.
func ofAny(partners []string, partner string) bool {
	return len(partners) == 0 || partner != "" && slices.Contains(partners, partner)
}

// contains compares without regard to case.
func contains(text, part string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(part))
}
