package graph_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// userError is one problem of an input.
type userError struct {
	Code, Message string
	Field         []string
	Line, Column  *int
}

// fields are where the problems are.
func fields(errs []userError) string {
	var out []string
	for _, err := range errs {
		out = append(out, err.Code+" "+strings.Join(err.Field, "."))
	}
	return strings.Join(out, ", ")
}

func TestWhatIsConfiguredIsShownAsItWasGiven(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var made struct {
		Source struct {
			Source     map[string]json.RawMessage
			UserErrors []userError
		}
		Endpoint struct {
			Endpoint      map[string]json.RawMessage
			SigningSecret string
			UserErrors    []userError
		}
	}
	b.ask(`mutation($source: CreateSourceInput!, $endpoint: CreateEndpointInput!) {
		source: createSource(input: $source) { userErrors { code field message } source {
			id name slug kind state provider url verified allowUnverified secretFingerprints eventType dedupeKey occurredAt
			response { status contentType body } maxBodyBytes dedupeWindow lastEventAt events { totalCount } rejections { totalCount } } }
		endpoint: createEndpoint(input: $endpoint) { signingSecret userErrors { code field message } endpoint {
			id name kind url state stateReason breaker breakerUntil backlog timeout maxConcurrency rateLimit { limit period }
			retryPolicy { schedule jitter finalStatuses } headers { name value } signing signingSecrets { id fingerprint expiresAt }
			consecutiveFailures lastSuccessAt subscriptions { totalCount } deliveries { totalCount } } } }`,
		"source", map[string]any{
			"name": "Shop orders", "secrets": []string{"a secret of the shop"}, "eventType": `headers["x-topic"]`,
			"verification": map[string]any{"hmac": map[string]any{"header": "X-Signature", "prefix": "sha256=", "tolerance": "PT1M"}},
			"response":     map[string]any{"status": 202, "body": "ok"}, "dedupeWindow": "PT48H", "maxBodyBytes": 2048,
		},
		"endpoint", map[string]any{
			"name": "CRM", "url": "https://crm.example/hooks", "timeout": "PT2.5S", "maxConcurrency": 3,
			"rateLimit":   map[string]any{"limit": 10},
			"retryPolicy": map[string]any{"schedule": []string{"PT0S", "PT1M"}, "jitter": 0.5, "finalStatuses": []string{"404"}},
			"headers":     []any{map[string]any{"name": "X-Team", "value": "blue"}, map[string]any{"name": "X-Api-Token", "value": "hidden"}},
		}).into(t, &made)
	if len(made.Source.UserErrors)+len(made.Endpoint.UserErrors) > 0 {
		t.Fatalf("got %+v", made)
	}
	for name, want := range map[string]string{
		"slug": `"shop-orders"`, "kind": `"WEBHOOK"`, "state": `"ACTIVE"`, "provider": `null`, "url": `"https://hub.example/in/shop-orders"`,
		"verified": `true`, "allowUnverified": `false`, "eventType": `"headers[\"x-topic\"]"`, "dedupeKey": `null`, "occurredAt": `null`,
		"response": `{"status":202,"contentType":"application/json","body":"ok"}`, "maxBodyBytes": `2048`, "dedupeWindow": `"PT48H"`,
		"lastEventAt": `null`, "events": `{"totalCount":0}`, "rejections": `{"totalCount":0}`,
	} {
		if got := string(made.Source.Source[name]); got != want {
			t.Errorf("source.%s is %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"kind": `"HTTP"`, "url": `"https://crm.example/hooks"`, "state": `"ACTIVE"`, "stateReason": `null`, "breaker": `"CLOSED"`,
		"breakerUntil": `null`, "backlog": `0`, "timeout": `"PT2.5S"`, "maxConcurrency": `3`, "rateLimit": `{"limit":10,"period":"PT1S"}`,
		"retryPolicy": `{"schedule":["PT0S","PT1M"],"jitter":0.5,"finalStatuses":["404"]}`, "signing": `"STANDARD_V1"`,
		"headers":             `[{"name":"X-Team","value":"blue"},{"name":"X-Api-Token","value":"[redacted]"}]`,
		"consecutiveFailures": `0`, "lastSuccessAt": `null`, "subscriptions": `{"totalCount":0}`, "deliveries": `{"totalCount":0}`,
	} {
		if got := string(made.Endpoint.Endpoint[name]); got != want {
			t.Errorf("endpoint.%s is %s, want %s", name, got, want)
		}
	}
	if !strings.HasPrefix(made.Endpoint.SigningSecret, "whsec_") || strings.Contains(string(made.Endpoint.Endpoint["signingSecrets"]), made.Endpoint.SigningSecret) {
		t.Errorf("the signing secret is %q", made.Endpoint.SigningSecret)
	}
}

func TestAllProblemsAreSaidAtOnceAndWhere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var data map[string]struct{ UserErrors []userError }
	b.ask(`mutation($source: CreateSourceInput!, $endpoint: CreateEndpointInput!, $subscription: CreateSubscriptionInput!) {
		source: createSource(input: $source) { userErrors { ...E } }
		config: createSource(input: {name: "", provider: "github", providerConfig: [1]}) { userErrors { ...E } }
		endpoint: createEndpoint(input: $endpoint) { userErrors { ...E } }
		subscription: createSubscription(input: $subscription) { userErrors { ...E } }
		update: updateEndpoint(input: {id: "end_x", name: "y"}) { userErrors { ...E } }
		delete: deleteSource(input: {id: "src_x"}) { userErrors { ...E } }
		pause: pauseSubscription(id: "sub_x") { userErrors { ...E } }
	} fragment E on UserError { code message field line column }`,
		"source", map[string]any{"name": "", "eventType": "body.", "maxBodyBytes": 1 << 30},
		"endpoint", map[string]any{"name": "e", "url": "http://10.0.0.1/", "timeout": "PT1H"},
		"subscription", map[string]any{"name": "s", "endpointId": "end_x", "filter": "body.amount >", "eventTypes": []string{"a**b"}},
	).into(t, &data)
	for name, wanted := range map[string][]string{
		"source": {"input.name", "input.eventType", "input.maxBodyBytes"}, "config": {"input.name", "input.providerConfig"},
		"endpoint": {"input.url", "input.timeout"}, "subscription": {"input.endpointId", "input.filter", "input.eventTypes"},
		"update": {"NOT_FOUND input.id"}, "delete": {"NOT_FOUND input.id"}, "pause": {"NOT_FOUND id"},
	} {
		for _, want := range wanted {
			if got := fields(data[name].UserErrors); !strings.Contains(got, want) {
				t.Errorf("%s: got %q, want %s in it", name, got, want)
			}
		}
	}
	for _, err := range data["subscription"].UserErrors {
		if strings.Join(err.Field, ".") == "input.filter" && (err.Line == nil || err.Column == nil) {
			t.Errorf("the place in the expression is missing: %+v", err)
		}
	}
}

// A change says what is to change: the rest stays, and null goes back to the default.
func TestChangesKeepAbsentAndNullApart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, s := b.wire("a")
	var data map[string]struct {
		Endpoint *struct {
			Name, State string
			RateLimit   *struct{ Limit int }
		}
		Subscription *struct {
			Name, State string
			EventTypes  []string
			Filter      *string
			Sources     *[]struct{ Slug string }
			Endpoint    struct{ Name string }
		}
		DeletedID  *string
		UserErrors []userError
	}
	b.ask(`mutation($e: ID!, $s: ID!, $source: ID!) {
		limit: updateEndpoint(input: {id: $e, rateLimit: {limit: 5}}) { endpoint { name rateLimit { limit } } userErrors { code } }
		rename: updateEndpoint(input: {id: $e, name: "renamed"}) { endpoint { name rateLimit { limit } } userErrors { code } }
		unlimit: updateEndpoint(input: {id: $e, rateLimit: null}) { endpoint { name rateLimit { limit } } userErrors { code } }
		narrow: updateSubscription(input: {id: $s, filter: "body.a == 1", eventTypes: ["x.*"], sourceIds: [$source]}) {
			subscription { name state eventTypes filter sources { slug } endpoint { name } } userErrors { code } }
		widen: updateSubscription(input: {id: $s, filter: null, sourceIds: null}) {
			subscription { eventTypes filter sources { slug } } userErrors { code } }
		pause: pauseEndpoint(id: $e) { endpoint { state } userErrors { code } }
		paused: pauseSubscription(id: $s) { subscription { state } userErrors { code } }
		resume: resumeEndpoint(id: $e) { endpoint { state } userErrors { code } }
		gone: deleteEndpoint(input: {id: $e}) { deletedID: deletedId userErrors { code } }
		orphan: updateSubscription(input: {id: $s, name: "x"}) { userErrors { code } }
	}`, "e", e.ID, "s", s.ID, "source", b.store.Configuration().SourcesBySlug["api"].ID).into(t, &data)
	narrow, widen := data["narrow"].Subscription, data["widen"].Subscription
	if data["limit"].Endpoint.RateLimit.Limit != 5 || data["rename"].Endpoint.RateLimit == nil || data["rename"].Endpoint.Name != "renamed" ||
		data["unlimit"].Endpoint.RateLimit != nil || data["unlimit"].Endpoint.Name != "renamed" ||
		*narrow.Filter != "body.a == 1" || fmt.Sprint(*narrow.Sources) != "[{api}]" || narrow.Endpoint.Name != "renamed" ||
		widen.Filter != nil || widen.Sources != nil || fmt.Sprint(widen.EventTypes) != "[x.*]" ||
		data["pause"].Endpoint.State != "PAUSED" || data["paused"].Subscription.State != "PAUSED" || data["resume"].Endpoint.State != "ACTIVE" ||
		*data["gone"].DeletedID != e.ID || fields(data["orphan"].UserErrors) != "NOT_FOUND " {
		t.Errorf("got %+v", data)
	}
}

func TestRotatingASecretShowsTheNewOneOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	type payload struct {
		SigningSecret string
		Endpoint      struct {
			ID             string
			SigningSecrets []struct {
				Fingerprint string
				ExpiresAt   *string
			}
		}
		UserErrors []userError
	}
	var data struct{ Create, Rotate payload }
	b.ask(`mutation { create: createEndpoint(input: {name: "a", url: "https://a.example/"}) { signingSecret endpoint { id } } }`).into(t, &data)
	b.ask(`mutation($id: ID!) { rotate: rotateEndpointSecret(id: $id) { signingSecret userErrors { code message }
		endpoint { id signingSecrets { fingerprint expiresAt } } } }`, "id", data.Create.Endpoint.ID).into(t, &data)
	secrets := data.Rotate.Endpoint.SigningSecrets
	if data.Rotate.SigningSecret == data.Create.SigningSecret || data.Rotate.SigningSecret == "" || len(secrets) != 2 ||
		secrets[0].ExpiresAt != nil || secrets[1].ExpiresAt == nil {
		t.Errorf("got %+v", data)
	}

	data.Create, data.Rotate = payload{}, payload{}
	b.ask(`mutation { create: createEndpoint(input: {name: "b", url: "https://b.example/", signing: NONE}) { endpoint { id } } }`).into(t, &data)
	b.ask(`mutation($id: ID!) { rotate: rotateEndpointSecret(id: $id) { signingSecret userErrors { code field } } }`, "id", data.Create.Endpoint.ID).into(t, &data)
	if data.Rotate.SigningSecret != "" || fields(data.Rotate.UserErrors) != "INVALID id" {
		t.Errorf("an endpoint that does not sign got %+v", data.Rotate)
	}
}

func TestProvidersAreListed(t *testing.T) {
	t.Parallel()
	var data struct {
		Providers []struct {
			Name, Title, DocsURL, SecretHint string
			Config                           map[string]any
			Challenges                       []string
		}
	}
	setup(t).ask(`{ providers { name title docsURL: docsUrl secretHint config challenges } }`).into(t, &data)
	names := map[string]bool{}
	for _, p := range data.Providers {
		names[p.Name] = p.Title != "" && p.DocsURL != "" && p.SecretHint != ""
	}
	if !names["github"] || !names["stripe"] || !names["standard-webhooks"] {
		t.Errorf("got %+v", data)
	}
}
