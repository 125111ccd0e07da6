package registry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
)

// Bounds of a source's settings, besides those of the vocabulary.
const (
	minDedupeWindow        = time.Second
	maxDedupeWindow        = 366 * 24 * time.Hour
	maxResponseBytes       = 64 << 10
	maxProviderConfigBytes = 16 << 10

	maxContentTypeLength = 200
	maxKeysURL           = 2048
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
	RateLimit       Optional[hub.RateLimit]       // the hub's own limits alone
	ValidateSchema  Optional[bool]                // false
	SilentAfter     Optional[time.Duration]       // by the rhythm learned from its events
	Poll            Optional[PollInput]           // required for its kind; the next two alike
	Upstream        Optional[UpstreamInput]
	Queue           Optional[QueueInput]
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
	RateLimit       Optional[hub.RateLimit]
	ValidateSchema  Optional[bool]
	SilentAfter     Optional[time.Duration]
	Poll            Optional[PollInput]
	Upstream        Optional[UpstreamInput]
	Queue           Optional[QueueInput]
}

// CreateSource makes a source that takes events from then on.
func (r *Registry) CreateSource(ctx context.Context, in CreateSourceInput) (*hub.Source, error) {
	now := r.now()
	src := &hub.Source{
		ID: hub.NewID(hub.SourcePrefix, now), Kind: in.Kind.or(hub.SourceWebhook), State: hub.SourceActive,
		Provider: in.Provider.Value, MaxBodyBytes: hub.DefaultMaxBodyBytes, CreatedAt: now, UpdatedAt: now,
	}
	var p problems
	switch src.Kind {
	case hub.SourceWebhook, hub.SourceAPI, hub.SourcePoll, hub.SourceGraphQL, hub.SourceQueue:
	default:
		p.add(hub.InputInvalid, fmt.Sprintf("a source is of kind %s, %s, %s, %s or %s",
			hub.SourceWebhook, hub.SourceAPI, hub.SourcePoll, hub.SourceGraphQL, hub.SourceQueue), "kind")
		return nil, p.err() // all else depends on the kind
	}
	r.editSource(src, UpdateSourceInput{
		Name: Some(in.Name), Secrets: in.Secrets, ProviderConfig: in.ProviderConfig, Verification: in.Verification,
		AllowUnverified: in.AllowUnverified, EventType: in.EventType, DedupeKey: in.DedupeKey,
		OccurredAt: in.OccurredAt, OrderingKey: in.OrderingKey, Response: in.Response,
		MaxBodyBytes: in.MaxBodyBytes, DedupeWindow: in.DedupeWindow,
		RateLimit: in.RateLimit, ValidateSchema: in.ValidateSchema, SilentAfter: in.SilentAfter, Poll: in.Poll, Upstream: in.Upstream, Queue: in.Queue,
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
		if err := ownSource(src.ID, "input", "id"); err != nil {
			return err
		}
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
	r.editFetching(src, in, p)
	p.list = append(p.list, r.providers.CheckSource(src)...)

	r.editRequests(src, in, p)
	if in.DedupeWindow.change(&src.DedupeWindow, 0) {
		p.within(src.DedupeWindow, minDedupeWindow, maxDedupeWindow, "dedupeWindow")
	}
}

// readProviderConfig reads a preset's settings and notes what is wrong with their form.
func readProviderConfig(text json.RawMessage, p *problems) map[string]any {
	if len(text) > maxProviderConfigBytes {
		p.add(hub.InputLimitExceeded, fmt.Sprintf("this has at most %d bytes as JSON", maxProviderConfigBytes), "providerConfig")
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

// editRequests applies what concerns the requests that a source gets, and how events are
// made of what comes in.
func (r *Registry) editRequests(src *hub.Source, in UpdateSourceInput, p *problems) {
	reserved := func(given bool, field string) bool {
		if given && src.Kind != hub.SourceWebhook {
			p.add(hub.InputInvalid, "only sources of kind WEBHOOK have one", field)
		}
		return given && src.Kind == hub.SourceWebhook
	}
	extracted := func(given bool, field string) bool {
		if given && src.Kind == hub.SourceAPI {
			p.add(hub.InputInvalid, "sources of kind API have none: whoever publishes an event says it", field)
		}
		return given && src.Kind != hub.SourceAPI
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
		if extracted(e.in.Value != "", e.name) { // the empty text takes the preset's rule, as null does
			p.expression(r.expressions.CheckSource(*e.field, e.kind), e.name)
		}
	}
	if in.Response.Set {
		src.Response = hub.SourceResponse{}
		if reserved(in.Response.given(), "response") {
			src.Response = checkResponse(in.Response.Value, p)
		}
	}
	if in.MaxBodyBytes.change(&src.MaxBodyBytes, hub.DefaultMaxBodyBytes) && extracted(true, "maxBodyBytes") {
		p.between(src.MaxBodyBytes, 1, hub.MaxMaxBodyBytes, "maxBodyBytes")
	}
	if in.RateLimit.Set {
		src.RateLimit = nil
		if limit := in.RateLimit.Value; reserved(in.RateLimit.given(), "rateLimit") {
			src.RateLimit = &limit
			p.rate(limit)
		}
	}
	in.ValidateSchema.change(&src.ValidateSchema, false)
	if in.SilentAfter.change(&src.SilentAfter, 0) {
		p.within(src.SilentAfter, hub.MinSilentAfter, hub.MaxSilentAfter, "silentAfter")
	}
}

// checkVerification fills in a custom scheme and notes what is wrong with its
// expressions. The rest is the providers' to check.
func (r *Registry) checkVerification(v *hub.Verification, p *problems) {
	if v.JWT != nil {
		token := *v.JWT
		v.JWT = &token
		token.Header = cmp.Or(token.Header, hub.DefaultTokenHeader)
		if token.JWKSURL != "" {
			r.checkKeysURL(token.JWKSURL, p)
		}
	}
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

// checkKeysURL notes what is wrong with the URL of a key set.
func (r *Registry) checkKeysURL(text string, p *problems) {
	field := []string{"verification", "jwt", "jwksUrl"}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" || len(text) > maxKeysURL:
		p.add(hub.InputInvalid, "this is the https URL of a JSON Web Key Set, without credentials and fragment", field...)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		p.add(hub.InputInvalid, "the URL starts with http: give an https URL, because whoever can change the keys on their way can make any token", field...)
	default:
		if code, err := r.checkOutbound(text); err != nil {
			p.add(code, err.Error(), field...)
		}
	}
}

// loopback reports whether a host is this machine, by name or address.
func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// CaptureSource has the next requests of a source kept instead of received, verified or
// not: as many as count says, from then on, whatever was ordered before. 0 ends that.
func (r *Registry) CaptureSource(ctx context.Context, id string, count int) (*hub.Source, error) {
	if err := ownSource(id, "id"); err != nil {
		return nil, err
	}
	return r.store.UpdateSource(ctx, id, func(src *hub.Source) error {
		var p problems
		if src.Kind != hub.SourceWebhook {
			p.list.Add(hub.InputInvalid, fmt.Sprintf("only what is sent to sources of kind WEBHOOK can be captured; this one is of kind %s", src.Kind), "id")
		}
		if count < 0 || count > hub.MaxCaptures {
			p.list.Add(hub.InputInvalid, fmt.Sprintf("give 0 to %d", hub.MaxCaptures), "count")
		}
		src.Capturing = count
		return p.err()
	})
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
	if len(out.Body) > maxResponseBytes {
		p.add(hub.InputLimitExceeded, fmt.Sprintf("a body has at most %d bytes", maxResponseBytes), "response", "body")
	}
	return out
}

// DeleteSource deletes a source. Its events stay.
func (r *Registry) DeleteSource(ctx context.Context, id string) error {
	if err := ownSource(id, "input", "id"); err != nil {
		return err
	}
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
	if err := ownSource(id, "id"); err != nil {
		return nil, err
	}
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

// ownSource refuses to change the source of the hub's own events.
func ownSource(id string, field ...string) error {
	if id != hub.BuiltInHubID {
		return nil
	}
	return hub.UserErrors{{Code: hub.InputForbidden, Message: "this source has the hub's own events and cannot be changed", Field: field}}
}

// EnsureBuiltIn makes the sources that exist from the start, unless they do: that of
// what is published and that of the hub's own events.
func (r *Registry) EnsureBuiltIn(ctx context.Context) error {
	return errors.Join(r.ensureAPI(ctx), r.ensureHub(ctx))
}

func (r *Registry) ensureHub(ctx context.Context) error {
	if r.store.Configuration().Sources[hub.BuiltInHubID] != nil {
		return nil
	}
	now := r.now()
	_, err := r.saveSource(ctx, &hub.Source{
		ID: hub.BuiltInHubID, Name: "Hookgraph", Kind: hub.SourceAPI,
		State: hub.SourceActive, MaxBodyBytes: hub.DefaultMaxBodyBytes, CreatedAt: now, UpdatedAt: now,
	}, true)
	if hub.CodeOf(err) == hub.CodeConflict { // another node was faster
		return r.store.Refresh(ctx)
	}
	return err
}

func (r *Registry) ensureAPI(ctx context.Context) error {
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
