package registry_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/registry"
)

const orders = `subscription Orders($after: Int) { orderChanged(after: $after) { id cursor } }`

func TestUpstreamsAreCheckedWhenTheyAreSaved(t *testing.T) {
	t.Parallel()
	b := setup(t)
	create := func(provider string, in registry.UpstreamInput) error {
		source := registry.CreateSourceInput{Name: "Upstream", Kind: registry.Some(hub.SourceGraphQL), Upstream: registry.Some(in)}
		if provider != "" {
			source.Provider = registry.Some(provider)
		}
		_, err := b.CreateSource(t.Context(), source)
		return err
	}
	good := registry.UpstreamInput{URL: "wss://up.example/graphql", Document: orders, ResumeVariable: "after", ResumePath: "$.data.orderChanged.cursor"}
	if err := create("", good); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		provider string
		change   func(*registry.UpstreamInput)
		want     []string
	}{
		"no URL":          {"", func(in *registry.UpstreamInput) { in.URL = "" }, []string{"INVALID input.graphql.url: wss://"}},
		"another scheme":  {"", func(in *registry.UpstreamInput) { in.URL = "ftp://up.example" }, []string{"INVALID input.graphql.url: wss://"}},
		"no host":         {"", func(in *registry.UpstreamInput) { in.URL = "wss:///graphql" }, []string{"INVALID input.graphql.url: no host"}},
		"a local address": {"", func(in *registry.UpstreamInput) { in.URL = "ws://127.0.0.1/graphql" }, []string{"FORBIDDEN input.graphql.url: private"}},
		"no document":     {"", func(in *registry.UpstreamInput) { in.Document = " " }, []string{"REQUIRED input.graphql.document: subscription"}},
		"no GraphQL":      {"", func(in *registry.UpstreamInput) { in.Document = "subscription {\n a(: }" }, []string{"INVALID input.graphql.document: Expected"}},
		"a query":         {"", func(in *registry.UpstreamInput) { in.Document = "query ($after: Int) { a }" }, []string{"INVALID input.graphql.document: a subscription"}},
		"two":             {"", func(in *registry.UpstreamInput) { in.Document = orders + "subscription B { b }" }, []string{"INVALID input.graphql.document: exactly one"}},
		"huge":            {"", func(in *registry.UpstreamInput) { in.Document += strings.Repeat(" ", 64<<10) }, []string{"LIMIT_EXCEEDED input.graphql.document: bytes"}},
		"no variable":     {"", func(in *registry.UpstreamInput) { in.ResumeVariable = "since" }, []string{"INVALID input.graphql.resumeVariable: $since"}},
		"two root fields": {"", func(in *registry.UpstreamInput) { in.Document = "subscription ($after: ID) { a(after: $after) b }" }, []string{"INVALID input.graphql.document: one root field"}},
		"a value for no variable": {"", func(in *registry.UpstreamInput) { in.Variables = json.RawMessage(`{"after": "1", "shop": 1}`) },
			[]string{"INVALID input.graphql.variables.shop: $shop"}},
		"no value for a variable": {"", func(in *registry.UpstreamInput) {
			in.Document = "subscription ($after: ID!, $shop: ID!, $first: Int! = 1) { a(after: $after, shop: $shop, first: $first) }"
			in.Variables = json.RawMessage(`{"shop": null}`)
		}, []string{"REQUIRED input.graphql.variables.shop: $shop"}},
		"a preset's variables": {"hookgraph", func(in *registry.UpstreamInput) {
			*in = registry.UpstreamInput{URL: "wss://up.example/graphql", Variables: json.RawMessage(`{"from": "LATEST", "types": ["a"]}`)}
		}, []string{"INVALID input.graphql.variables.types: $types"}},
		"no path":      {"", func(in *registry.UpstreamInput) { in.ResumePath = "" }, []string{"REQUIRED input.graphql.resumePath: together"}},
		"a path alone": {"", func(in *registry.UpstreamInput) { in.ResumeVariable = "" }, []string{"REQUIRED input.graphql.resumeVariable: together"}},
		"wrong paths": {"", func(in *registry.UpstreamInput) { in.Items, in.ResumePath = "items", "$.a[" },
			[]string{"INVALID input.graphql.items: RFC 9535", "INVALID input.graphql.resumePath: RFC 9535"}},
		"no objects": {"", func(in *registry.UpstreamInput) {
			in.Variables, in.ConnectionPayload = json.RawMessage("[1]"), registry.Some(json.RawMessage(`"x"`))
		}, []string{"INVALID input.graphql.variables: object", "INVALID input.graphql.connectionPayload: object"}},
		"another preset":        {"stripe", func(*registry.UpstreamInput) {}, []string{"INVALID input.provider: hookgraph"}},
		"a preset and its like": {"hookgraph", func(*registry.UpstreamInput) {}, []string{"CONFLICT input.graphql.document: hookgraph", "CONFLICT input.graphql.resumeVariable: hookgraph", "CONFLICT input.graphql.resumePath: hookgraph"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := good
			test.change(&in)
			wrong(t, create(test.provider, in), test.want...)
		})
	}
}

