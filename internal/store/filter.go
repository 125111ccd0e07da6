package store

import (
	"strings"
	"time"

	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/delivery"
	"github.com/hookgraph/hookgraph/ent/event"
	"github.com/hookgraph/hookgraph/ent/rejection"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// condition restricts a query.
type condition = func(*entsql.Selector)

// anyOf restricts a column to a list, where it is given.
func anyOf[T ~string](name string, values []T) condition {
	return func(s *entsql.Selector) {
		if len(values) == 0 {
			return
		}
		list := make([]any, len(values))
		for i, v := range values {
			list[i] = string(v)
		}
		s.Where(entsql.In(s.C(name), list...))
	}
}

// equal restricts a column that is indexed where it is not empty.
func equal(name, value string) condition {
	return func(s *entsql.Selector) {
		if value != "" {
			s.Where(entsql.And(entsql.EQ(s.C(name), value), written(s, name, " <> ''")))
		}
	}
}

// anyPartner restricts a column to partners, where they are given: said as the partial
// indexes say it, so nobody is no partner.
func anyPartner(name string, partners []string) condition {
	return func(s *entsql.Selector) {
		if len(partners) > 0 {
			anyOf(name, partners)(s)
			s.Where(written(s, name, " <> ''"))
		}
	}
}

// during restricts a moment to a range; a row without that moment is in none.
func during(name string, r hub.TimeRange) condition {
	return func(s *entsql.Selector) {
		if !r.Since.IsZero() {
			s.Where(entsql.GTE(s.C(name), ceiling(r.Since)))
		}
		if !r.Until.IsZero() {
			s.Where(entsql.And(entsql.LT(s.C(name), ceiling(r.Until)), entsql.NEQ(s.C(name), 0)))
		}
	}
}

// ceiling is the first microsecond that is not before t, so that a bound between
// two of them divides the rows as it would divide moments.
func ceiling(t time.Time) int64 {
	n := int64(column.TimeOf(t))
	if t.Nanosecond()%1000 != 0 {
		n++
	}
	return n
}

func (s *Store) eventConditions(f hub.EventFilter) []condition {
	return []condition{
		s.typeAnyOf(f.Types),
		anyOf(event.FieldSourceID, f.SourceIDs),
		anyPartner(event.FieldPartnerID, f.PartnerIDs),
		equal(event.FieldDedupeKey, clean(f.DedupeKey)),
		equal(event.FieldOrderingKey, clean(f.OrderingKey)),
		during(event.FieldReceivedAt, f.ReceivedAt),
		during(event.FieldOccurredAt, f.OccurredAt),
	}
}

// typeAnyOf restricts the type to names and patterns, where they are given.
func (s *Store) typeAnyOf(patterns []string) condition {
	return func(sel *entsql.Selector) {
		if len(patterns) == 0 {
			return
		}
		sel.Where(s.typeIn(sel, event.FieldType, patterns))
	}
}

// typeIn is the condition of a column whose types fit a name or pattern, as hub.TypeMatches has it. What
// stands before the first * becomes a range, which an index serves in either database.
func (s *Store) typeIn(sel *entsql.Selector, column string, patterns []string) *entsql.Predicate {
	name := sel.C(column)
	var exact []any
	var any []*entsql.Predicate
	for _, pattern := range patterns {
		pattern = clean(pattern)
		prefix, rest, wild := strings.Cut(pattern, "*")
		if !wild {
			exact = append(exact, pattern)
			continue
		}
		var both []*entsql.Predicate
		if strings.HasPrefix(hub.HubTypePrefix, prefix) && prefix != hub.HubTypePrefix { //nolint:gocritic // the pattern may be the shorter one
			both = append(both, entsql.P(func(b *entsql.Builder) {
				b.WriteString("(").Ident(name).WriteString(" < ").Arg(hub.HubTypePrefix).
					WriteString(" OR ").Ident(name).WriteString(" >= ").Arg(after(hub.HubTypePrefix)).WriteString(")")
			}))
		}
		if prefix != "" {
			both = append(both, entsql.GTE(name, prefix), entsql.LT(name, after(prefix)))
		}
		if strings.Trim(rest, "*") != "" {
			operator, operand := s.engine.typeLike(pattern)
			both = append(both, entsql.P(func(b *entsql.Builder) {
				b.Ident(name).WriteString(" " + operator + " ").Arg(operand)
			}))
		}
		any = append(any, entsql.And(both...))
	}
	if len(exact) > 0 {
		any = append(any, entsql.In(name, exact...))
	}
	return entsql.Or(any...)
}

// after returns the least text above everything that begins with prefix. The text
// is UTF-8, in which no byte is 0xFF, so the last byte can be raised; what comes out
// is compared by bytes alone, and made valid where the raised byte is not.
func after(prefix string) string {
	runes := []rune(prefix)
	for i := len(runes) - 1; i >= 0; i-- {
		const beforeSurrogates, afterSurrogates, last = 0xD7FF, 0xE000, 0x10FFFF
		switch runes[i] {
		case last:
			continue
		case beforeSurrogates:
			runes[i] = afterSurrogates
		default:
			runes[i]++
		}
		return string(runes[:i+1])
	}
	return string(rune(0x10FFFF)) + prefix // nothing real begins with the last code point
}

// deliveryConditions turn PENDING and HELD, which the rows do not tell apart, into
// conditions on what holds deliveries right now.
func (s *Store) deliveryConditions(f hub.DeliveryFilter) []condition {
	return []condition{
		s.statusAnyOf(f.Statuses),
		anyOf(delivery.FieldEndpointID, f.EndpointIDs),
		anyOf(delivery.FieldSubscriptionID, f.SubscriptionIDs),
		anyOf(delivery.FieldEventID, f.EventIDs),
		anyPartner(delivery.FieldPartnerID, f.PartnerIDs),
		during(delivery.FieldCreatedAt, f.CreatedAt),
	}
}

func (s *Store) statusAnyOf(statuses []hub.DeliveryStatus) condition {
	return func(sel *entsql.Selector) {
		if len(statuses) == 0 {
			return
		}
		var ended []any
		var pending, held, delivered bool
		for _, status := range statuses {
			switch status {
			case hub.DeliveryPending:
				pending = true
			case hub.DeliveryHeld:
				held = true
			default:
				delivered = delivered || status == hub.DeliveryDelivered
				ended = append(ended, string(status))
			}
		}
		var any []*entsql.Predicate
		if !delivered { // said as the partial indexes say it, so that they serve
			sel.Where(written(sel, delivery.FieldStatus, " <> 'DELIVERED'"))
			if !pending && !held {
				sel.Where(written(sel, delivery.FieldStatus, " IN ('DEAD', 'CANCELED')"))
			}
		}
		if len(ended) > 0 {
			any = append(any, entsql.In(sel.C(delivery.FieldStatus), ended...))
		}
		if pending || held {
			any = append(any, s.waiting(sel, pending, held))
		}
		sel.Where(entsql.Or(any...))
	}
}

// written is a condition whose constant stands in the statement itself: a partial
// index serves no statement in which it is a parameter.
func written(sel *entsql.Selector, column, rest string) *entsql.Predicate {
	name := sel.C(column) // now: inside a subquery the selector gets another name
	return entsql.P(func(b *entsql.Builder) { b.Ident(name).WriteString(rest) })
}

func isPending(sel *entsql.Selector) *entsql.Predicate {
	return written(sel, delivery.FieldStatus, " = 'PENDING'")
}

// pending restricts a query to the rows that have not ended.
func pending(sel *entsql.Selector) { sel.Where(isPending(sel)) }

// waiting is the condition of deliveries that are PENDING, HELD or either.
func (s *Store) waiting(sel *entsql.Selector, pending, held bool) *entsql.Predicate {
	row := isPending(sel)
	if pending && held {
		return row
	}
	endpoints, subscriptions := s.holding()
	holds := []*entsql.Predicate{written(sel, delivery.FieldReason, " <> ''"), isLater(sel)}
	if len(endpoints) > 0 {
		holds = append(holds, entsql.In(sel.C(delivery.FieldEndpointID), endpoints...))
	}
	if len(subscriptions) > 0 {
		holds = append(holds, entsql.In(sel.C(delivery.FieldSubscriptionID), subscriptions...))
	}
	if held {
		return entsql.And(row, entsql.Or(holds...))
	}
	return entsql.And(row, entsql.Not(entsql.Or(holds...)))
}

// holding lists the endpoints and subscriptions whose deliveries are held now.
func (s *Store) holding() (endpoints, subscriptions []any) {
	cfg, now := s.config.Load(), s.clock.Now()
	for id, e := range cfg.Endpoints {
		if _, held := hub.Holds(e, s.health.of(id), nil, now); held {
			endpoints = append(endpoints, id)
		}
	}
	for id, sub := range cfg.Subscriptions {
		if _, held := hub.Holds(nil, nil, sub, now); held {
			subscriptions = append(subscriptions, id)
		}
	}
	return endpoints, subscriptions
}

func rejectionConditions(f hub.RejectionFilter) []condition {
	return []condition{
		anyOf(rejection.FieldSourceID, f.SourceIDs),
		anyOf(rejection.FieldReason, f.Reasons),
		during(rejection.FieldReceivedAt, f.ReceivedAt),
	}
}
