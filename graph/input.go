package graph

import (
	"encoding/json"
	"slices"

	"github.com/99designs/gqlgen/graphql"

	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/internal/auth"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/registry"
	"github.com/hookgraph/hookgraph/internal/replay"
)

// given returns what an input says of a field, the zero value where it is absent
// or null.
func given[T any](field graphql.Omittable[*T]) T { return valueOf(field.Value()) }

// optional keeps apart what is absent, null and given.
func optional[T any](field graphql.Omittable[*T]) registry.Optional[T] {
	return optionally(field, func(value *T) T { return *value })
}

// optionally is optional for a field whose value becomes another type.
func optionally[T, R any](field graphql.Omittable[*T], convert func(*T) R) registry.Optional[R] {
	value, set := field.ValueOK()
	switch {
	case !set:
		return registry.Optional[R]{}
	case value == nil:
		return registry.Null[R]()
	}
	return registry.Some(convert(value))
}

// optionalList is optional for a list whose items become another type.
func optionalList[T, R any](field graphql.Omittable[[]T], convert func(T) R) registry.Optional[[]R] {
	list, set := field.ValueOK()
	switch {
	case !set:
		return registry.Optional[[]R]{}
	case list == nil:
		return registry.Null[[]R]()
	}
	return registry.Some(apply(list, convert))
}

// apply converts the items of a list.
func apply[T, R any](list []T, convert func(T) R) []R {
	out := make([]R, len(list))
	for i, item := range list {
		out[i] = convert(item)
	}
	return out
}

func same[T any](value T) T            { return value }
func secret(text string) hub.Secret    { return hub.Secret(text) }
func header(h *hub.Header) hub.Header  { return *h }
func secretOf(text *string) hub.Secret { return hub.Secret(*text) }

// optionalJSON is optional for any JSON value.
func optionalJSON(field graphql.Omittable[model.JSON]) registry.Optional[json.RawMessage] {
	text, set := field.ValueOK()
	switch {
	case !set:
		return registry.Optional[json.RawMessage]{}
	case len(text) == 0 || string(text) == "null":
		return registry.Null[json.RawMessage]()
	}
	return registry.Some(json.RawMessage(text))
}

func verification(in *model.VerificationInput) hub.Verification {
	out := hub.Verification{AllowNetworks: slices.Clone(in.AllowNetworks.Value())}
	if h := in.Hmac.Value(); h != nil {
		out.HMAC = &hub.HMACVerification{
			Header: h.Header, Algorithm: string(h.Algorithm), Encoding: string(h.Encoding), Prefix: given(h.Prefix),
			SignedContent: given(h.SignedContent), Timestamp: given(h.Timestamp), Tolerance: given(h.Tolerance),
		}
	}
	if k := in.APIKey.Value(); k != nil {
		out.APIKey = &hub.APIKeyVerification{Header: given(k.Header)}
	}
	if b := in.Basic.Value(); b != nil {
		out.Basic = &hub.BasicVerification{Username: b.Username}
	}
	if j := in.Jwt.Value(); j != nil {
		out.JWT = &hub.JWTVerification{Header: given(j.Header), JWKSURL: given(j.JwksURL), Issuer: given(j.Issuer), Audience: given(j.Audience)}
	}
	return out
}

func sourceResponse(in *model.SourceResponseInput) registry.SourceResponseInput {
	return registry.SourceResponseInput{
		Status: optional(in.Status), ContentType: optional(in.ContentType), Body: optional(in.Body),
	}
}

func createSource(in model.CreateSourceInput) registry.CreateSourceInput {
	return registry.CreateSourceInput{
		Name: in.Name, Slug: optional(in.Slug), Kind: optional(in.Kind), Provider: optional(in.Provider),
		Secrets: optionalList(in.Secrets, secret), ProviderConfig: optionalJSON(in.ProviderConfig),
		Verification: optionally(in.Verification, verification), AllowUnverified: optional(in.AllowUnverified),
		EventType: optional(in.EventType), DedupeKey: optional(in.DedupeKey),
		OccurredAt: optional(in.OccurredAt), OrderingKey: optional(in.OrderingKey),
		Response: optionally(in.Response, sourceResponse), MaxBodyBytes: optional(in.MaxBodyBytes),
		DedupeWindow: optional(in.DedupeWindow), RateLimit: optional(in.RateLimit), ValidateSchema: optional(in.ValidateSchema), SilentAfter: optional(in.SilentAfter),
		Poll: optionally(in.Poll, poll), Upstream: optionally(in.Graphql, upstream), Queue: optionally(in.Queue, queueInput),
	}
}