func TestAPresetFillsInTheSubscription(t *testing.T) {
	t.Parallel()
	b := setup(t)
	src, err := b.CreateSource(t.Context(), registry.CreateSourceInput{
		Name: "Hub", Kind: registry.Some(hub.SourceGraphQL), Provider: registry.Some("hookgraph"),
		Upstream: registry.Some(registry.UpstreamInput{URL: "https://hub.example/graphql", ConnectionPayload: registry.Some(json.RawMessage(`{"a":1}`))}),
	})
	if err != nil {
		t.Fatal(err)
	}
	if up := src.Upstream; up.ResumeVariable != "after" || up.ResumePath == "" || up.Items == "" || !strings.Contains(up.Document, "eventStream") {
		t.Errorf("it follows %+v", up)
	}
	// What nobody can read stays unless it is given anew.
	change := func(payload registry.Optional[json.RawMessage]) string {
		src, err := b.UpdateSource(t.Context(), registry.UpdateSourceInput{ID: src.ID, Upstream: registry.Some(registry.UpstreamInput{URL: "https://other.example/graphql", ConnectionPayload: payload})})
		if err != nil {
			t.Fatal(err)
		}
		if src.Upstream.Document == "" {
			t.Error("the preset is gone")
		}
		return string(src.Upstream.ConnectionPayload)
	}
	if got := change(registry.Optional[json.RawMessage]{}); got != `{"a":1}` {
		t.Errorf("the payload is %q", got)
	}
	if got := change(registry.Null[json.RawMessage]()); got != "" {
		t.Errorf("the payload is %q", got)
	}
}

func TestQueuesOfSourcesAreChecked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	basic := registry.EndpointAuthInput{APIKey: &registry.APIKeyAuthInput{Value: "a-secret"}}
	secret := hub.Secret("a-token")
	token := registry.EndpointAuthInput{Bearer: &secret}
	for _, test := range []struct {
		in   registry.QueueInput
		want string
	}{
		{registry.QueueInput{URL: "nats://broker.example/a.*"}, ""},
		{registry.QueueInput{URL: "tls+nats://broker.example:4333/a.>"}, ""},
		{registry.QueueInput{URL: "nats://broker.example/>"}, "INVALID input.queue.url: all that the broker has"},
		{registry.QueueInput{URL: "nats://broker.example/*"}, "INVALID input.queue.url: all that the broker has"},
		{registry.QueueInput{URL: "nats://broker.example/a.>.b"}, "INVALID input.queue.url: > for all that follow"},
		{registry.QueueInput{URL: "nats://127.0.0.1/a"}, "FORBIDDEN input.queue.url: private"},
		{registry.QueueInput{URL: "nats://broker.example/a", Auth: registry.Some(basic)}, "INVALID input.queue.auth: basic"},
		{registry.QueueInput{URL: "nats://broker.example/a", Auth: registry.Some(token)}, ""},
		{registry.QueueInput{URL: "amqp://broker.example/vhost?queue=orders"}, ""},
		{registry.QueueInput{URL: "amqps://broker.example/?queue=orders"}, ""},
		{registry.QueueInput{URL: "amqp://broker.example/vhost/orders"}, "INVALID input.queue.url: name the queue behind it"},
		{registry.QueueInput{URL: "amqp://broker.example/?exchange=orders"}, "INVALID input.queue.url: name the queue to take from"},
		{registry.QueueInput{URL: "amqp://127.0.0.1/?queue=orders"}, "FORBIDDEN input.queue.url: private"},
		{registry.QueueInput{URL: "amqp://broker.example/?queue=orders", Auth: registry.Some(token)}, "INVALID input.queue.auth: user name and a password"},
	} {
		_, err := b.CreateSource(t.Context(), registry.CreateSourceInput{Name: "Queue", Kind: registry.Some(hub.SourceQueue), Queue: registry.Some(test.in)})
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", test.in.URL, err)
			}
			continue
		}
		wrong(t, err, test.want)
	}
}
