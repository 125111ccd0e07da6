package registry

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hookgraph/hookgraph/internal/broker"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
)

// Bounds of an endpoint's settings, besides those of the vocabulary.
const (
	maxSigningSecrets = 5
	maxOverlap        = 30 * 24 * time.Hour
	maxHeaders        = 32
	MaxHeaderBytes    = 8 << 10 // names and values together
	maxRate           = 1_000_000
	minRatePeriod     = time.Millisecond
	maxRatePeriod     = 24 * time.Hour
	minMaxAge         = time.Second
	maxMaxAge         = 30 * 24 * time.Hour
)

// switchOverlap is how long secrets of another scheme go on signing after the
// endpoint's scheme was changed.
const switchOverlap = 24 * time.Hour

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
	PartnerID      Optional[string]           // whoever asks
	Kind           Optional[hub.EndpointKind] // HTTP
	URL            Optional[string]
	Timeout        Optional[time.Duration]
	MaxConcurrency Optional[int]
	RateLimit      Optional[hub.RateLimit] // none
	RetryPolicy    Optional[RetryPolicyInput]
	Headers        Optional[[]hub.Header]
	Auth           Optional[EndpointAuthInput] // none
	MaxAge         Optional[time.Duration]     // none
	SigningSecret  Optional[hub.Secret]        // generated
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
	Auth           Optional[EndpointAuthInput]
	MaxAge         Optional[time.Duration]
	Signing        Optional[hub.SigningScheme]
}