func updateSource(in model.UpdateSourceInput) registry.UpdateSourceInput {
	return registry.UpdateSourceInput{
		ID: in.ID, Name: optional(in.Name), Secrets: optionalList(in.Secrets, secret), ProviderConfig: optionalJSON(in.ProviderConfig),
		Verification: optionally(in.Verification, verification), AllowUnverified: optional(in.AllowUnverified),
		EventType: optional(in.EventType), DedupeKey: optional(in.DedupeKey),
		OccurredAt: optional(in.OccurredAt), OrderingKey: optional(in.OrderingKey),
		Response: optionally(in.Response, sourceResponse), MaxBodyBytes: optional(in.MaxBodyBytes),
		DedupeWindow: optional(in.DedupeWindow), RateLimit: optional(in.RateLimit), ValidateSchema: optional(in.ValidateSchema), SilentAfter: optional(in.SilentAfter),
		Poll: optionally(in.Poll, poll), Upstream: optionally(in.Graphql, upstream), Queue: optionally(in.Queue, queueInput),
	}
}

func poll(in *model.PollInput) registry.PollInput {
	out := registry.PollInput{
		URL: given(in.URL), Headers: apply(in.Headers.Value(), header), Auth: optionally(in.Auth, endpointAuth), Interval: optional(in.Interval),
		Items: registry.Some(in.Items), Since: given(in.Since), Reconciles: given(in.Reconciles), Grace: optional(in.Grace),
	}
	if p := in.Pagination.Value(); p != nil {
		out.Pagination = &hub.PollPagination{
			LinkHeader: given(p.LinkHeader), NextURL: given(p.NextURL), Cursor: given(p.Cursor), KeepCursor: given(p.KeepCursor),
			Page: given(p.Page), Offset: given(p.Offset),
		}
	}
	return out
}

func upstream(in *model.UpstreamGraphqlInput) registry.UpstreamInput {
	return registry.UpstreamInput{
		URL: in.URL, Document: given(in.Document), Variables: optionalJSON(in.Variables).Value, Auth: optionally(in.Auth, endpointAuth),
		ConnectionPayload: optionalJSON(in.ConnectionPayload), Items: given(in.Items),
		ResumeVariable: given(in.ResumeVariable), ResumePath: given(in.ResumePath),
	}
}

func queueInput(in *model.QueueInput) registry.QueueInput {
	return registry.QueueInput{URL: in.URL, Auth: optionally(in.Auth, endpointAuth)}
}

func retryPolicy(in *model.RetryPolicyInput) registry.RetryPolicyInput {
	return registry.RetryPolicyInput{
		Schedule: optionalList(in.Schedule, same), Jitter: optional(in.Jitter),
		FinalStatuses: optionalList(in.FinalStatuses, same),
	}
}

func endpointAuth(in *model.EndpointAuthInput) registry.EndpointAuthInput {
	var out registry.EndpointAuthInput
	if k := in.APIKey.Value(); k != nil {
		out.APIKey = &registry.APIKeyAuthInput{Header: registry.Some(k.Header), Value: hub.Secret(k.Value)}
	}
	if b := in.Basic.Value(); b != nil {
		out.Basic = &registry.BasicAuthInput{Username: b.Username, Password: hub.Secret(b.Password), CACertificate: given(b.CaCertificate)}
	}
	if token := in.Bearer.Value(); token != nil {
		bearer := hub.Secret(*token)
		out.Bearer = &bearer
	}
	if o := in.Oauth2.Value(); o != nil {
		out.OAuth2 = &registry.OAuth2Input{
			TokenURL: o.TokenURL, ClientID: o.ClientID, ClientSecret: hub.Secret(o.ClientSecret),
			Scopes: o.Scopes.Value(), Audience: given(o.Audience),
		}
	}
	if j := in.Jwt.Value(); j != nil {
		out.JWT = &registry.JWTAuthInput{
			Algorithm: j.Algorithm, PrivateKey: hub.Secret(j.PrivateKey), KeyID: given(j.KeyID),
			Claims: optionalJSON(j.Claims).Value, Lifetime: optional(j.Lifetime),
		}
	}
	if m := in.Mtls.Value(); m != nil {
		out.MTLS = &registry.MTLSInput{
			Certificate: m.Certificate, PrivateKey: hub.Secret(m.PrivateKey), CACertificate: given(m.CaCertificate),
		}
	}
	return out
}

