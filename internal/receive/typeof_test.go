package receive_test

import (
	"testing"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// TestTheTypeOfARecordedRequest finds out what a request that was captured would have
// been, from what is kept of it.
func TestTheTypeOfARecordedRequest(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		source hub.Source
		header []hub.Header
		body   string
		want   string
	}{
		"by a header of its provider":        {hub.Source{Provider: "github"}, []hub.Header{{Name: "x-github-event", Value: "push"}}, `{"type":"other"}`, "push"},
		"by its provider's place in a body":  {hub.Source{Provider: "calendly"}, nil, `{"event":"invitee.created","type":"other"}`, "invitee.created"},
		"by an expression over the body":     {hub.Source{EventType: `body.kind + ".x"`}, nil, `{"kind":"a","type":"other"}`, "a.x"},
		"by an expression over a header":     {hub.Source{EventType: `headers["x-kind"]`}, []hub.Header{{Name: "X-Kind", Value: "b"}}, `{}`, "b"},
		"by what holds for every source":     {hub.Source{}, nil, `{"type":"order.paid"}`, "order.paid"},
		"the slug where nothing says it":     {hub.Source{}, nil, `{}`, "acme"},
		"the slug where an expression fails": {hub.Source{EventType: `body.kind`}, nil, `{"type":"other"}`, "acme"},
		"the slug where the body is cut off": {hub.Source{}, nil, `{"type":"order.paid","more":"`, "acme"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := c.source
			src.ID, src.Slug, src.Kind, src.State = "src_1", "acme", hub.SourceWebhook, hub.SourceActive
			s := newStore(&src)
			got := doorOf(t, s).TypeOf(&src, &hub.Rejection{
				ID: "rej_1", SourceID: src.ID, Reason: hub.RejectedCaptured, Method: "POST", Headers: c.header, Body: []byte(c.body), ReceivedAt: now,
			})
			if events, rejections := s.counts(); got != c.want || events+rejections != 0 {
				t.Errorf("got %q, and stored %d", got, events+rejections)
			}
		})
	}
}
