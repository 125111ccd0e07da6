package registry_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/registry"
)

// open is a source with nothing but a name that takes requests from anybody.
func open(name string) registry.CreateSourceInput {
	return registry.CreateSourceInput{Name: name, AllowUnverified: registry.Some(true)}
}

func github() registry.CreateSourceInput {
	return registry.CreateSourceInput{
		Name: "Our repositories", Provider: registry.Some("github"), Secrets: registry.Some([]hub.Secret{"It's a Secret to Everybody"}),
	}
}

func TestANewSource(t *testing.T) {
	t.Parallel()
	t.Run("has the defaults", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		got, err := b.CreateSource(t.Context(), github())
		if err != nil {
			t.Fatal(err)
		}
		want := &hub.Source{
			ID: got.ID, Name: "Our repositories", Slug: "our-repositories", Kind: hub.SourceWebhook, State: hub.SourceActive,
			Provider: "github", Secrets: []hub.Secret{"It's a Secret to Everybody"}, MaxBodyBytes: 1 << 20,
			CreatedAt: newYear, UpdatedAt: newYear,
		}
		if !reflect.DeepEqual(got, want) || hub.IDPrefix(got.ID) != hub.SourcePrefix {
			t.Fatalf("got %+v", got)
		}
		if stored := b.store.Configuration().Sources[got.ID]; !reflect.DeepEqual(stored, want) {
			t.Fatalf("stored %+v", stored)
		}
	})
	t.Run("takes everything that is right", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		in := registry.CreateSourceInput{
			Name: "  Shop  ", Slug: registry.Some("shop-1"), Kind: registry.Some(hub.SourceWebhook),
			Secrets: registry.Some([]hub.Secret{"a", "b"}),
			Verification: registry.Some(hub.Verification{
				HMAC: &hub.HMACVerification{
					Header: "X-Signature", Algorithm: "SHA256", Encoding: "HEX", Prefix: "sha256=",
					SignedContent: `headers["x-time"] + "." + string(raw)`, Timestamp: `headers["x-time"]`,
				},
				AllowNetworks: []string{"203.0.113.0/24"},
			}),
			EventType: registry.Some(`body.type`), DedupeKey: registry.Some(`body.id`),
			OccurredAt: registry.Some(`body.created`), OrderingKey: registry.Some(`string(body.customer)`),
			Response: registry.Some(registry.SourceResponseInput{
				Status: registry.Some(202), ContentType: registry.Some("text/plain; charset=utf-8"), Body: registry.Some("thanks"),
			}),
			MaxBodyBytes: registry.Some(16 << 20), DedupeWindow: registry.Some(time.Hour),
		}
		got, err := b.CreateSource(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if got.Name != "Shop" || got.Slug != "shop-1" || got.EventType != "body.type" || got.MaxBodyBytes != 16<<20 || got.DedupeWindow != time.Hour ||
			got.Response != (hub.SourceResponse{Status: 202, ContentType: "text/plain; charset=utf-8", Body: "thanks"}) {
			t.Fatalf("got %+v", got)
		}
		if got.Verification.HMAC.Tolerance != 5*time.Minute {
			t.Fatalf("the timestamp's tolerance is %v", got.Verification.HMAC.Tolerance)
		}
		if in.Verification.Value.HMAC.Tolerance != 0 {
			t.Fatal("the input was changed")
		}
	})
	t.Run("null is the same as absent", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		in := open("Null")
		in.Slug, in.Kind, in.Provider = registry.Null[string](), registry.Null[hub.SourceKind](), registry.Null[string]()
		in.MaxBodyBytes, in.Response = registry.Null[int](), registry.Null[registry.SourceResponseInput]()
		in.DedupeWindow, in.EventType = registry.Null[time.Duration](), registry.Null[string]()
		got, err := b.CreateSource(t.Context(), in)
		if err != nil || got.Slug != "null" || got.Kind != hub.SourceWebhook || got.MaxBodyBytes != 1<<20 || got.Response != (hub.SourceResponse{}) {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
	t.Run("may be one for the API", func(t *testing.T) {
		t.Parallel()
		got, err := setup(t).CreateSource(t.Context(), registry.CreateSourceInput{Name: "Ours", Kind: registry.Some(hub.SourceAPI)})
		if err != nil || got.Kind != hub.SourceAPI {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
}

func TestEverythingWrongWithASource(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   registry.CreateSourceInput
		want []string
	}{
		"no name":               {open("  "), []string{"REQUIRED input.name: give it a name"}},
		"too long a name":       {open(strings.Repeat("ü", 201)), []string{"LIMIT_EXCEEDED input.name: at most 200 characters"}},
		"a name of two lines":   {open("a\nb"), []string{"INVALID input.name: no control characters"}},
		"an unknown kind":       {registry.CreateSourceInput{Kind: registry.Some(hub.SourceKind("FTP"))}, []string{"INVALID input.kind: of kind WEBHOOK, API, POLL, GRAPHQL or QUEUE"}},
		"nothing to poll":       {registry.CreateSourceInput{Name: "a", Kind: registry.Some(hub.SourcePoll)}, []string{"REQUIRED input.poll: of kind POLL"}},
		"something else to do":  {registry.CreateSourceInput{Name: "a", Kind: registry.Some(hub.SourceAPI), Queue: registry.Some(registry.QueueInput{})}, []string{"INVALID input.queue: of kind QUEUE"}},
		"not saying who sends":  {registry.CreateSourceInput{Name: "a"}, []string{"REQUIRED input.provider: allowUnverified"}},
		"an unknown provider":   {registry.CreateSourceInput{Name: "a", Provider: registry.Some("gitub")}, []string{"INVALID input.provider: there is no provider"}},
		"a provider's secret":   {registry.CreateSourceInput{Name: "a", Provider: registry.Some("github")}, []string{"REQUIRED input.secrets: GitHub signs with a secret"}},
		"a slug in upper case":  {with(open("a"), func(in *registry.CreateSourceInput) { in.Slug = registry.Some("My Shop") }), []string{"INVALID input.slug: such as my-shop"}},
		"an empty slug":         {with(open("a"), func(in *registry.CreateSourceInput) { in.Slug = registry.Some("") }), []string{"INVALID input.slug: such as source"}},
		"a slug with a dash":    {with(open("a"), func(in *registry.CreateSourceInput) { in.Slug = registry.Some("-a") }), []string{"INVALID input.slug: without a dash"}},
		"too long a slug":       {with(open("a"), func(in *registry.CreateSourceInput) { in.Slug = registry.Some(strings.Repeat("a", 64)) }), []string{"INVALID input.slug: 1 to 63"}},
		"too short a window":    {with(open("a"), func(in *registry.CreateSourceInput) { in.DedupeWindow = registry.Some(time.Millisecond) }), []string{"INVALID input.dedupeWindow: PT1S to P366D"}},
		"a negative window":     {with(open("a"), func(in *registry.CreateSourceInput) { in.DedupeWindow = registry.Some(-time.Hour) }), []string{"INVALID input.dedupeWindow: PT1S to P366D"}},
		"no body at all":        {with(open("a"), func(in *registry.CreateSourceInput) { in.MaxBodyBytes = registry.Some(0) }), []string{"INVALID input.maxBodyBytes: 1 to 16777216"}},
		"too large a body":      {with(open("a"), func(in *registry.CreateSourceInput) { in.MaxBodyBytes = registry.Some(16<<20 + 1) }), []string{"INVALID input.maxBodyBytes: 1 to 16777216"}},
		"a status of failure":   {response(registry.SourceResponseInput{Status: registry.Some(404)}), []string{"INVALID input.response.status: 200 to 299"}},
		"a body of no content":  {response(registry.SourceResponseInput{Status: registry.Some(204), Body: registry.Some("x")}), []string{"INVALID input.response.body: no body"}},
		"no media type":         {response(registry.SourceResponseInput{ContentType: registry.Some("a b\r\nc")}), []string{"INVALID input.response.contentType: media type"}},
		"too long an answer":    {response(registry.SourceResponseInput{Body: registry.Some(strings.Repeat("x", 64<<10+1))}), []string{"LIMIT_EXCEEDED input.response.body: 65536 bytes"}},
		"a type that is a list": {with(open("a"), func(in *registry.CreateSourceInput) { in.EventType = registry.Some("[1]") }), []string{"INVALID input.eventType: must yield a text"}},
		"expressions": {
			with(open("a"), func(in *registry.CreateSourceInput) {
				in.EventType, in.DedupeKey = registry.Some("body.type +"), registry.Some("event.id")
				in.OccurredAt, in.OrderingKey = registry.Some("true"), registry.Some("body.a ==\n  hedders")
			}), []string{
				"INVALID input.eventType: mismatched input '<EOF>' (1:12)", "INVALID input.dedupeKey: undeclared reference to 'event' (1:1)",
				"INVALID input.occurredAt: must yield a time", "INVALID input.orderingKey: undeclared reference to 'hedders' (2:3)",
			},
		},
		"a scheme": {
			registry.CreateSourceInput{Name: "a", Verification: registry.Some(hub.Verification{HMAC: &hub.HMACVerification{
				Header: "X Y", Algorithm: "MD5", Encoding: "HEX", SignedContent: "1", Timestamp: "hedders",
			}})}, []string{
				"INVALID input.verification.hmac.header: not the name of a header", "INVALID input.verification.hmac.algorithm: SHA1",
				"INVALID input.verification.hmac.signedContent: must yield bytes", "INVALID input.verification.hmac.timestamp: reference to 'hedders' (1:1)",
				"REQUIRED input.secrets: at least one secret",
			},
		},
		"a provider's settings": {
			with(github(), func(in *registry.CreateSourceInput) {
				in.ProviderConfig = registry.Some(json.RawMessage(`{"nonsense":"` + strings.Repeat("x", 16<<10) + `"}`))
			}), []string{"INVALID input.providerConfig.nonsense: no such setting", "LIMIT_EXCEEDED input.providerConfig: 16384 bytes"},
		},
		"settings that are no object, among other things": {
			with(github(), func(in *registry.CreateSourceInput) {
				in.Name, in.ProviderConfig = "", registry.Some(json.RawMessage(`[1]`))
			}), []string{"REQUIRED input.name: give it a name", "INVALID input.providerConfig: an object"},
		},
		"what only webhooks have": {
			registry.CreateSourceInput{
				Name: "a", Kind: registry.Some(hub.SourceAPI), Secrets: registry.Some([]hub.Secret{"s"}), Provider: registry.Some("github"),
				EventType: registry.Some("body.type"), MaxBodyBytes: registry.Some(5), Response: registry.Some(registry.SourceResponseInput{}),
			}, []string{
				"INVALID input.secrets: WEBHOOK", "INVALID input.provider: of kind API have none", "INVALID input.eventType: whoever publishes",
				"INVALID input.maxBodyBytes: API", "INVALID input.response: WEBHOOK",
			},
		},
		"all at once": {
			with(github(), func(in *registry.CreateSourceInput) {
				in.Name, in.Slug, in.MaxBodyBytes = "", registry.Some("A"), registry.Some(-1)
				in.Secrets = registry.Some(make([]hub.Secret, 9))
			}), []string{
				"REQUIRED input.name: give it a name", "INVALID input.slug: such as a", "INVALID input.maxBodyBytes: 1 to",
				"LIMIT_EXCEEDED input.secrets: at most 8", "INVALID input.secrets.0: ", "INVALID input.secrets.1: ", "INVALID input.secrets.2: ",
				"INVALID input.secrets.3: ", "INVALID input.secrets.4: ", "INVALID input.secrets.5: ", "INVALID input.secrets.6: ",
				"INVALID input.secrets.7: ", "INVALID input.secrets.8: ",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			_, err := b.CreateSource(t.Context(), c.in)
			wrong(t, err, c.want...)
			if n := len(b.store.Configuration().Sources); n > 0 {
				t.Fatalf("%d sources were stored", n)
			}
		})
	}
}

func with(in registry.CreateSourceInput, change func(*registry.CreateSourceInput)) registry.CreateSourceInput {
	change(&in)
	return in
}

func response(answer registry.SourceResponseInput) registry.CreateSourceInput {
	return with(open("a"), func(in *registry.CreateSourceInput) { in.Response = registry.Some(answer) })
}

func TestSlugs(t *testing.T) {
	t.Parallel()
	t.Run("come from the name", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		for name, want := range map[string]string{
			"Stripe (live)": "stripe-live", "Größe & Łódź": "grosse-lodz", "--a--b--": "a-b", "日本": "source",
			"ＡＢＣ ①": "abc-1", strings.Repeat("long ", 30): strings.TrimRight(strings.Repeat("long-", 13)[:63], "-"),
		} {
			if got, err := b.CreateSource(t.Context(), open(name)); err != nil || got.Slug != want {
				t.Errorf("%q: got %+v, %v", name, got, err)
			}
		}
	})
	t.Run("are counted on where they are taken", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		long := strings.Repeat("x", 63)
		for _, c := range []struct{ name, want string }{
			{"Shop", "shop"}, {"shop", "shop-2"}, {"SHOP", "shop-3"}, {long, long}, {long, long[:61] + "-2"},
		} {
			if got, err := b.CreateSource(t.Context(), open(c.name)); err != nil || got.Slug != c.want {
				t.Fatalf("got %+v, %v", got, err)
			}
		}
		_, err := b.CreateSource(t.Context(), with(open("a"), func(in *registry.CreateSourceInput) { in.Slug = registry.Some("shop") }))
		wrong(t, err, "CONFLICT input.slug: shop-4 is free")
	})
	t.Run("that another node takes at the same time", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.store.elsewhere(func(m *memory) {
			m.sources["src_1"] = &hub.Source{ID: "src_1", Slug: "shop"}
			m.sources["src_2"] = &hub.Source{ID: "src_2", Slug: "shop-2"}
			m.sources["src_3"] = &hub.Source{ID: "src_3", Slug: "till"}
		})
		if got, err := b.CreateSource(t.Context(), open("Shop")); err != nil || got.Slug != "shop-3" {
			t.Fatalf("got %+v, %v", got, err)
		}
		b.store.elsewhere(func(m *memory) { m.sources["src_4"] = &hub.Source{ID: "src_4", Slug: "bar"} })
		_, err := b.CreateSource(t.Context(), with(open("a"), func(in *registry.CreateSourceInput) { in.Slug = registry.Some("bar") }))
		wrong(t, err, "CONFLICT input.slug: bar-2 is free")
	})
	t.Run("of many made at once differ", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, err := b.CreateSource(t.Context(), open("Same")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := len(b.store.Configuration().SourcesBySlug); n != 4 {
			t.Fatalf("%d slugs", n)
		}
	})
	t.Run("of any name are valid", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		rapid.Check(t, func(rt *rapid.T) {
			name := rapid.StringN(1, 100, 400).Filter(func(s string) bool {
				return strings.TrimSpace(s) != "" && utf8.ValidString(s)
			}).Draw(rt, "name")
			got, err := b.CreateSource(t.Context(), open(name))
			if err != nil {
				var problems hub.UserErrors
				if errors.As(err, &problems) && problems[0].Field[1] == "name" {
					return
				}
				rt.Fatal(err)
			}
			// Given as it is, it is found to be taken and nothing else.
			_, err = b.CreateSource(t.Context(), with(open("a"), func(in *registry.CreateSourceInput) { in.Slug = registry.Some(got.Slug) }))
			if problems := (hub.UserErrors)(nil); !errors.As(err, &problems) || len(problems) != 1 || problems[0].Code != hub.InputConflict {
				rt.Fatalf("slug %q: %v", got.Slug, err)
			}
		})
	})
}

