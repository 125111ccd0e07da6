package store

import (
	"context"
	"errors"

	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/delivery"
	"github.com/hookgraph/hookgraph/ent/event"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Lists of events and deliveries are read past ent's entities, which cost more than
// the statement itself: each column of each row would be scanned into a value on the
// heap and copied from there. BenchmarkRows measures both. Columns that an answer does
// not show are not read at all.

// Parts are what may be left out of the events and deliveries in lists. What is not a part
// is always there: IDs, references, the order, status and reason.
type Parts uint32

// The parts.
const (
	EventPartner     Parts = 1 << iota // PartnerID
	EventKeys                          // DedupeKey and OrderingKey
	EventOccurredAt                    // OccurredAt
	EventContentType                   // ContentType
	EventDuplicates                    // DuplicateCount and LastDuplicateAt
	EventMarks                         // Recovered and OutOfOrder
	DeliveryCounts                     // AttemptCount
	DeliveryTimes                      // NextAttemptAt, CreatedAt and CompletedAt
	DeliveryInside                     // PartnerID, SchedulePosition, BodyForm and Mark

	AllParts Parts = 1<<iota - 1
)

type partsKey struct{}

// WithParts returns a context for a list whose rows need have no other parts than these.
// Without it they have all.
func WithParts(ctx context.Context, parts Parts) context.Context {
	return context.WithValue(ctx, partsKey{}, parts)
}

func partsOf(ctx context.Context) Parts {
	if parts, ok := ctx.Value(partsKey{}).(Parts); ok {
		return parts
	}
	return AllParts
}

// field is a column and where it is scanned into.
type field[R any] struct {
	column string
	part   Parts // 0 for one that is always read
	into   func(*R) any
}

// readEvent is an event as it is scanned.
type readEvent struct {
	hub.Event
	occurredAt, receivedAt, lastDuplicateAt column.Time
}

// eventFields are all but the payload.
var eventFields = []field[readEvent]{
	{event.FieldID, 0, func(r *readEvent) any { return &r.ID }},
	{event.FieldSequence, 0, func(r *readEvent) any { return (*int64)(&r.Sequence) }},
	{event.FieldSourceID, 0, func(r *readEvent) any { return &r.SourceID }},
	{event.FieldPartnerID, EventPartner, func(r *readEvent) any { return &r.PartnerID }},
	{event.FieldType, 0, func(r *readEvent) any { return &r.Type }},
	{event.FieldReceivedAt, 0, func(r *readEvent) any { return (*int64)(&r.receivedAt) }},
	{event.FieldDedupeKey, EventKeys, func(r *readEvent) any { return &r.DedupeKey }},
	{event.FieldOrderingKey, EventKeys, func(r *readEvent) any { return &r.OrderingKey }},
	{event.FieldOccurredAt, EventOccurredAt, func(r *readEvent) any { return (*int64)(&r.occurredAt) }},
	{event.FieldContentType, EventContentType, func(r *readEvent) any { return &r.ContentType }},
	{event.FieldDuplicateCount, EventDuplicates, func(r *readEvent) any { return &r.DuplicateCount }},
	{event.FieldLastDuplicateAt, EventDuplicates, func(r *readEvent) any { return (*int64)(&r.lastDuplicateAt) }},
	{event.FieldRecovered, EventMarks, func(r *readEvent) any { return &r.Recovered }},
	{event.FieldOutOfOrder, EventMarks, func(r *readEvent) any { return &r.OutOfOrder }},
}

func (r *readEvent) made(one *hub.Event) {
	*one = r.Event
	one.OccurredAt, one.ReceivedAt, one.LastDuplicateAt = r.occurredAt.Time(), r.receivedAt.Time(), r.lastDuplicateAt.Time()
}

// listEvents reads events in sight without their payloads.
func (v *View) listEvents(ctx context.Context, conditions ...condition) ([]*hub.Event, error) {
	return list(ctx, v.store, event.Table, eventFields, (*readEvent).made, v.ofEvents, conditions)
}

// readDelivery is a delivery as it is scanned.
type readDelivery struct {
	hub.Delivery
	nextAttemptAt, createdAt, completedAt column.Time
	turn                                  string
}

var deliveryFields = []field[readDelivery]{
	{delivery.FieldID, 0, func(r *readDelivery) any { return &r.ID }},
	{delivery.FieldEventID, 0, func(r *readDelivery) any { return &r.EventID }},
	{delivery.FieldSubscriptionID, 0, func(r *readDelivery) any { return &r.SubscriptionID }},
	{delivery.FieldEndpointID, 0, func(r *readDelivery) any { return &r.EndpointID }},
	{delivery.FieldStatus, 0, func(r *readDelivery) any { return (*string)(&r.Status) }},
	{delivery.FieldReason, 0, func(r *readDelivery) any { return &r.Reason }},
	{delivery.FieldLine, 0, func(r *readDelivery) any { return &r.Line }},
	{delivery.FieldTurn, 0, func(r *readDelivery) any { return &r.turn }},
	{delivery.FieldAttemptCount, DeliveryCounts, func(r *readDelivery) any { return &r.AttemptCount }},
	{delivery.FieldNextAttemptAt, DeliveryTimes, func(r *readDelivery) any { return (*int64)(&r.nextAttemptAt) }},
	{delivery.FieldCreatedAt, DeliveryTimes, func(r *readDelivery) any { return (*int64)(&r.createdAt) }},
	{delivery.FieldCompletedAt, DeliveryTimes, func(r *readDelivery) any { return (*int64)(&r.completedAt) }},
	{delivery.FieldPartnerID, DeliveryInside, func(r *readDelivery) any { return &r.PartnerID }},
	{delivery.FieldSchedulePosition, DeliveryInside, func(r *readDelivery) any { return &r.SchedulePosition }},
	{delivery.FieldBodyForm, DeliveryInside, func(r *readDelivery) any { return (*string)(&r.BodyForm) }},
	{delivery.FieldMark, DeliveryInside, func(r *readDelivery) any { return &r.Mark }},
}

func (r *readDelivery) made(one *hub.Delivery) {
	*one = r.Delivery
	one.NextAttemptAt, one.CreatedAt, one.CompletedAt = r.nextAttemptAt.Time(), r.createdAt.Time(), r.completedAt.Time()
	if r.turn == turnLater && one.Status == hub.DeliveryPending {
		one.BlockedBy = one.Line // until blocked says who that is
	}
}

// listDeliveries reads deliveries in sight and derives HELD.
func (v *View) listDeliveries(ctx context.Context, conditions ...condition) ([]*hub.Delivery, error) {
	deliveries, err := list(ctx, v.store, delivery.Table, deliveryFields, (*readDelivery).made, v.ofDeliveries, conditions)
	for _, d := range deliveries {
		v.store.deriveHeld(d)
	}
	return deliveries, errors.Join(err, v.store.blocked(ctx, deliveries))
}

// maxBlock bounds what one row that is kept keeps of others.
const maxBlock = 32

// list reads the rows of a table that are in sight and that the conditions choose, in
// the order they say, with the parts that the context asks for.
func list[R, T any](
	ctx context.Context, s *Store, table string, fields []field[R], made func(*R, *T), inSight condition, conditions []condition,
) (found []*T, err error) {
	var row R
	columns, into := make([]string, 0, len(fields)), make([]any, 0, len(fields))
	parts := partsOf(ctx)
	for i := range fields {
		if f := &fields[i]; f.part == 0 || f.part&parts != 0 {
			columns, into = append(columns, f.column), append(into, f.into(&row))
		}
	}
	builder := entsql.Dialect(s.reads.Dialect())
	t := builder.Table(table)
	selector := builder.Select(t.Columns(columns...)...).From(t).WithContext(ctx)
	inSight(selector)
	for _, restrict := range conditions {
		restrict(selector)
	}
	query, args := selector.Query()
	rows := &entsql.Rows{}
	if err := s.reads.Query(ctx, query, args, rows); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var block []T // rows are made several at a time
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		if len(block) == 0 {
			block = make([]T, min(max(len(found), 1), maxBlock))
		}
		made(&row, &block[0])
		found, block = append(found, &block[0]), block[1:]
	}
	return found, rows.Err()
}