// CreateEndpoint makes an endpoint and returns it with its signing secret, which
// is not shown again; "" where it does not sign, or signs with a private key, which
// nobody else needs.
func (r *Registry) CreateEndpoint(ctx context.Context, in CreateEndpointInput) (*hub.Endpoint, hub.Secret, error) {
	now := r.now()
	e := &hub.Endpoint{
		ID: hub.NewID(hub.EndpointPrefix, now), Kind: in.Kind.or(hub.EndpointHTTP), State: hub.EndpointActive,
		Timeout: hub.DefaultTimeout, MaxConcurrency: hub.DefaultMaxConcurrency, RetryPolicy: defaultPolicy(),
		Signing: hub.SigningStandardV1, CreatedAt: now, UpdatedAt: now,
	}
	var p problems
	url := Some(in.URL.Value)
	switch e.Kind {
	case hub.EndpointHTTP, hub.EndpointQueue:
	case hub.EndpointStream:
		url = in.URL
	default:
		p.add(hub.InputInvalid, "an endpoint is of kind HTTP, STREAM or QUEUE", "kind")
		return nil, "", p.err() // all else depends on the kind
	}
	var err error
	if e.PartnerID, err = r.owner(ctx, in.PartnerID, &p); err != nil {
		return nil, "", err
	}
	r.editEndpoint(e, UpdateEndpointInput{
		Name: Some(in.Name), URL: url, Timeout: in.Timeout, MaxConcurrency: in.MaxConcurrency,
		RateLimit: in.RateLimit, RetryPolicy: in.RetryPolicy, Headers: in.Headers, Auth: in.Auth, MaxAge: in.MaxAge, Signing: in.Signing,
	}, &p)
	secret := in.SigningSecret.Value
	switch {
	case e.Signing == hub.SigningNone:
		if in.SigningSecret.given() {
			p.add(hub.InputInvalid, "the endpoint does not sign, so nothing would use it", "signingSecret")
		}
	case in.SigningSecret.given():
		if err := checkSecret(e.Signing, secret); err != nil {
			p.add(hub.InputInvalid, err.Error(), "signingSecret")
		}
	default:
		secret = generateSecret(e.Signing)
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
	return e, shownSecret(secret), nil
}

// checkSecret says what is wrong with a secret that was given for a scheme.
func checkSecret(scheme hub.SigningScheme, secret hub.Secret) error {
	if scheme == hub.SigningStandardV1A {
		_, err := signature.PublicKey(secret)
		return err
	}
	_, err := signature.ParseSecret(secret)
	return err
}

func generateSecret(scheme hub.SigningScheme) hub.Secret {
	if scheme == hub.SigningStandardV1A {
		return signature.GeneratePrivateKey()
	}
	return signature.GenerateSecret()
}

// shownSecret is what an endpoint's owner is shown of a new secret, this once. Of a
// private key nothing is: the public one is all that receivers need.
func shownSecret(secret hub.Secret) hub.Secret {
	if signature.IsPrivateKey(secret) {
		return ""
	}
	return secret
}

func newSigningSecret(secret hub.Secret, now time.Time) hub.SigningSecret {
	return hub.SigningSecret{ID: hub.NewID(hub.SecretPrefix, now), Secret: secret, CreatedAt: now}
}

// UpdateEndpoint changes an endpoint. Where its scheme of signing is changed to
// another, it gets a secret for that, which is returned like that of CreateEndpoint;
// those before sign as well for a day.
func (r *Registry) UpdateEndpoint(ctx context.Context, in UpdateEndpointInput) (*hub.Endpoint, hub.Secret, error) {
	var made hub.Secret
	saved, err := r.store.UpdateEndpoint(ctx, in.ID, func(e *hub.Endpoint) error {
		var p problems
		r.editEndpoint(e, in, &p)
		e.UpdatedAt = r.now()
		if made = ""; len(p.list) == 0 && in.Signing.Set && e.Signing != hub.SigningNone && !signsAs(e, r.now()) {
			made = generateSecret(e.Signing)
			if problem := addSecret(e, made, switchOverlap, r.now()); problem != "" {
				p.add(hub.InputLimitExceeded, problem, "signing")
			}
		}
		return p.err()
	})
	if err != nil {
		return nil, "", err
	}
	return saved, shownSecret(made), nil
}

// signsAs reports whether an endpoint has a secret of its scheme that does not expire.
func signsAs(e *hub.Endpoint, now time.Time) bool {
	return slices.ContainsFunc(e.SigningSecrets, func(s hub.SigningSecret) bool {
		return s.ExpiresAt.IsZero() && live(s, now) && signature.IsPrivateKey(s.Secret) == (e.Signing == hub.SigningStandardV1A)
	})
}

// addSecret makes a secret an endpoint's newest. Those before end with the overlap, if
// they do not end sooner. It returns what keeps it from that, if anything does.
func addSecret(e *hub.Endpoint, secret hub.Secret, overlap time.Duration, now time.Time) (problem string) {
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
	if len(secrets) > maxSigningSecrets {
		return fmt.Sprintf("%d secrets sign already; wait for one to expire, or end them by a rotation with an overlap of PT0S", maxSigningSecrets)
	}
	e.SigningSecrets = secrets
	return ""
}

func live(s hub.SigningSecret, now time.Time) bool {
	return s.ExpiresAt.IsZero() || s.ExpiresAt.After(now)
}

// editEndpoint applies an input to an endpoint and notes what is wrong with it.
func (r *Registry) editEndpoint(e *hub.Endpoint, in UpdateEndpointInput, p *problems) {
	p.name(in.Name, &e.Name)
	switch {
	case e.Kind == hub.EndpointStream:
		checkStream(in, p)
	case e.Kind == hub.EndpointQueue && (in.URL.Null || in.URL.Set && in.URL.Value == ""):
		p.add(hub.InputRequired, "give the queue to publish to, such as nats://broker.example.com:4222/orders.created, amqp://broker.example.com/vhost?queue=orders or kafka://broker.example.com:9092/orders", "url")
	case e.Kind == hub.EndpointQueue:
		r.checkQueue(e, in, p)
	case in.URL.Null || in.URL.Set && in.URL.Value == "":
		p.add(hub.InputRequired, "give the URL to send to, such as https://example.com/hooks", "url")
	case in.URL.Set:
		if e.URL != in.URL.Value {
			e.VerifiedAt = time.Time{} // whoever is there has not been asked
		}
		e.URL = in.URL.Value
		if code, err := r.checkOutbound(e.URL); err != nil {
			p.add(code, err.Error(), "url")
		}
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
			p.rate(limit)
		}
	}
	if in.RetryPolicy.Set {
		e.RetryPolicy = checkPolicy(in.RetryPolicy.Value, p)
	}
	if in.Headers.change(&e.Headers, nil) {
		checkHeaders(e.Headers, p)
	}
	if in.Auth.Set {
		e.Auth = nil
	}
	if in.Auth.given() {
		e.Auth = r.auth(in.Auth.Value, p, "auth")
	}
	if e.Auth != nil && strings.HasPrefix(strings.ToLower(e.URL), "http:") {
		switch {
		case e.Auth.Kind == hub.AuthMTLS:
			p.add(hub.InputInvalid, "a client certificate can be shown over https:// alone", "url")
		case e.Auth.CACertificate != "":
			p.add(hub.InputInvalid, "servers show certificates over https:// alone", "url")
		}
	}
	if e.Kind == hub.EndpointQueue && (in.URL.Set || in.Auth.Set) {
		if target, err := broker.Parse(e.URL); err == nil {
			checkLogin(target, e.Auth, p, "auth")
		}
	}
	if clash := authHeader(e.Auth); clash != "" && (in.Headers.Set || in.Auth.Set) {
		for i, h := range e.Headers {
			if strings.EqualFold(h.Name, clash) {
				p.add(hub.InputConflict, h.Name+" carries the endpoint's credential", "headers", index(i), "name")
			}
		}
	}
	if in.MaxAge.change(&e.MaxAge, 0) {
		p.within(e.MaxAge, minMaxAge, maxMaxAge, "maxAge")
	}
	if in.Signing.change(&e.Signing, hub.SigningStandardV1) && !slices.Contains(schemes, e.Signing) {
		p.add(hub.InputInvalid, fmt.Sprintf("the scheme is %s, %s or %s", schemes[0], schemes[1], schemes[2]), "signing")
	}
	if e.Kind == hub.EndpointStream {
		e.Signing = hub.SigningNone // whatever is given: nothing is sent
	}
}

