package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/attempt"
	"github.com/hookgraph/hookgraph/ent/delivery"
	"github.com/hookgraph/hookgraph/ent/endpoint"
	"github.com/hookgraph/hookgraph/ent/event"
	"github.com/hookgraph/hookgraph/ent/eventtype"
	entrollup "github.com/hookgraph/hookgraph/ent/rollup"
	"github.com/hookgraph/hookgraph/ent/subscription"
	"github.com/hookgraph/hookgraph/ent/subscriptionrevision"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// View is the door through which people read and change what is stored. Whatever is
// out of its sight does not exist for it: it is in no list, no count and no edge, and
// changing it is hub.ErrNotFound.
type View struct {
	store *Store
	sight hub.Sight
}

// For returns the store as somebody sees it. The methods that a Store has of its own
// View see everything: they are for the hub itself and for tools.
func (s *Store) For(sight hub.Sight) *View { return &View{store: s, sight: sight} }

// Sight returns what the view sees.
func (v *View) Sight() hub.Sight { return v.sight }

// HubID names this hub, whichever of its nodes is asked, to other hubs.
func (v *View) HubID() string {
	digest := sha256.Sum256([]byte("hub of the epoch " + v.store.Epoch()))
	return "hub_" + hex.EncodeToString(digest[:8])
}

// Configuration returns what is in sight of the newest configuration this process knows.
func (v *View) Configuration() *hub.Configuration { return v.store.config.Load().For(v.sight) }

// Refresh is Store.Refresh.
func (v *View) Refresh(ctx context.Context) error { return v.store.Refresh(ctx) }

// CatchUp brings the configuration up to date where another node may have changed it. It
// reads one row, and nothing on SQLite, of which this process alone changes it. Where the
// database is away all stays as it was: whatever is read from it says so.
func (v *View) CatchUp(ctx context.Context) {
	if v.store.reads.Dialect() != dialect.Postgres {
		return
	}
	if _, err := v.store.catchUp(ctx); err != nil && ctx.Err() == nil {
		v.store.log.Warn("the configuration could not be brought up to date", "error", err)
	}
}

// errOutOfSight is what a partner gets that makes something which is not its own.
var errOutOfSight = hub.NewError(hub.CodeForbidden, "a partner makes endpoints and subscriptions for itself alone")

// The rows in sight. Every read of a view begins with one of these queries; what a
// view changes is found by the conditions below them.

func (v *View) events() *ent.EventQuery { return v.store.read.Event.Query().Where(v.ofEvents) }

func (v *View) deliveries() *ent.DeliveryQuery {
	return v.store.read.Delivery.Query().Where(v.ofDeliveries)
}

func (v *View) attempts() *ent.AttemptQuery { return v.store.read.Attempt.Query().Where(v.ofAttempts) }

func (v *View) rejections() *ent.RejectionQuery {
	return v.store.read.Rejection.Query().Where(v.ofOperator)
}

func (v *View) eventTypes() *ent.EventTypeQuery {
	return v.store.read.EventType.Query().Where(v.ofEventTypes)
}

func (v *View) apiKeys() *ent.APIKeyQuery {
	return v.store.read.APIKey.Query().Where(v.ofOperator)
}

// restrict leaves a selection whole for whoever sees everything, and empty for whoever
// is nobody. A partner's is left to of.
func (v *View) restrict(sel *entsql.Selector, of func(partnerID string) *entsql.Predicate) {
	switch partnerID := v.sight.PartnerID(); {
	case v.sight.Whole():
	case partnerID == "":
		sel.Where(entsql.False())
	default:
		sel.Where(of(partnerID))
	}
}

// ofEvents is hub.Sight.Sees as a condition, by what is shared right now.
func (v *View) ofEvents(sel *entsql.Selector) {
	v.restrict(sel, func(partnerID string) *entsql.Predicate {
		addressed := owned(sel, event.FieldPartnerID, partnerID)
		shared := v.sight.Shared(v.store.config.Load())
		if len(shared) == 0 {
			return addressed
		}
		toNobody := entsql.EQ(sel.C(event.FieldPartnerID), "")
		return entsql.Or(addressed, entsql.And(toNobody, v.store.typeIn(sel, event.FieldType, shared)))
	})
}

