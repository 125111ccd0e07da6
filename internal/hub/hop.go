package hub

import "strings"

// HopsHeader is the header in which an event keeps the hubs that it has passed, each with
// what it was there, oldest first.
const HopsHeader = "Hookgraph-Hops"

const (
	// MaxHops bounds the hubs that an event remembers, the latest.
	MaxHops      = 32
	maxHopLength = 128
)

// Hop is an event at a hub.
type Hop struct{ HubID, EventID string }

// String writes the hop as ReadHop reads it.
func (h Hop) String() string { return h.HubID + "/" + h.EventID }

// ReadHop reads a hop; false where it is none.
func ReadHop(text string) (Hop, bool) {
	hub, event, found := strings.Cut(text, "/")
	plain := func(r rune) bool { return r > ' ' && r < 0x7f && r != ',' && r != '/' }
	for _, part := range []string{hub, event} {
		if part == "" || strings.ContainsFunc(part, func(r rune) bool { return !plain(r) }) {
			return Hop{}, false
		}
	}
	return Hop{hub, event}, found && len(text) <= maxHopLength
}

// ReadHops returns the hops that headers tell, at most MaxHops, the latest.
func ReadHops(headers []Header) []Hop {
	var hops []Hop
	for _, h := range headers {
		if !strings.EqualFold(h.Name, HopsHeader) {
			continue
		}
		for text := range strings.SplitSeq(h.Value, ",") {
			if hop, ok := ReadHop(strings.TrimSpace(text)); ok {
				hops = append(hops, hop)
			}
		}
	}
	return hops[max(0, len(hops)-MaxHops):]
}

// WriteHops returns the value of HopsHeader that tells hops, at most MaxHops, the latest.
func WriteHops(hops []Hop) string {
	hops = hops[max(0, len(hops)-MaxHops):]
	list := make([]string, len(hops))
	for i, hop := range hops {
		list[i] = hop.String()
	}
	return strings.Join(list, ", ")
}
