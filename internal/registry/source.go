package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
)

// Bounds of a source's settings, besides those of the vocabulary.
const (
	MinDedupeWindow        = time.Second
	MaxDedupeWindow        = 366 * 24 * time.Hour
	MaxResponseBytes       = 64 << 10
	MaxProviderConfigBytes = 16 << 10

	maxContentTypeLength = 200
)

// SourceResponseInput is the answer that a sender is to get on acceptance.
type SourceResponseInput struct {
	Status      Optional[int]    // 200 to 299; 200
	ContentType Optional[string] // application/json
	Body        Optional[string] // empty
}

// CreateSourceInput is a source to be.
type CreateSourceInput struct {
	Name            string
	Slug            Optional[string]         // derived from the name
	Kind            Optional[hub.SourceKind] // WEBHOOK
	Provider        Optional[string]
	Secrets         Optional[[]hub.Secret]
	ProviderConfig  Optional[json.RawMessage] // an object
	Verification    Optional[hub.Verification]
	AllowUnverified Optional[bool]   // false
	EventType       Optional[string] // CEL; the preset's rule. The next three alike.
	DedupeKey       Optional[string]
	OccurredAt      Optional[string]
	OrderingKey     Optional[string]
	Response        Optional[SourceResponseInput] // the event's ID
	MaxBodyBytes    Optional[int]                 // 1 MiB
	DedupeWindow    Optional[time.Duration]       // as long as events are kept
}

// UpdateSourceInput is what is to change of a source.
type UpdateSourceInput struct {
	ID              string
	Name            Optional[string]
	Secrets         Optional[[]hub.Secret]
	ProviderConfig  Optional[json.RawMessage] // an object
	Verification    Optional[hub.Verification]
	AllowUnverified Optional[bool]
	EventType       Optional[string]
	DedupeKey       Optional[string]
	OccurredAt      Optional[string]
	OrderingKey     Optional[string]
	Response        Optional[SourceResponseInput]
	MaxBodyBytes    Optional[int]
	DedupeWindow    Optional[time.Duration]
}