// ofEventTypes are those that are shared right now and that somebody has described, or
// of which there was an event for everybody: what is addressed to others tells a partner
// not even its type.
func (v *View) ofEventTypes(sel *entsql.Selector) {
	v.restrict(sel, func(string) *entsql.Predicate {
		shared := v.sight.Shared(v.store.config.Load())
		if len(shared) == 0 {
			return entsql.False()
		}
		return entsql.And(v.store.typeIn(sel, eventtype.FieldName, shared),
			entsql.Or(entsql.EQ(sel.C(eventtype.FieldDescribed), true), entsql.EQ(sel.C(eventtype.FieldCommon), true)))
	})
}

func (v *View) ofDeliveries(sel *entsql.Selector) {
	v.restrict(sel, func(partnerID string) *entsql.Predicate {
		return owned(sel, delivery.FieldPartnerID, partnerID)
	})
}

// ofAttempts are those at deliveries in sight, and those of no delivery at endpoints in
// sight.
func (v *View) ofAttempts(sel *entsql.Selector) {
	of, at := sel.C(attempt.FieldDeliveryID), sel.C(attempt.FieldEndpointID)
	v.restrict(sel, func(partnerID string) *entsql.Predicate {
		return entsql.P(func(b *entsql.Builder) {
			b.WriteString("(EXISTS (SELECT 1 FROM deliveries AS made WHERE made.id = ").Ident(of).
				WriteString(" AND made.partner_id = ").Arg(partnerID).
				WriteString(") OR EXISTS (SELECT 1 FROM endpoints AS probed WHERE probed.id = ").Ident(at).
				WriteString(" AND probed.partner_id = ").Arg(partnerID).WriteString("))")
		})
	})
}

func (v *View) ofEndpoints(sel *entsql.Selector) {
	v.restrict(sel, func(partnerID string) *entsql.Predicate {
		return entsql.EQ(sel.C(endpoint.FieldPartnerID), partnerID)
	})
}

// ofSubscriptions are those of endpoints in sight.
func (v *View) ofSubscriptions(sel *entsql.Selector) {
	v.restrict(sel, func(partnerID string) *entsql.Predicate {
		return entsql.In(sel.C(subscription.FieldEndpointID), entsql.Dialect(sel.Dialect()).
			Select("id").From(entsql.Table(endpoint.Table)).Where(entsql.EQ(endpoint.FieldPartnerID, partnerID)))
	})
}

// ofRules are those of subscriptions to endpoints in sight.
func (v *View) ofRules(sel *entsql.Selector) {
	v.restrict(sel, func(partnerID string) *entsql.Predicate {
		return entsql.In(sel.C(subscriptionrevision.FieldEndpointID), entsql.Dialect(sel.Dialect()).
			Select("id").From(entsql.Table(endpoint.Table)).Where(entsql.EQ(endpoint.FieldPartnerID, partnerID)))
	})
}

// ofRollups are those that count what belongs to whoever looks. What is merely shared
// with a partner is counted as nobody's.
func (v *View) ofRollups(sel *entsql.Selector) {
	v.restrict(sel, func(partnerID string) *entsql.Predicate {
		return entsql.EQ(sel.C(entrollup.FieldPartnerID), partnerID)
	})
}

// ofOperator are rows that no partner sees.
func (v *View) ofOperator(sel *entsql.Selector) {
	v.restrict(sel, func(string) *entsql.Predicate { return entsql.False() })
}

// owned is the condition of rows that belong to a partner, said as the partial indexes
// say it.
func owned(sel *entsql.Selector, column, partnerID string) *entsql.Predicate {
	return entsql.And(entsql.EQ(sel.C(column), partnerID), written(sel, column, " <> ''"))
}