func createEndpoint(in model.CreateEndpointInput) registry.CreateEndpointInput {
	return registry.CreateEndpointInput{
		Name: in.Name, PartnerID: optional(in.PartnerID), Kind: optional(in.Kind), URL: optional(in.URL), Timeout: optional(in.Timeout),
		MaxConcurrency: optional(in.MaxConcurrency), RateLimit: optional(in.RateLimit),
		RetryPolicy: optionally(in.RetryPolicy, retryPolicy), Headers: optionalList(in.Headers, header),
		Auth: optionally(in.Auth, endpointAuth), MaxAge: optional(in.MaxAge),
		SigningSecret: optionally(in.SigningSecret, secretOf), Signing: optional(in.Signing),
	}
}

func updateEndpoint(in model.UpdateEndpointInput) registry.UpdateEndpointInput {
	return registry.UpdateEndpointInput{
		ID: in.ID, Name: optional(in.Name), URL: optional(in.URL), Timeout: optional(in.Timeout),
		MaxConcurrency: optional(in.MaxConcurrency), RateLimit: optional(in.RateLimit),
		RetryPolicy: optionally(in.RetryPolicy, retryPolicy), Headers: optionalList(in.Headers, header),
		Auth: optionally(in.Auth, endpointAuth), MaxAge: optional(in.MaxAge), Signing: optional(in.Signing),
	}
}

func createAPIKey(in model.CreateAPIKeyInput) auth.KeyInput {
	return auth.KeyInput{
		Name: in.Name, Role: in.Role, PartnerID: given(in.PartnerID), Scopes: in.Scopes.Value(), ExpiresAt: in.ExpiresAt.Value(),
	}
}

func createPartner(in model.CreatePartnerInput) registry.CreatePartnerInput {
	return registry.CreatePartnerInput{Name: in.Name, EventTypes: optionalList(in.EventTypes, same)}
}

func updatePartner(in model.UpdatePartnerInput) registry.UpdatePartnerInput {
	return registry.UpdatePartnerInput{ID: in.ID, Name: optional(in.Name), EventTypes: optionalList(in.EventTypes, same)}
}

func putEventType(in model.PutEventTypeInput) registry.PutEventTypeInput {
	return registry.PutEventTypeInput{
		Name: in.Name, Description: optional(in.Description), Schema: optionalJSON(in.Schema), Example: optionalJSON(in.Example),
	}
}

func createSubscription(in model.CreateSubscriptionInput) registry.CreateSubscriptionInput {
	return registry.CreateSubscriptionInput{
		Name: in.Name, EndpointID: in.EndpointID, EventTypes: registry.Some(in.EventTypes),
		SourceIDs: optionalList(in.SourceIds, same), Filter: optional(in.Filter),
		Transform: optional(in.Transform),
		Ordering:  optional(in.Ordering), OrderingKey: optional(in.OrderingKey), Poison: optional(in.Poison),
	}
}

func updateSubscription(in model.UpdateSubscriptionInput) registry.UpdateSubscriptionInput {
	return registry.UpdateSubscriptionInput{
		ID: in.ID, Name: optional(in.Name), EndpointID: optional(in.EndpointID),
		EventTypes: optionalList(in.EventTypes, same), SourceIDs: optionalList(in.SourceIds, same), Filter: optional(in.Filter),
		Transform: optional(in.Transform),
		Ordering:  optional(in.Ordering), OrderingKey: optional(in.OrderingKey), Poison: optional(in.Poison),
	}
}

func previewSubscription(in model.PreviewSubscriptionInput) registry.UpdateSubscriptionInput {
	return registry.UpdateSubscriptionInput{
		EventTypes: registry.Some(in.EventTypes), SourceIDs: optionalList(in.SourceIds, same), Filter: optional(in.Filter),
		Transform: optional(in.Transform),
	}
}

// replayInput reads what is to be replayed.
func replayInput(in model.StartReplayInput) replay.Input {
	out := replay.Input{
		Deliveries: in.Deliveries.Value(), Events: in.Events.Value(), ToSubscriptionID: given(in.ToSubscriptionID),
		Rate: hub.DefaultReplayRate, DryRun: given(in.DryRun), IdempotencyKey: given(in.IdempotencyKey),
	}
	if rate := in.Rate.Value(); rate != nil {
		out.Rate = *rate
	}
	if missed := in.MissedBy.Value(); missed != nil {
		out.MissedBy = &hub.MissedBy{EndpointID: missed.EndpointID, Received: hub.TimeRange{Since: missed.Since, Until: given(missed.Until)}}
	}
	return out
}
