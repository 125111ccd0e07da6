package store

import (
	"context"

	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/delivery"
	"github.com/hookgraph/hookgraph/ent/event"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Leased returns those of the deliveries that are leased, with the facts of their events
// that results are counted by; neither payloads nor bodies.
func (s *Store) Leased(ctx context.Context, ids []string) (map[string]hub.Lease, error) {
	leased := make(map[string]hub.Lease, len(ids))
	err := inChunks(ids, maxInList, func(part []string) error {
		builder := entsql.Dialect(s.reads.Dialect())
		d, e := builder.Table(delivery.Table).As("d"), builder.Table(event.Table).As("e")
		sel := builder.Select(
			d.C(delivery.FieldID), d.C(delivery.FieldEventID), d.C(delivery.FieldSubscriptionID), d.C(delivery.FieldEndpointID), d.C(delivery.FieldPartnerID),
			d.C(delivery.FieldAttemptCount), d.C(delivery.FieldSchedulePosition), d.C(delivery.FieldNextAttemptAt), d.C(delivery.FieldCreatedAt),
			d.C(delivery.FieldBodyForm), d.C(delivery.FieldLeaseToken), d.C(delivery.FieldDueAt),
			e.C(event.FieldSourceID), e.C(event.FieldType), e.C(event.FieldReceivedAt),
		).From(d).Join(e).On(d.C(delivery.FieldEventID), e.C(event.FieldID))
		anyOf(delivery.FieldID, part)(sel)
		query, args := sel.Where(entsql.And(entsql.EQ(d.C(delivery.FieldStatus), string(hub.DeliveryPending)),
			entsql.NEQ(d.C(delivery.FieldLeaseToken), ""))).Query()
		rows := &entsql.Rows{}
		if err := s.reads.Query(ctx, query, args, rows); err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			l := hub.Lease{Event: &hub.Event{}}
			var next, created, due, received int64
			one := &l.Delivery
			if err := rows.Scan(&one.ID, &one.EventID, &one.SubscriptionID, &one.EndpointID, &one.PartnerID, &one.AttemptCount, &one.SchedulePosition,
				&next, &created, (*string)(&one.BodyForm), &l.Token, &due, &l.Event.SourceID, &l.Event.Type, &received); err != nil {
				return err
			}
			one.Status = hub.DeliveryPending
			one.NextAttemptAt, one.CreatedAt = column.Time(next).Time(), column.Time(created).Time()
			l.Event.ID, l.Event.ReceivedAt = one.EventID, column.Time(received).Time()
			l.ExpiresAt = column.Time(due).Time()
			leased[one.ID] = l
		}
		return rows.Err()
	})
	return leased, wrap("read leases", err)
}
