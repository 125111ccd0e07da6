package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/outbound"
	"github.com/hookgraph/hookgraph/internal/signature"
)

// Bounds of an endpoint's settings, besides those of the vocabulary.
const (
	MaxSigningSecrets = 5
	MaxOverlap        = 30 * 24 * time.Hour
	MaxHeaders        = 32
	MaxHeaderBytes    = 8 << 10 // names and values together
	MaxRate           = 1_000_000
	MinRatePeriod     = time.Millisecond
	MaxRatePeriod     = 24 * time.Hour
)

// RetryPolicyInput says when a failed delivery is tried again. What is not given
// is as by default.
type RetryPolicyInput struct {
	Schedule      Optional[[]time.Duration]
	Jitter        Optional[float64]
	FinalStatuses Optional[[]string]
}

// CreateEndpointInput is an endpoint to be.
type CreateEndpointInput struct {
	Name           string
	Kind           Optional[hub.EndpointKind] // HTTP
	URL            Optional[string]
	Timeout        Optional[time.Duration]
	MaxConcurrency Optional[int]
	RateLimit      Optional[hub.RateLimit] // none
	RetryPolicy    Optional[RetryPolicyInput]
	Headers        Optional[[]hub.Header]
	SigningSecret  Optional[hub.Secret] // generated
	Signing        Optional[hub.SigningScheme]
}

// UpdateEndpointInput is what is to change of an endpoint.
type UpdateEndpointInput struct {
	ID             string
	Name           Optional[string]
	URL            Optional[string]
	Timeout        Optional[time.Duration]
	MaxConcurrency Optional[int]
	RateLimit      Optional[hub.RateLimit]
	RetryPolicy    Optional[RetryPolicyInput]
	Headers        Optional[[]hub.Header]
	Signing        Optional[hub.SigningScheme]
}

// CreateEndpoint makes an endpoint and returns it with its signing secret, which
// is not shown again; "" where it does not sign.
func (r *Registry) CreateEndpoint(ctx context.Context, in CreateEndpointInput) (*hub.Endpoint, hub.Secret, error) {
	now := r.now()
	e := &hub.Endpoint{
		ID: hub.NewID(hub.EndpointPrefix, now), Kind: in.Kind.or(hub.EndpointHTTP), State: hub.EndpointActive,
		Timeout: hub.DefaultTimeout, MaxConcurrency: hub.DefaultMaxConcurrency, RetryPolicy: defaultPolicy(),
		Signing: hub.SigningStandardV1, CreatedAt: now, UpdatedAt: now,
	}
	var p problems
	if e.Kind != hub.EndpointHTTP {
		p.add(hub.InputInvalid, fmt.Sprintf("an endpoint is of kind %s", hub.EndpointHTTP), "kind")
		return nil, "", p.err() // all else depends on the kind
	}
	r.editEndpoint(e, UpdateEndpointInput{
		Name: Some(in.Name), URL: Some(in.URL.Value), Timeout: in.Timeout, MaxConcurrency: in.MaxConcurrency,
		RateLimit: in.RateLimit, RetryPolicy: in.RetryPolicy, Headers: in.Headers, Signing: in.Signing,
	}, &p)
	secret := in.SigningSecret.Value
	switch {
	case e.Signing == hub.SigningNone:
		if in.SigningSecret.given() {
			p.add(hub.InputInvalid, "the endpoint does not sign, so nothing would use it", "signingSecret")
		}
	case in.SigningSecret.given():
		if _, err := signature.ParseSecret(secret); err != nil {
			p.add(hub.InputInvalid, err.Error(), "signingSecret")
		}
	default:
		secret = signature.GenerateSecret()
	}
	if err := p.err(); err != nil {
		return nil, "", err
	}
	if secret != "" {
		e.SigningSecrets = []hub.SigningSecret{newSigningSecret(secret, now)}
	}
	if err := r.store.CreateEndpoint(ctx, e); err != nil {
		return nil, "", err
	}
	return e, secret, nil
}

func newSigningSecret(secret hub.Secret, now time.Time) hub.SigningSecret {
	return hub.SigningSecret{ID: hub.NewID(hub.SecretPrefix, now), Secret: secret, CreatedAt: now}
}