func TestChangingASource(t *testing.T) {
	t.Parallel()
	make := func(t *testing.T) (*bundle, *hub.Source) {
		t.Helper()
		b := setup(t)
		src, err := b.CreateSource(t.Context(), with(github(), func(in *registry.CreateSourceInput) {
			in.EventType, in.MaxBodyBytes, in.DedupeWindow = registry.Some("body.kind"), registry.Some(1000), registry.Some(time.Hour)
			in.Response = registry.Some(registry.SourceResponseInput{Body: registry.Some("ok")})
		}))
		if err != nil {
			t.Fatal(err)
		}
		b.clock.at = newYear.Add(time.Hour)
		return b, src
	}
	t.Run("absent keeps what is there", func(t *testing.T) {
		t.Parallel()
		b, src := make(t)
		got, err := b.UpdateSource(t.Context(), registry.UpdateSourceInput{ID: src.ID, Name: registry.Some("Renamed")})
		want := *src
		want.Name, want.UpdatedAt = "Renamed", newYear.Add(time.Hour)
		if err != nil || !reflect.DeepEqual(got, &want) {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
	t.Run("null goes back to the default", func(t *testing.T) {
		t.Parallel()
		b, src := make(t)
		got, err := b.UpdateSource(t.Context(), registry.UpdateSourceInput{
			ID: src.ID, EventType: registry.Null[string](), MaxBodyBytes: registry.Null[int](),
			DedupeWindow: registry.Null[time.Duration](), Response: registry.Null[registry.SourceResponseInput](),
		})
		if err != nil || got.EventType != "" || got.MaxBodyBytes != 1<<20 || got.DedupeWindow != 0 || got.Response != (hub.SourceResponse{}) {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
	t.Run("null where there is no default is wrong", func(t *testing.T) {
		t.Parallel()
		b, src := make(t)
		_, err := b.UpdateSource(t.Context(), registry.UpdateSourceInput{ID: src.ID, Name: registry.Null[string](), Secrets: registry.Null[[]hub.Secret]()})
		wrong(t, err, "REQUIRED input.name: cannot be null", "REQUIRED input.secrets: signs with a secret")
		if kept := b.store.Configuration().Sources[src.ID]; len(kept.Secrets) != 1 {
			t.Fatal("something was saved")
		}
	})
	t.Run("is checked as a new one is", func(t *testing.T) {
		t.Parallel()
		b, src := make(t)
		_, err := b.UpdateSource(t.Context(), registry.UpdateSourceInput{
			ID: src.ID, DedupeKey: registry.Some("x"), MaxBodyBytes: registry.Some(0), DedupeWindow: registry.Some(time.Duration(1)),
			Verification: registry.Some(hub.Verification{APIKey: &hub.APIKeyVerification{Header: "X-Key"}}),
		})
		wrong(t, err, "INVALID input.dedupeKey: reference to 'x' (1:1)", "INVALID input.maxBodyBytes: 1 to", "INVALID input.dedupeWindow: PT1S",
			"INVALID input.verification: not both")
	})
	t.Run("one that is not there is not found", func(t *testing.T) {
		t.Parallel()
		b, _ := make(t)
		if _, err := b.UpdateSource(t.Context(), registry.UpdateSourceInput{ID: "src_x"}); hub.CodeOf(err) != hub.CodeNotFound {
			t.Fatalf("got %v", err)
		}
	})
}

func TestPausingASource(t *testing.T) {
	t.Parallel()
	b := setup(t)
	src, err := b.CreateSource(t.Context(), open("a"))
	if err != nil {
		t.Fatal(err)
	}
	revision := func() int64 { return b.store.Configuration().Revision }
	for _, step := range []struct {
		name    string
		do      func() (*hub.Source, error)
		want    hub.SourceState
		changes bool
	}{
		{"resume what is active", func() (*hub.Source, error) { return b.ResumeSource(t.Context(), src.ID) }, hub.SourceActive, false},
		{"pause", func() (*hub.Source, error) { return b.PauseSource(t.Context(), src.ID) }, hub.SourcePaused, true},
		{"pause again", func() (*hub.Source, error) { return b.PauseSource(t.Context(), src.ID) }, hub.SourcePaused, false},
		{"resume", func() (*hub.Source, error) { return b.ResumeSource(t.Context(), src.ID) }, hub.SourceActive, true},
	} {
		before := revision()
		got, err := step.do()
		if err != nil || got.State != step.want || (revision() != before) != step.changes {
			t.Fatalf("%s: %+v, %v, revision %d after %d", step.name, got, err, revision(), before)
		}
	}
	if _, err := b.PauseSource(t.Context(), "src_x"); hub.CodeOf(err) != hub.CodeNotFound {
		t.Fatalf("got %v", err)
	}
}

func TestTheBuiltInSource(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 2 {
		if err := b.EnsureBuiltIn(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	src := b.store.Configuration().SourcesBySlug["api"]
	if src == nil || src.Kind != hub.SourceAPI || len(b.store.Configuration().Sources) != 2 {
		t.Fatalf("got %+v", src)
	}
	wrong(t, b.DeleteSource(t.Context(), src.ID), "FORBIDDEN input.id: pause it instead")
	wrong(t, b.DeleteSource(t.Context(), hub.BuiltInHubID), "FORBIDDEN input.id: cannot be changed")
	if _, err := b.PauseSource(t.Context(), hub.BuiltInHubID); err == nil {
		t.Error("the source of the hub's own events was paused")
	}
	if got, err := b.CreateSource(t.Context(), open("API")); err != nil || got.Slug != "api-2" {
		t.Fatalf("got %+v, %v", got, err)
	} else if err := b.DeleteSource(t.Context(), got.ID); err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteSource(t.Context(), "src_x"); hub.CodeOf(err) != hub.CodeNotFound {
		t.Fatalf("got %v", err)
	}
}
