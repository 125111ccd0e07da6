package graph

import (
	"encoding/json"
	"slices"

	"github.com/99designs/gqlgen/graphql"

	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/internal/auth"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/registry"
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
	out := make([]R, len(list))
	for i, item := range list {
		out[i] = convert(item)
	}
	return registry.Some(out)
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
		DedupeWindow: optional(in.DedupeWindow),
	}
}

func updateSource(in model.UpdateSourceInput) registry.UpdateSourceInput {
	return registry.UpdateSourceInput{
		ID: in.ID, Name: optional(in.Name), Secrets: optionalList(in.Secrets, secret), ProviderConfig: optionalJSON(in.ProviderConfig),
		Verification: optionally(in.Verification, verification), AllowUnverified: optional(in.AllowUnverified),
		EventType: optional(in.EventType), DedupeKey: optional(in.DedupeKey),
		OccurredAt: optional(in.OccurredAt), OrderingKey: optional(in.OrderingKey),
		Response: optionally(in.Response, sourceResponse), MaxBodyBytes: optional(in.MaxBodyBytes),
		DedupeWindow: optional(in.DedupeWindow),
	}
}

func retryPolicy(in *model.RetryPolicyInput) registry.RetryPolicyInput {
	return registry.RetryPolicyInput{
		Schedule: optionalList(in.Schedule, same), Jitter: optional(in.Jitter),
		FinalStatuses: optionalList(in.FinalStatuses, same),
	}
}

func createEndpoint(in model.CreateEndpointInput) registry.CreateEndpointInput {
	return registry.CreateEndpointInput{
		Name: in.Name, Kind: optional(in.Kind), URL: optional(in.URL), Timeout: optional(in.Timeout),
		MaxConcurrency: optional(in.MaxConcurrency), RateLimit: optional(in.RateLimit),
		RetryPolicy: optionally(in.RetryPolicy, retryPolicy), Headers: optionalList(in.Headers, header),
		SigningSecret: optionally(in.SigningSecret, secretOf), Signing: optional(in.Signing),
	}
}

func updateEndpoint(in model.UpdateEndpointInput) registry.UpdateEndpointInput {
	return registry.UpdateEndpointInput{
		ID: in.ID, Name: optional(in.Name), URL: optional(in.URL), Timeout: optional(in.Timeout),
		MaxConcurrency: optional(in.MaxConcurrency), RateLimit: optional(in.RateLimit),
		RetryPolicy: optionally(in.RetryPolicy, retryPolicy), Headers: optionalList(in.Headers, header),
		Signing: optional(in.Signing),
	}
}

func createAPIKey(in model.CreateAPIKeyInput) auth.KeyInput {
	return auth.KeyInput{Name: in.Name, Role: in.Role, Scopes: in.Scopes.Value(), ExpiresAt: in.ExpiresAt.Value()}
}

func createSubscription(in model.CreateSubscriptionInput) registry.CreateSubscriptionInput {
	return registry.CreateSubscriptionInput{
		Name: in.Name, EndpointID: in.EndpointID, EventTypes: registry.Some(in.EventTypes),
		SourceIDs: optionalList(in.SourceIds, same), Filter: optional(in.Filter),
	}
}

func updateSubscription(in model.UpdateSubscriptionInput) registry.UpdateSubscriptionInput {
	return registry.UpdateSubscriptionInput{
		ID: in.ID, Name: optional(in.Name), EndpointID: optional(in.EndpointID),
		EventTypes: optionalList(in.EventTypes, same), SourceIDs: optionalList(in.SourceIds, same), Filter: optional(in.Filter),
	}
}
