package store

import (
	"context"
	"maps"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/attempt"
	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/internal/hub"
)

func toAttempt(row *ent.Attempt) (*hub.Attempt, error) {
	request, err := decodeHeaders(row.RequestHeaders)
	if err != nil {
		return nil, err
	}
	response, err := decodeHeaders(row.ResponseHeaders)
	if err != nil {
		return nil, err
	}
	return &hub.Attempt{
		ID: row.ID, DeliveryID: row.DeliveryID, Number: row.Number, StartedAt: row.StartedAt.Time(), Duration: row.Duration,
		Outcome: row.Outcome, StatusCode: row.StatusCode, Error: row.Error, RequestURL: row.RequestURL,
		RequestHeaders: request, ResponseHeaders: response, ResponseBody: row.ResponseBody,
		EndpointID: row.EndpointID, RequestBody: row.RequestBody,
	}, nil
}

// AttemptsOf returns a page of the attempts of each delivery, oldest first, in one
// statement for up to 10,000 deliveries. The keys of a page are attempt numbers.
func (v *View) AttemptsOf(ctx context.Context, deliveryIDs []string, page hub.Page) (map[string]hub.Slice[*hub.Attempt], error) {
	p, err := byNumber().pager(page)
	if err != nil {
		return nil, err
	}
	var list []*hub.Attempt
	err = inChunks(deliveryIDs, maxInList, func(part []string) error {
		more, err := readAll(ctx, v.attempts().
			Where(attempt.DeliveryIDIn(part...), p.ranked(attempt.FieldDeliveryID)), toAttempt)
		list = append(list, more...)
		return err
	})
	if err != nil {
		return nil, wrap("list attempts", err)
	}
	return slicesOf(p, deliveryIDs, list, func(a *hub.Attempt) string { return a.DeliveryID }), nil
}

// CountAttemptsOf counts the attempts of each delivery. One without any is left out.
func (v *View) CountAttemptsOf(ctx context.Context, deliveryIDs []string) (map[string]int, error) {
	counts := make(map[string]int, len(deliveryIDs))
	err := inChunks(deliveryIDs, maxInList, func(part []string) error {
		more, err := countBy(ctx, v.attempts().Where(attempt.DeliveryIDIn(part...)).
			GroupBy(attempt.FieldDeliveryID).Aggregate(countOf(attempt.FieldDeliveryID)))
		maps.Copy(counts, more)
		return err
	})
	return counts, wrap("count attempts", err)
}

// AttemptsByID returns those of the attempts that exist.
func (v *View) AttemptsByID(ctx context.Context, ids []string) (map[string]*hub.Attempt, error) {
	found := make(map[string]*hub.Attempt, len(ids))
	err := inChunks(ids, maxInList, func(part []string) error {
		list, err := readAll(ctx, v.attempts().Where(attempt.IDIn(part...)), toAttempt)
		for _, a := range list {
			found[a.ID] = a
		}
		return err
	})
	return found, wrap("read attempts", err)
}

// RecordAttempt stores an attempt that is of no delivery. It changes nothing else.
func (s *Store) RecordAttempt(ctx context.Context, a *hub.Attempt) error {
	err := s.write.Attempt.Create().SetID(a.ID).SetDeliveryID(a.DeliveryID).SetNumber(a.Number).
		SetStartedAt(column.TimeOf(a.StartedAt)).SetDuration(a.Duration).SetOutcome(a.Outcome).SetStatusCode(a.StatusCode).
		SetError(clean(a.Error)).SetRequestURL(clean(a.RequestURL)).
		SetRequestHeaders(encodeHeaders(a.RequestHeaders)).SetResponseHeaders(encodeHeaders(a.ResponseHeaders)).
		SetResponseBody(blob(a.ResponseBody)).SetEndpointID(a.EndpointID).SetRequestBody(blob(a.RequestBody)).
		Exec(ctx)
	return wrap("record attempt", err)
}
