package graph

import (
	"context"
	"fmt"

	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
	"github.com/hookgraph/hookgraph/internal/store"
)

// Bounds of a preview.
const (
	maxPreviewed     = hub.MaxPageSize
	maxPreviewedText = 8 << 20 // bytes of bodies in one answer
	previewChunk     = 8       // events whose payloads are in memory at once
)

// preview runs filter and transform of an input over past events.
func (r *Resolver) preview(ctx context.Context, input model.PreviewSubscriptionInput) (*model.PreviewSubscriptionPayload, error) {
	var problems hub.UserErrors
	last := valueOf(input.Last.Value())
	if input.Last.Value() == nil {
		last = hub.DefaultPageSize
	}
	ids := input.EventIds.Value()
	if last < 1 || last > maxPreviewed {
		problems.Add(hub.InputInvalid, fmt.Sprintf("this is 1 to %d", maxPreviewed), "input", "last")
	}
	if len(ids) > maxPreviewed {
		problems.Add(hub.InputLimitExceeded, fmt.Sprintf("at most %d events can be tried out at once", maxPreviewed), "input", "eventIds")
	}
	draft, err := r.configure(ctx).DraftSubscription(ctx, previewSubscription(input))
	wrong, err := userErrors(err, "input")
	wrong = append(wrong, model.NewUserErrors(problems)...)
	if err != nil || len(wrong) > 0 {
		return &model.PreviewSubscriptionPayload{Results: []*model.PreviewResult{}, UserErrors: wrong}, err
	}
	events, err := r.previewed(ctx, ids, last)
	if err != nil {
		return nil, err
	}
	p := previewer{r: r, subscription: draft, rule: draft.Rule(), left: maxPreviewedText}
	results := make([]*model.PreviewResult, 0, len(events))
	shown := loader.FromContext(ctx).ShowEvents(events)
	for len(shown) > 0 {
		chunk := shown[:min(len(shown), previewChunk)]
		shown = shown[len(chunk):]
		if err := p.try(ctx, chunk, &results); err != nil {
			return nil, err
		}
	}
	return &model.PreviewSubscriptionPayload{Results: results, UserErrors: []*model.UserError{}}, nil
}

// previewed returns the events to try out, without their payloads.
func (r *Resolver) previewed(ctx context.Context, ids []string, last int) ([]*hub.Event, error) {
	if ids == nil {
		newest, err := r.store(ctx).Events(ctx, store.EventQuery{Page: hub.Page{Size: last}})
		return newest.Items, err
	}
	found, err := r.store(ctx).EventsByID(ctx, ids)
	if err != nil {
		return nil, err
	}
	events := make([]*hub.Event, 0, len(found))
	for _, id := range model.NewGroup(ids, func(id string) string { return id }).IDs() {
		if found[id] != nil {
			events = append(events, found[id])
		}
	}
	return events, nil
}

// previewer tries a subscription out.
type previewer struct {
	r            *Resolver
	subscription *hub.Subscription
	rule         hub.Rule
	left         int // bytes of bodies that may still be shown
}

func (p *previewer) try(ctx context.Context, events []*model.Event, results *[]*model.PreviewResult) error {
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.ID
	}
	payloads, err := p.r.store(ctx).Payloads(ctx, ids)
	if err != nil {
		return err
	}
	for _, e := range events {
		if err := ctx.Err(); err != nil {
			return err
		}
		whole := *e.Event
		if whole.Payload = payloads[e.ID]; whole.Payload == nil {
			continue // gone meanwhile
		}
		result := &model.PreviewResult{Event: e}
		*results = append(*results, result)
		verdict, reason := p.r.matcher.Judge(p.rule, &whole, p.r.shaper.slugOf(&whole))
		if verdict != match.Matched {
			result.Reason = &reason
			continue
		}
		result.Matched = true
		p.body(ctx, &whole, result)
	}
	return nil
}

func (p *previewer) body(ctx context.Context, event *hub.Event, result *model.PreviewResult) {
	body, err := p.r.shaper.shape(ctx, p.subscription.Transform, event)
	problem := ""
	switch {
	case err != nil:
		problem = err.Error()
	case len(body.Bytes) > p.left:
		problem = fmt.Sprintf("the body could be made, but one answer shows at most %d bytes of bodies; ask for fewer events", maxPreviewedText)
	default:
		p.left -= len(body.Bytes)
		text := model.Text(body.Bytes)
		result.Body = &text
		return
	}
	result.Error = &problem
}
