// Package page turns the arguments of a connection into a page of a keyset-
// paginated list, and places in a list into the opaque cursors that clients
// hold. It knows nothing of how lists are stored.
package page

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Arguments are those of a connection field; nested ones know first and after alone.
type Arguments struct {
	First  *int
	After  *string
	Last   *int
	Before *string
}

// Order is the order of one kind of list. A cursor of one order is refused by
// every other.
type Order struct {
	tag   string
	valid func(key string) bool
}

// The orders of all lists.
var (
	Sources       = byID("src", hub.SourcePrefix)
	Events        = Order{tag: "evt", valid: isSequence}
	Rejections    = byID("rej", hub.RejectionPrefix)
	Endpoints     = byID("end", hub.EndpointPrefix)
	Subscriptions = byID("sub", hub.SubscriptionPrefix)
	Deliveries    = byID("dlv", hub.DeliveryPrefix)
	Attempts      = Order{tag: "att", valid: isNumber}
	APIKeys       = byID("key", hub.APIKeyPrefix)
	Partners      = byID("prt", hub.PartnerPrefix)
	Documents     = byID("doc", hub.DocumentPrefix)
	Replays       = byID("rpl", hub.ReplayPrefix)
	EventTypes    = byID("ety", hub.EventTypePrefix)
)

func byID(tag, prefix string) Order {
	return Order{tag: tag, valid: func(key string) bool { return hub.IDPrefix(key) == prefix }}
}

// version changes when cursors that clients still hold are to be refused.
const version = "1"

// encoding refuses all but the one way to write a cursor.
var encoding = base64.RawURLEncoding.Strict()

// Cursor makes the opaque cursor of a place in the list.
func (o Order) Cursor(key string) string {
	return encoding.EncodeToString([]byte(version + o.tag + ":" + key))
}

// key reads a cursor that a client sent.
func (o Order) key(argument, cursor string) (string, error) {
	raw, err := encoding.DecodeString(cursor)
	key, found := strings.CutPrefix(string(raw), version+o.tag+":")
	if err != nil || strings.ContainsAny(cursor, "\r\n") || !found || !o.valid(key) {
		return "", hub.NewError(hub.CodeBadUserInput, argument+" is not a cursor of this list")
	}
	return key, nil
}

// Page reads the arguments of a connection. Whatever is out of bounds is refused,
// never cut to size.
func (o Order) Page(a Arguments) (hub.Page, error) {
	p := hub.Page{Size: hub.DefaultPageSize}
	switch {
	case a.First != nil && a.Last != nil:
		return p, hub.NewError(hub.CodeBadUserInput, "give first or last, not both")
	case a.First != nil:
		p.Size = *a.First
	case a.Last != nil:
		p.Size, p.Backward = *a.Last, true
	case a.Before != nil && a.After == nil:
		p.Backward = true // the page next to the cursor
	}
	if p.Size < 0 || p.Size > hub.MaxPageSize {
		return p, hub.NewError(hub.CodeBadUserInput, fmt.Sprintf("a page has 0 to %d items", hub.MaxPageSize))
	}
	var err error
	if a.After != nil {
		if p.After, err = o.key("after", *a.After); err != nil {
			return p, err
		}
	}
	if a.Before != nil {
		if p.Before, err = o.key("before", *a.Before); err != nil {
			return p, err
		}
	}
	return p, nil
}

// Cut takes a page from a whole list in descending order of its keys.
func Cut[T any](items []T, key func(T) string, p hub.Page) hub.Slice[T] {
	from, to := 0, len(items)
	descending := func(item T, target string) int { return strings.Compare(target, key(item)) }
	if p.After != "" {
		at, found := slices.BinarySearchFunc(items, p.After, descending)
		from = at
		if found {
			from++
		}
	}
	if p.Before != "" {
		to, _ = slices.BinarySearchFunc(items, p.Before, descending)
		to = max(from, to)
	}
	if p.Backward {
		from = max(from, to-p.Size)
	} else {
		to = min(to, from+p.Size)
	}
	return hub.Slice[T]{Items: items[from:to], HasPrevious: from > 0, HasNext: to < len(items)}
}

// AttemptKey is the place of an attempt among those of its delivery.
func AttemptKey(number int) string { return fmt.Sprintf("%0*d", numberWidth, number) }

const numberWidth = 10

func isNumber(key string) bool {
	return len(key) == numberWidth && strings.Trim(key, "0123456789") == ""
}

func isSequence(key string) bool {
	return len(key) == 16 && strings.Trim(key, "0123456789abcdef") == "" && key[0] < '8'
}
