package registry_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/registry"
)

// polling is a source that polls.
func polling(in registry.PollInput) registry.CreateSourceInput {
	return registry.CreateSourceInput{Name: "Orders", Kind: registry.Some(hub.SourcePoll), Poll: registry.Some(in)}
}

func TestWhatIsPolled(t *testing.T) {
	t.Parallel()
	t.Run("has the defaults", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		got, err := b.CreateSource(t.Context(), polling(registry.PollInput{URL: "https://api.example.com/orders{?since}"}))
		if err != nil {
			t.Fatal(err)
		}
		want := hub.Poll{URL: "https://api.example.com/orders{?since}", Interval: time.Minute, Items: "$[*]", Grace: time.Minute}
		if got.Poll.URL != want.URL || got.Poll.Interval != want.Interval || got.Poll.Items != want.Items || got.Poll.Grace != want.Grace || got.Poll.Pagination != nil {
			t.Errorf("%+v", got.Poll)
		}
	})
	t.Run("is checked as a whole", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		in := polling(registry.PollInput{
			URL: "https://api.example.com/orders{?since", Items: registry.Some("$.data[?"), Interval: registry.Some(time.Millisecond),
			Pagination: &hub.PollPagination{LinkHeader: true, Cursor: "next", KeepCursor: true}, Since: newYear.Add(time.Hour), Reconciles: "src_none",
			Headers: []hub.Header{{Name: "X Y", Value: "z"}, {Name: "authorization", Value: "mine"}, {Name: "If-None-Match", Value: "x"}},
			Auth:    registry.Some(registry.EndpointAuthInput{Bearer: new(hub.Secret)}),
		})
		_, err := b.CreateSource(t.Context(), in)
		wrong(t, err,
			"REQUIRED input.poll.auth.bearer: empty",
			"INVALID input.poll.url: RFC 6570",
			"INVALID input.poll.items: RFC 9535",
			"INVALID input.poll.interval: PT1S",
			"INVALID input.poll.pagination.cursor: RFC 9535",
			"CONFLICT input.poll.pagination: one of",
			"INVALID input.poll.since: future",
			"NOT_FOUND input.poll.reconciles: no such source",
			"INVALID input.poll.headers.0.name: not the name",
			"CONFLICT input.poll.headers.1.name: credential",
			"FORBIDDEN input.poll.headers.2.name: hub itself",
		)
	})
	for name, c := range map[string]struct {
		in   registry.PollInput
		want []string
	}{
		"needs a URL":                {registry.PollInput{}, []string{"REQUIRED input.poll.url: name a provider"}},
		"is no file":                 {registry.PollInput{URL: "file:///etc/passwd"}, []string{"INVALID input.poll.url: https"}},
		"is not inside":              {registry.PollInput{URL: "http://127.0.0.1/{?page}"}, []string{"FORBIDDEN input.poll.url: private"}},
		"knows its variables":        {registry.PollInput{URL: "https://api.example.com/{?limit}"}, []string{"INVALID input.poll.url: limit"}},
		"has its host from nobody":   {registry.PollInput{URL: "https://{cursor}.example.com/"}, []string{"INVALID input.poll.url: after the host"}},
		"says where the cursor is":   {registry.PollInput{URL: "https://api.example.com/", Pagination: &hub.PollPagination{Cursor: "$.next"}}, []string{"INVALID input.poll.pagination.cursor: {?cursor}"}},
		"says where the offset is":   {registry.PollInput{URL: "https://api.example.com/{?page}", Pagination: &hub.PollPagination{Offset: true}}, []string{"INVALID input.poll.pagination.offset: {?offset}"}},
		"keeps a cursor that it has": {registry.PollInput{URL: "https://api.example.com/{?page}", Pagination: &hub.PollPagination{Page: true, KeepCursor: true}}, []string{"INVALID input.poll.pagination.keepCursor: cursor"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := setup(t).CreateSource(t.Context(), polling(c.in))
			wrong(t, err, c.want...)
		})
	}
	t.Run("fills the gaps of webhooks whose keys it can have", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		hooks, err := b.CreateSource(t.Context(), github())
		if err != nil {
			t.Fatal(err)
		}
		in := registry.PollInput{URL: "https://api.example.com/", Reconciles: hooks.ID}
		_, err = b.CreateSource(t.Context(), polling(in))
		wrong(t, err, "INVALID input.poll.reconciles: headers")
		keyed := polling(in)
		keyed.DedupeKey = registry.Some("body.guid")
		poll, err := b.CreateSource(t.Context(), keyed)
		if err != nil {
			t.Fatal(err)
		}
		in.Reconciles = poll.ID
		_, err = b.CreateSource(t.Context(), polling(in))
		wrong(t, err, "INVALID input.poll.reconciles: WEBHOOK")
	})
	t.Run("is what the provider says", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		in := polling(registry.PollInput{})
		in.Provider, in.ProviderConfig = registry.Some("github-deliveries"), registry.Some(json.RawMessage(`{"owner":"acme","repo":"shop","hookId":"17"}`))
		if _, err := b.CreateSource(t.Context(), in); err != nil {
			t.Error(err)
		}
		in.Poll = registry.Some(registry.PollInput{URL: "https://api.example.com/", Pagination: &hub.PollPagination{Page: true}})
		in.ProviderConfig = registry.Some(json.RawMessage(`{"owner":"acme/shop","baseUrl":"http://10.9.0.1","x":1}`))
		_, err := b.CreateSource(t.Context(), in)
		wrong(t, err,
			"CONFLICT input.poll.url: provider", "CONFLICT input.poll.pagination: provider", "FORBIDDEN input.providerConfig.baseUrl: private",
			"REQUIRED input.providerConfig.hookId: number", "INVALID input.providerConfig.owner: slash", "INVALID input.providerConfig.x: no such",
		)
		in.Poll, in.ProviderConfig, in.Provider = registry.Some(registry.PollInput{}), registry.Optional[json.RawMessage]{}, registry.Some("github")
		_, err = b.CreateSource(t.Context(), in)
		wrong(t, err, "INVALID input.provider: github-deliveries, github-events, stripe-events")
		hook := github()
		hook.Provider = registry.Some("stripe-events")
		_, err = b.CreateSource(t.Context(), hook)
		wrong(t, err, "INVALID input.provider: stripe-events")
	})
}