// UpdateEndpoint changes an endpoint.
func (r *Registry) UpdateEndpoint(ctx context.Context, in UpdateEndpointInput) (*hub.Endpoint, error) {
	return r.store.UpdateEndpoint(ctx, in.ID, func(e *hub.Endpoint) error {
		var p problems
		r.editEndpoint(e, in, &p)
		if in.Signing.Set && e.Signing == hub.SigningStandardV1 && !hasLiveSecret(e, r.now()) {
			p.add(hub.InputInvalid, "the endpoint has no signing secret: get one by rotateEndpointSecret first", "signing")
		}
		e.UpdatedAt = r.now()
		return p.err()
	})
}

func hasLiveSecret(e *hub.Endpoint, now time.Time) bool {
	return slices.ContainsFunc(e.SigningSecrets, func(s hub.SigningSecret) bool { return live(s, now) })
}

func live(s hub.SigningSecret, now time.Time) bool {
	return s.ExpiresAt.IsZero() || s.ExpiresAt.After(now)
}

// editEndpoint applies an input to an endpoint and notes what is wrong with it.
func (r *Registry) editEndpoint(e *hub.Endpoint, in UpdateEndpointInput, p *problems) {
	p.name(in.Name, &e.Name)
	switch {
	case in.URL.Null || in.URL.Set && in.URL.Value == "":
		p.add(hub.InputRequired, "give the URL to send to, such as https://example.com/hooks", "url")
	case in.URL.Set:
		e.URL = in.URL.Value
		r.noteURL(r.checkURL(e.URL), p)
	}
	if in.Timeout.change(&e.Timeout, hub.DefaultTimeout) && (e.Timeout <= 0 || e.Timeout > hub.MaxTimeout) {
		p.add(hub.InputInvalid, "this is more than PT0S and at most "+isoDuration(hub.MaxTimeout), "timeout")
	}
	if in.MaxConcurrency.change(&e.MaxConcurrency, hub.DefaultMaxConcurrency) {
		p.between(e.MaxConcurrency, 1, hub.MaxMaxConcurrency, "maxConcurrency")
	}
	if in.RateLimit.Set {
		e.RateLimit = nil
		if limit := in.RateLimit.Value; in.RateLimit.given() {
			e.RateLimit = &limit
			p.between(limit.Limit, 1, MaxRate, "rateLimit", "limit")
			p.within(limit.Period, MinRatePeriod, MaxRatePeriod, "rateLimit", "period")
		}
	}
	if in.RetryPolicy.Set {
		e.RetryPolicy = checkPolicy(in.RetryPolicy.Value, p)
	}
	if in.Headers.change(&e.Headers, nil) {
		checkHeaders(e.Headers, p)
	}
	if in.Signing.change(&e.Signing, hub.SigningStandardV1) &&
		e.Signing != hub.SigningStandardV1 && e.Signing != hub.SigningNone {
		p.add(hub.InputInvalid, fmt.Sprintf("the scheme is %s or %s", hub.SigningStandardV1, hub.SigningNone), "signing")
	}
}

func (r *Registry) noteURL(err error, p *problems) {
	if err == nil {
		return
	}
	code := hub.InputInvalid
	if blocked := (*outbound.BlockedError)(nil); errors.As(err, &blocked) {
		code = hub.InputForbidden
	}
	p.add(code, err.Error(), "url")
}

// checkHeaders notes headers that cannot be added to a request.
func checkHeaders(headers []hub.Header, p *problems) {
	if len(headers) > MaxHeaders {
		p.add(hub.InputLimitExceeded, fmt.Sprintf("at most %d headers can be added", MaxHeaders), "headers")
		return
	}
	size := 0
	seen := make(map[string]bool, len(headers))
	for i, h := range headers {
		size += len(h.Name) + len(h.Value)
		lower := strings.ToLower(h.Name)
		switch {
		case !hub.IsHeaderName(h.Name):
			p.add(hub.InputInvalid, fmt.Sprintf("%.64q is not the name of a header", h.Name), "headers", index(i), "name")
		case hub.IsReservedHeader(h.Name):
			p.add(hub.InputForbidden, h.Name+" is set by the hub itself", "headers", index(i), "name")
		case seen[lower]:
			p.add(hub.InputConflict, h.Name+" is given twice", "headers", index(i), "name")
		}
		seen[lower] = true
		if !isFieldValue(h.Value) {
			p.add(hub.InputInvalid, "a value has no line breaks or other control characters and no blanks around it", "headers", index(i), "value")
		}
	}
	if size > MaxHeaderBytes {
		p.add(hub.InputLimitExceeded, fmt.Sprintf("headers have at most %d bytes together", MaxHeaderBytes), "headers")
	}
}