var schemes = []hub.SigningScheme{hub.SigningStandardV1, hub.SigningStandardV1A, hub.SigningNone}

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

// maxStateReason bounds what somebody says of why an endpoint is disabled, in characters.
const maxStateReason = 1000

// DisableEndpoint holds an endpoint's deliveries until it is resumed, and says why. One
// that is disabled stays as it is, for the reason that it has.
func (r *Registry) DisableEndpoint(ctx context.Context, id, reason string) (*hub.Endpoint, error) {
	reason = strings.TrimSpace(strings.ToValidUTF8(reason, "\uFFFD"))
	if utf8.RuneCountInString(reason) > maxStateReason {
		return nil, hub.UserErrors{{
			Code: hub.InputLimitExceeded, Field: []string{"reason"}, Message: fmt.Sprintf("a reason has at most %d characters", maxStateReason),
		}}
	}
	return r.switchEndpoint(ctx, id, func(e *hub.Endpoint) bool {
		if e.State == hub.EndpointDisabled {
			return false
		}
		e.State, e.StateReason = hub.EndpointDisabled, cmp.Or(reason, "disabled by request")
		return true
	})
}

// ResumeEndpoint has an endpoint that is paused or disabled get its deliveries
// again: all that waited, the newest of each ordering key, or none of them. Nothing
// of it is sent before that is sorted out. Whether the endpoint is disabled for
// nothing but failures is counted from then on. One that is active stays as it is,
// and so does what waits for it.
func (r *Registry) ResumeEndpoint(ctx context.Context, id string, choice hub.BacklogChoice) (*hub.Endpoint, error) {
	var conflict error
	saved, err := r.switchEndpoint(ctx, id, func(e *hub.Endpoint) bool {
		conflict = nil
		if e.State == hub.EndpointActive {
			return false
		}
		if choice == hub.BacklogSendNewest || choice == hub.BacklogCancel {
			if e.Backlog != nil && e.Backlog.Choice != choice {
				conflict = hub.UserErrors{{
					Code: hub.InputConflict, Field: []string{"backlog"},
					Message: "what was chosen before is still being carried out; try again in some seconds",
				}}
				return false
			}
			e.Backlog = &hub.BacklogOrder{Choice: choice, Before: r.now()}
		}
		e.State, e.StateReason = hub.EndpointActive, ""
		return true
	})
	if conflict != nil {
		return nil, conflict
	}
	return saved, err
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

// RotateEndpointSecret gives an endpoint a new signing secret and returns it like
// CreateEndpoint; it is not shown again. The secrets before sign as well until the overlap ends, none of
// them longer than it would have.
func (r *Registry) RotateEndpointSecret(ctx context.Context, id string, overlap time.Duration) (*hub.Endpoint, hub.Secret, error) {
	if overlap < 0 || overlap > maxOverlap {
		return nil, "", hub.UserErrors{{
			Code: hub.InputInvalid, Message: "this is PT0S to " + isoDuration(maxOverlap), Field: []string{"overlap"},
		}}
	}
	var secret hub.Secret
	saved, err := r.store.UpdateEndpoint(ctx, id, func(e *hub.Endpoint) error {
		if e.Signing == hub.SigningNone {
			return hub.UserErrors{{Code: hub.InputInvalid, Field: []string{"id"}, Message: "the endpoint does not sign, so it has no secret to rotate"}}
		}
		secret = generateSecret(e.Signing)
		if problem := addSecret(e, secret, overlap, r.now()); problem != "" {
			return hub.UserErrors{{Code: hub.InputLimitExceeded, Field: []string{"overlap"}, Message: problem}}
		}
		e.UpdatedAt = r.now()
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return saved, shownSecret(secret), nil
}