// CreateSource makes a source that takes events from then on.
func (r *Registry) CreateSource(ctx context.Context, in CreateSourceInput) (*hub.Source, error) {
	now := r.now()
	src := &hub.Source{
		ID: hub.NewID(hub.SourcePrefix, now), Kind: in.Kind.or(hub.SourceWebhook), State: hub.SourceActive,
		Provider: in.Provider.Value, MaxBodyBytes: hub.DefaultMaxBodyBytes, CreatedAt: now, UpdatedAt: now,
	}
	var p problems
	if src.Kind != hub.SourceWebhook && src.Kind != hub.SourceAPI {
		p.add(hub.InputInvalid, fmt.Sprintf("a source is of kind %s or %s", hub.SourceWebhook, hub.SourceAPI), "kind")
		return nil, p.err() // all else depends on the kind
	}
	r.editSource(src, UpdateSourceInput{
		Name: Some(in.Name), Secrets: in.Secrets, ProviderConfig: in.ProviderConfig, Verification: in.Verification,
		AllowUnverified: in.AllowUnverified, EventType: in.EventType, DedupeKey: in.DedupeKey,
		OccurredAt: in.OccurredAt, OrderingKey: in.OrderingKey, Response: in.Response,
		MaxBodyBytes: in.MaxBodyBytes, DedupeWindow: in.DedupeWindow,
	}, &p)
	if src.Slug = in.Slug.Value; in.Slug.given() {
		checkSlug(r.store.Configuration(), src.Slug, &p)
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return r.saveSource(ctx, src, !in.Slug.given())
}

// saveSource saves a new source, under a slug of its own or one to be derived.
func (r *Registry) saveSource(ctx context.Context, src *hub.Source, derive bool) (*hub.Source, error) {
	const tries = 5
	for try := 1; ; try++ {
		if derive {
			src.Slug = freeSlug(r.store.Configuration(), deriveSlug(src.Name))
		}
		err := r.store.CreateSource(ctx, src)
		if hub.CodeOf(err) != hub.CodeConflict {
			if err != nil {
				return nil, err
			}
			return src, nil
		}
		// Somebody took it in the meantime, perhaps on another node.
		if err := r.store.Refresh(ctx); err != nil {
			return nil, err
		}
		if !derive {
			var p problems
			slugTaken(r.store.Configuration(), src.Slug, &p)
			return nil, p.err()
		}
		if try == tries {
			return nil, err
		}
	}
}

// UpdateSource changes a source.
func (r *Registry) UpdateSource(ctx context.Context, in UpdateSourceInput) (*hub.Source, error) {
	return r.store.UpdateSource(ctx, in.ID, func(src *hub.Source) error {
		var p problems
		r.editSource(src, in, &p)
		src.UpdatedAt = r.now()
		return p.err()
	})
}

// editSource applies an input to a source and notes what is wrong with it.
func (r *Registry) editSource(src *hub.Source, in UpdateSourceInput, p *problems) {
	p.name(in.Name, &src.Name)
	in.Secrets.change(&src.Secrets, nil)
	if in.ProviderConfig.Set {
		src.ProviderConfig = nil
		if in.ProviderConfig.given() {
			src.ProviderConfig = readProviderConfig(in.ProviderConfig.Value, p)
		}
	}
	if in.Verification.Set {
		src.Verification = nil
		if v := in.Verification.Value; in.Verification.given() {
			src.Verification = &v
			r.checkVerification(src.Verification, p)
		}
	}
	in.AllowUnverified.change(&src.AllowUnverified, false)
	p.list = append(p.list, r.providers.CheckSource(src)...)

	r.editRequests(src, in, p)
	if in.DedupeWindow.change(&src.DedupeWindow, 0) {
		p.within(src.DedupeWindow, MinDedupeWindow, MaxDedupeWindow, "dedupeWindow")
	}
}

// readProviderConfig reads a preset's settings and notes what is wrong with their form.
func readProviderConfig(text json.RawMessage, p *problems) map[string]any {
	if len(text) > MaxProviderConfigBytes {
		p.add(hub.InputLimitExceeded, fmt.Sprintf("this has at most %d bytes as JSON", MaxProviderConfigBytes), "providerConfig")
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var config map[string]any
	if err := decoder.Decode(&config); err != nil {
		p.add(hub.InputInvalid, "this is an object; the providers query lists its keys", "providerConfig")
		return nil
	}
	return config
}

// editRequests applies what concerns the requests that a webhook source gets.
func (r *Registry) editRequests(src *hub.Source, in UpdateSourceInput, p *problems) {
	webhook := src.Kind == hub.SourceWebhook
	reserved := func(given bool, field string) bool {
		if given && !webhook {
			p.add(hub.InputInvalid, "only sources of kind WEBHOOK have one", field)
		}
		return given && webhook
	}
	for _, e := range []struct {
		in    Optional[string]
		field *string
		kind  match.ValueKind
		name  string
	}{
		{in.EventType, &src.EventType, match.Text, "eventType"},
		{in.DedupeKey, &src.DedupeKey, match.Text, "dedupeKey"},
		{in.OccurredAt, &src.OccurredAt, match.Time, "occurredAt"},
		{in.OrderingKey, &src.OrderingKey, match.Text, "orderingKey"},
	} {
		e.in.change(e.field, "")
		if reserved(e.in.Value != "", e.name) { // the empty text takes the preset's rule, as null does
			p.expression(r.expressions.CheckSource(*e.field, e.kind), e.name)
		}
	}
	if in.Response.Set {
		src.Response = hub.SourceResponse{}
		if reserved(in.Response.given(), "response") {
			src.Response = checkResponse(in.Response.Value, p)
		}
	}
	given := in.MaxBodyBytes.change(&src.MaxBodyBytes, hub.DefaultMaxBodyBytes)
	if reserved(given, "maxBodyBytes") {
		p.between(src.MaxBodyBytes, 1, hub.MaxMaxBodyBytes, "maxBodyBytes")
	}
}

// checkVerification fills in a custom scheme and notes what is wrong with its
// expressions. The rest is the providers' to check.
func (r *Registry) checkVerification(v *hub.Verification, p *problems) {
	if v.HMAC == nil {
		return
	}
	hmac := *v.HMAC
	v.HMAC = &hmac
	if hmac.SignedContent != "" {
		p.expression(r.expressions.CheckSource(hmac.SignedContent, match.Bytes), "verification", "hmac", "signedContent")
	}
	if hmac.Timestamp != "" {
		p.expression(r.expressions.CheckSource(hmac.Timestamp, match.Time), "verification", "hmac", "timestamp")
		if hmac.Tolerance == 0 {
			v.HMAC.Tolerance = hub.DefaultTolerance
		}
	}
}

func checkResponse(in SourceResponseInput, p *problems) hub.SourceResponse {
	out := hub.SourceResponse{
		Status:      in.Status.or(http.StatusOK),
		ContentType: in.ContentType.or("application/json"),
		Body:        in.Body.Value,
	}
	if out.Status < 200 || out.Status > 299 {
		p.add(hub.InputInvalid, "the status is 200 to 299: with any other the sender repeats what is already stored", "response", "status")
	}
	if (out.Status == http.StatusNoContent || out.Status == http.StatusResetContent) && out.Body != "" {
		p.add(hub.InputInvalid, fmt.Sprintf("an answer of status %d has no body", out.Status), "response", "body")
	}
	if _, _, err := mime.ParseMediaType(out.ContentType); err != nil || len(out.ContentType) > maxContentTypeLength {
		p.add(hub.InputInvalid, "this is no media type, such as application/json", "response", "contentType")
	}
	if len(out.Body) > MaxResponseBytes {
		p.add(hub.InputLimitExceeded, fmt.Sprintf("a body has at most %d bytes", MaxResponseBytes), "response", "body")
	}
	return out
}

// DeleteSource deletes a source. Its events stay.
func (r *Registry) DeleteSource(ctx context.Context, id string) error {
	if src := r.store.Configuration().Sources[id]; src != nil && src.Slug == hub.BuiltInAPISlug && src.Kind == hub.SourceAPI {
		var p problems
		p.add(hub.InputForbidden, "this source takes what is published without naming one; pause it instead", "id")
		return p.err()
	}
	return r.store.DeleteSource(ctx, id)
}

// PauseSource has a source refuse requests for the time being. Pausing what is
// paused changes nothing.
func (r *Registry) PauseSource(ctx context.Context, id string) (*hub.Source, error) {
	return r.switchSource(ctx, id, hub.SourcePaused)
}

// ResumeSource has a source take requests again. Resuming what is active changes
// nothing.
func (r *Registry) ResumeSource(ctx context.Context, id string) (*hub.Source, error) {
	return r.switchSource(ctx, id, hub.SourceActive)
}

func (r *Registry) switchSource(ctx context.Context, id string, state hub.SourceState) (*hub.Source, error) {
	var found *hub.Source
	saved, err := r.store.UpdateSource(ctx, id, func(src *hub.Source) error {
		if found = src; src.State == state {
			return errUnchanged
		}
		src.State, src.UpdatedAt = state, r.now()
		return nil
	})
	return switched(found, saved, err)
}

// EnsureBuiltIn makes the API source that exists from the start, unless it does.
func (r *Registry) EnsureBuiltIn(ctx context.Context) error {
	if err := r.store.Refresh(ctx); err != nil {
		return err
	}
	if r.store.Configuration().SourcesBySlug[hub.BuiltInAPISlug] != nil {
		return nil
	}
	now := r.now()
	err := r.store.CreateSource(ctx, &hub.Source{
		ID: hub.NewID(hub.SourcePrefix, now), Name: "API", Slug: hub.BuiltInAPISlug, Kind: hub.SourceAPI,
		State: hub.SourceActive, MaxBodyBytes: hub.DefaultMaxBodyBytes, CreatedAt: now, UpdatedAt: now,
	})
	if hub.CodeOf(err) == hub.CodeConflict { // another node was faster
		return r.store.Refresh(ctx)
	}
	return err
}