// isFieldValue reports whether a text is a field value of RFC 9110, section 5.5.
func isFieldValue(s string) bool {
	if strings.Trim(s, " \t") != s {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// DeleteEndpoint deletes an endpoint and its subscriptions. What waits for it is
// canceled.
func (r *Registry) DeleteEndpoint(ctx context.Context, id string) error {
	return r.store.DeleteEndpoint(ctx, id)
}

// PauseEndpoint holds an endpoint's deliveries for the time being. One that is
// paused stays so, and one that the hub has disabled stays disabled, which holds
// them as well and says why.
func (r *Registry) PauseEndpoint(ctx context.Context, id string) (*hub.Endpoint, error) {
	return r.switchEndpoint(ctx, id, func(e *hub.Endpoint) bool {
		if e.State != hub.EndpointActive {
			return false
		}
		e.State = hub.EndpointPaused
		return true
	})
}

// ResumeEndpoint has an endpoint that is paused or disabled get its deliveries
// again. Whether it is disabled for nothing but failures is counted from then on.
func (r *Registry) ResumeEndpoint(ctx context.Context, id string) (*hub.Endpoint, error) {
	return r.switchEndpoint(ctx, id, func(e *hub.Endpoint) bool {
		if e.State == hub.EndpointActive {
			return false
		}
		e.State, e.StateReason = hub.EndpointActive, ""
		return true
	})
}

// switchEndpoint changes an endpoint's state as turn does, unless that reports
// that nothing changes.
func (r *Registry) switchEndpoint(ctx context.Context, id string, turn func(*hub.Endpoint) bool) (*hub.Endpoint, error) {
	var found *hub.Endpoint
	saved, err := r.store.UpdateEndpoint(ctx, id, func(e *hub.Endpoint) error {
		if found = e; !turn(e) {
			return errUnchanged
		}
		e.UpdatedAt = r.now() // from here the policy counts failures anew
		return nil
	})
	return switched(found, saved, err)
}

// RotateEndpointSecret gives an endpoint a new signing secret and returns it; it is
// not shown again. The secrets before sign as well until the overlap ends, none of
// them longer than it would have.
func (r *Registry) RotateEndpointSecret(ctx context.Context, id string, overlap time.Duration) (*hub.Endpoint, hub.Secret, error) {
	if overlap < 0 || overlap > MaxOverlap {
		return nil, "", hub.UserErrors{{
			Code: hub.InputInvalid, Message: "this is PT0S to " + isoDuration(MaxOverlap), Field: []string{"overlap"},
		}}
	}
	secret := signature.GenerateSecret()
	saved, err := r.store.UpdateEndpoint(ctx, id, func(e *hub.Endpoint) error {
		now := r.now()
		end := now.Add(overlap)
		secrets := []hub.SigningSecret{newSigningSecret(secret, now)}
		for _, old := range e.SigningSecrets {
			if old.ExpiresAt.IsZero() || old.ExpiresAt.After(end) {
				old.ExpiresAt = end
			}
			if live(old, now) {
				secrets = append(secrets, old)
			}
		}
		if len(secrets) > MaxSigningSecrets {
			return hub.UserErrors{{
				Code: hub.InputLimitExceeded, Field: []string{"overlap"},
				Message: fmt.Sprintf("%d secrets sign already; wait for one to expire, or end them with an overlap of PT0S", MaxSigningSecrets),
			}}
		}
		e.SigningSecrets, e.UpdatedAt = secrets, now
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return saved, secret, nil
}
