package match

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Route returns the IDs of the subscriptions that want an event, in the order of
// their IDs. A paused subscription wants its events too: its deliveries are made
// and held. One whose endpoint is gone wants none, and one to a partner's endpoint
// wants only what that partner may see. A filter that fails over the event says no.
//
// The event needs its payload if a filter is to see it.
func (m *Matcher) Route(ev *hub.Event, cfg *hub.Configuration) []string {
	var (
		wanting []string
		seen    *facts
	)
	for _, sub := range cfg.Ordered {
		if !wantsType(sub.EventTypes, ev) || !wantsSource(sub.SourceIDs, ev) || !mayGo(ev, cfg.Endpoints[sub.EndpointID], cfg) {
			continue
		}
		if sub.Filter != "" {
			if seen == nil {
				seen = newFacts(ev, slugOf(ev.SourceID, cfg))
			}
			admitted, err := m.admits(sub.Filter, seen)
			if err != nil {
				m.logger.Debug("filter failed over event", slog.String("event_id", ev.ID),
					slog.String("subscription_id", sub.ID), slog.Any("error", err))
			}
			if !admitted {
				continue
			}
		}
		wanting = append(wanting, sub.ID)
	}
	return wanting
}

// mayGo reports whether an endpoint exists and may be sent an event.
func mayGo(ev *hub.Event, e *hub.Endpoint, cfg *hub.Configuration) bool {
	return e != nil && (e.PartnerID == "" || hub.PartnerSight(e.PartnerID).Sees(ev, cfg))
}

func wantsType(patterns []string, ev *hub.Event) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return hub.TypeMatches(pattern, ev.Type) })
}

func wantsSource(ids []string, ev *hub.Event) bool {
	return len(ids) == 0 || slices.Contains(ids, ev.SourceID)
}

// Verdict is what a rule says of an event.
type Verdict string

// The verdicts of a rule. All but the first say no.
const (
	Matched      Verdict = "MATCHED"
	OtherType    Verdict = "OTHER_TYPE"
	OtherSource  Verdict = "OTHER_SOURCE"
	FilterFalse  Verdict = "FILTER_FALSE"
	FilterFailed Verdict = "FILTER_FAILED"
	// OutOfSight is for whoever knows whose the endpoint is: Judge never says it.
	OutOfSight Verdict = "OUT_OF_SIGHT"
)

// Judge tells what a rule says of an event with its payload and, where it says no, why.
// It is what Route goes by, told at length.
func (m *Matcher) Judge(rule hub.Rule, ev *hub.Event, sourceSlug string) (verdict Verdict, reason string) {
	if !wantsType(rule.EventTypes, ev) {
		return OtherType, fmt.Sprintf("none of its event types fits %.64q", ev.Type)
	}
	if !wantsSource(rule.SourceIDs, ev) {
		return OtherSource, "it does not want this source"
	}
	switch admitted, err := m.Admits(rule.Filter, ev, sourceSlug); {
	case err != nil:
		return FilterFailed, "the filter failed, which counts as no: " + Reason(err) + "; the filter is " + rule.Filter
	case !admitted:
		return FilterFalse, "the filter said no: " + rule.Filter
	}
	return Matched, ""
}

// maxReason bounds what an error of an expression may say, in bytes: it may quote data.
const maxReason = 500

// Reason is what is shown of the error of an expression.
func Reason(err error) string {
	text := strings.ToValidUTF8(plainMessage(err.Error()), "\uFFFD")
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return text
}

func slugOf(sourceID string, cfg *hub.Configuration) string {
	if source := cfg.Sources[sourceID]; source != nil {
		return source.Slug
	}
	return ""
}
