package graphqlsub

import "github.com/hookgraph/hookgraph/internal/hub"

// providerHookgraph is the preset of an upstream that is a hub itself, as the table of
// providers lists it.
const providerHookgraph = "hookgraph"

// hubDocument asks for all that makes an event. The types of a filter that a source does
// not give leave out what concerns the other hub alone.
const hubDocument = `subscription Follow($after: String, $from: StreamStart = EARLIEST, $filter: EventFilter = {types: ["*"]}) {
  eventStream(after: $after, from: $from, filter: $filter, batchSize: 100) {
    cursor
    events { id type contentType orderingKey occurredAt rawBody headers { name value } hops }
  }
}`

// FillIn completes the subscription of a source by its preset, and reports whether it has
// one.
func FillIn(provider string, up *hub.Upstream) bool {
	if provider != providerHookgraph {
		return false
	}
	up.Document, up.Items = hubDocument, "$.eventStream.events[*]"
	up.ResumeVariable, up.ResumePath = "after", "$.data.eventStream.cursor"
	return true
}
