package graphqlsub

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hookgraph/hookgraph/internal/graphqlclient"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/jsonpick"
	"github.com/hookgraph/hookgraph/internal/receive"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

// reader takes results apart.
type reader struct {
	items  *jsonpick.Path // within data; nil: by the rule of defaultItems
	resume *jsonpick.Path // within the result, else within data; nil: it does not resume
	item   func(json.RawMessage) (receive.Item, error)
}

func newReader(src *hub.Source, hubID string) (*reader, error) {
	r := &reader{item: func(raw json.RawMessage) (receive.Item, error) { return plainItem(src, raw), nil }}
	if src.Provider == providerHookgraph {
		r.item = func(raw json.RawMessage) (receive.Item, error) { return hubItem(raw, hubID) }
	}
	for _, path := range []struct {
		text string
		into **jsonpick.Path
	}{{src.Upstream.Items, &r.items}, {src.Upstream.ResumePath, &r.resume}} {
		if path.text == "" {
			continue
		}
		read, err := jsonpick.Parse(path.text)
		if err != nil {
			return nil, err // it was checked when it was saved, perhaps by another version
		}
		*path.into = read
	}
	return r, nil
}

// read returns what is to become events of a result, and the value to resume behind it;
// nil where it has none.
func (r *reader) read(result graphqlclient.Result) (items []receive.Item, resume json.RawMessage, err error) {
	data, ok := jsonpick.Read(result.Data)
	if !ok {
		return nil, nil, errors.New("the upstream sent data that is no JSON")
	}
	found := defaultItems(result.Data)
	if r.items != nil {
		found = data.Pick(r.items)
	}
	for _, raw := range found {
		if string(raw) == "null" {
			continue
		}
		item, err := r.item(raw)
		if err != nil {
			return nil, nil, err
		}
		items = append(items, item)
	}
	if r.resume == nil {
		return items, nil, nil
	}
	if whole, ok := jsonpick.Read(result.Raw); ok {
		resume = last(whole.Pick(r.resume))
	}
	if resume == nil {
		resume = last(data.Pick(r.resume))
	}
	return items, resume, nil
}

// last returns the last value that there is.
func last(found []json.RawMessage) json.RawMessage {
	for i := len(found) - 1; i >= 0; i-- {
		if string(found[i]) != "null" {
			return found[i]
		}
	}
	return nil
}

// defaultItems are the elements of the only list in the value of the root field, or of
// the value where it is a list; else the value itself.
func defaultItems(data json.RawMessage) []json.RawMessage {
	var value gjson.Result
	gjson.ParseBytes(data).ForEach(func(_, member gjson.Result) bool {
		value = member
		return false // a subscription has one root field
	})
	list, lists := value, 0
	if value.IsArray() {
		lists = 1
	} else if value.IsObject() {
		value.ForEach(func(_, member gjson.Result) bool {
			if member.IsArray() {
				list, lists = member, lists+1
			}
			return true
		})
	}
	if lists != 1 {
		if !value.Exists() {
			return nil
		}
		return []json.RawMessage{json.RawMessage(value.Raw)}
	}
	var found []json.RawMessage
	list.ForEach(func(_, element gjson.Result) bool {
		found = append(found, json.RawMessage(element.Raw))
		return true
	})
	return found
}

// plainItem makes an event's body of an item as it is. One with an ID that comes again as
// it was is the same event; changed, it is another one.
func plainItem(src *hub.Source, raw json.RawMessage) receive.Item {
	item := receive.Item{Body: raw, ContentType: "application/json", Found: webhook.Extracted{OccurredAt: occurredAt(gjson.GetBytes(raw, "occurredAt"))}}
	if id := gjson.GetBytes(raw, "id"); src.DedupeKey == "" && (id.Type == gjson.String && id.Str != "" || id.Type == gjson.Number) {
		hash := sha256.Sum256(raw)
		item.Found.DedupeKey = id.String() + ":" + hex.EncodeToString(hash[:16])
		if id.Type == gjson.Number {
			item.Found.DedupeKey = id.Raw + ":" + hex.EncodeToString(hash[:16])
		}
		if webhook.CheckKey(item.Found.DedupeKey) != "" { // the ID is none that could be stored
			item.Found.DedupeKey = "sha256:" + hex.EncodeToString(hash[:])
		}
	}
	return item
}

// occurredAt reads a time; what is none is no reason to refuse an event.
func occurredAt(found gjson.Result) time.Time {
	if found.Type != gjson.String {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339Nano, found.Str)
	if err != nil || webhook.CheckTime(at) != "" {
		return time.Time{}
	}
	return at
}

// hubItem makes an event of one of another hub, as that hub has it. The dedupe key is
// the event's ID there: keys of several of its sources may be the same. One that was at
// this hub before, which hubs chained in a circle bring back, says which one it was.
func hubItem(raw json.RawMessage, hubID string) (receive.Item, error) {
	var e struct {
		ID          string
		Type        string
		ContentType string
		OrderingKey string
		OccurredAt  *time.Time
		RawBody     []byte
		Headers     []hub.Header
		Hops        []string
	}
	if err := json.Unmarshal(raw, &e); err != nil || e.ID == "" || e.Type == "" {
		return receive.Item{}, fmt.Errorf("the upstream sent an event that cannot be read")
	}
	item := receive.Item{
		Body: e.RawBody, ContentType: e.ContentType, Header: make(http.Header, len(e.Headers)),
		Given: webhook.Extracted{Type: e.Type, DedupeKey: e.ID, OrderingKey: e.OrderingKey},
	}
	if e.OccurredAt != nil {
		item.Given.OccurredAt = *e.OccurredAt
	}
	for _, h := range e.Headers {
		if hub.IsHeaderName(h.Name) {
			item.Header.Add(h.Name, h.Value)
		}
	}
	var hops []hub.Hop
	for _, text := range e.Hops {
		hop, ok := hub.ReadHop(text)
		if !ok {
			return receive.Item{}, fmt.Errorf("the upstream sent an event that does not say where it was")
		}
		if hops = append(hops, hop); hop.HubID == hubID {
			item.Original = hop.EventID
		}
	}
	if len(hops) > 0 {
		item.Header.Set(hub.HopsHeader, hub.WriteHops(hops))
	}
	return item, nil
}
