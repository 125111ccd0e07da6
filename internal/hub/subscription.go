package hub

import "time"

// SubscriptionState says whether a subscription's deliveries go out now.
type SubscriptionState string

// The states of a subscription.
const (
	SubscriptionActive SubscriptionState = "ACTIVE"
	SubscriptionPaused SubscriptionState = "PAUSED" // deliveries are made and held
)

// Subscription chooses which events an endpoint gets.
type Subscription struct {
	ID         string
	Name       string
	EndpointID string
	State      SubscriptionState
	EventTypes []string // exact, or with * as in invoice.*
	SourceIDs  []string // empty: every source
	Filter     string   // CEL that must be true; "" admits everything
	// Transform makes the body of each delivery; nil sends the event's own.
	Transform *Transform
	// Ordering says in which order deliveries with one ordering key are made.
	Ordering OrderingMode // "" is NONE
	// OrderingKey is CEL that yields the key of an event; "" takes the event's own.
	OrderingKey string
	Poison      PoisonRule // "" is PARK_KEY
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// OrderingMode says in which order the deliveries of a subscription that have one ordering
// key are made. An event without a key is delivered in no order.
type OrderingMode string

// The modes of ordering.
const (
	OrderingNone      OrderingMode = "NONE"
	OrderingStrict    OrderingMode = "STRICT"     // the next is attempted once the one before has ended
	OrderingSkipStale OrderingMode = "SKIP_STALE" // what is older than what was delivered is canceled
)

// PoisonRule says what becomes of a line of STRICT deliveries whose head is dead.
type PoisonRule string

// The rules of poison.
const (
	PoisonPark PoisonRule = "PARK_KEY" // it waits for somebody to act
	PoisonSkip PoisonRule = "SKIP"     // it goes on
)

// Ordered reports whether the deliveries of a subscription need an ordering key.
func (s *Subscription) Ordered() bool {
	return s.Ordering == OrderingStrict || s.Ordering == OrderingSkipStale
}

// Parks reports whether a dead delivery keeps those behind it from going on. One that is
// not STRICT any more parks nothing, so a change of mode lets parked keys go.
func (s *Subscription) Parks() bool { return s.Ordering == OrderingStrict && s.Poison != PoisonSkip }

// TransformKind is the language of a transform.
type TransformKind string

// The kinds of transform.
const (
	TransformCEL     TransformKind = "CEL"     // an expression that builds any JSON
	TransformGraphQL TransformKind = "GRAPHQL" // a selection set on Event, whose result is the body
)

// Transform makes a body of an event. It is immutable.
type Transform struct {
	Kind       TransformKind `json:"kind"`
	Expression string        `json:"expression"`
}

// Equal reports whether two transforms are the same; nil is none.
func (t *Transform) Equal(other *Transform) bool {
	return t == other || t != nil && other != nil && *t == *other
}

// MaxShapedBytes is the largest body that a transform may make.
const MaxShapedBytes = 1 << 20

// Rule is what chooses the events of a subscription, as it stood from one place in
// the log on.
type Rule struct {
	SubscriptionID string
	Name           string // the subscription's, then
	EndpointID     string
	EventTypes     []string
	SourceIDs      []string
	Filter         string
}

// Rule returns the rule that holds now.
func (s *Subscription) Rule() Rule {
	return Rule{
		SubscriptionID: s.ID, Name: s.Name, EndpointID: s.EndpointID,
		EventTypes: s.EventTypes, SourceIDs: s.SourceIDs, Filter: s.Filter,
	}
}
