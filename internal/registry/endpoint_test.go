package registry_test

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/registry"
	"github.com/hookgraph/hookgraph/internal/signature"
)

const goodURL = "https://example.com/hooks"

func endpoint(change func(*registry.CreateEndpointInput)) registry.CreateEndpointInput {
	in := registry.CreateEndpointInput{Name: "Shop", URL: registry.Some(goodURL)}
	if change != nil {
		change(&in)
	}
	return in
}

func TestANewEndpoint(t *testing.T) {
	t.Parallel()
	t.Run("has the defaults and a secret of its own", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		got, secret, err := b.CreateEndpoint(t.Context(), endpoint(nil))
		if err != nil {
			t.Fatal(err)
		}
		want := &hub.Endpoint{
			ID: got.ID, Name: "Shop", Kind: hub.EndpointHTTP, URL: goodURL, State: hub.EndpointActive,
			Timeout: 15 * time.Second, MaxConcurrency: 16, RetryPolicy: hub.RetryPolicy{Schedule: hub.DefaultSchedule, Jitter: 0.2},
			Signing: hub.SigningStandardV1, SigningSecrets: []hub.SigningSecret{{ID: got.SigningSecrets[0].ID, Secret: secret, CreatedAt: newYear}},
			CreatedAt: newYear, UpdatedAt: newYear,
		}
		if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(b.store.Configuration().Endpoints[got.ID], want) {
			t.Fatalf("got %+v", got)
		}
		if _, err := signature.ParseSecret(secret); err != nil {
			t.Fatal(err)
		}
		_, other, err := b.CreateEndpoint(t.Context(), endpoint(nil))
		if err != nil || other == secret {
			t.Fatal("two endpoints share a secret")
		}
		got.RetryPolicy.Schedule[0] = time.Hour
		if hub.DefaultSchedule[0] != 0 {
			t.Fatal("endpoints share the default schedule's memory")
		}
	})
	t.Run("that is pulled has no URL and no signature, whatever is given by default", func(t *testing.T) {
		t.Parallel()
		got, secret, err := setup(t).CreateEndpoint(t.Context(), registry.CreateEndpointInput{
			Name: "Puller", Kind: registry.Some(hub.EndpointStream), Timeout: registry.Some(hub.DefaultTimeout), Signing: registry.Some(hub.SigningStandardV1),
		})
		if err != nil || secret != "" || got.URL != "" || got.Signing != hub.SigningNone || len(got.SigningSecrets) > 0 || got.AttemptTime() != time.Minute {
			t.Fatalf("got %+v %v", got, err)
		}
	})
	t.Run("takes everything that is right", func(t *testing.T) {
		t.Parallel()
		given := signature.GenerateSecret()
		got, secret, err := setup(t).CreateEndpoint(t.Context(), endpoint(func(in *registry.CreateEndpointInput) {
			in.URL = registry.Some("http://10.1.2.3:8080/") // the hub's configuration allows it
			in.Timeout, in.MaxConcurrency = registry.Some(60*time.Second), registry.Some(256)
			in.RateLimit = registry.Some(hub.RateLimit{Limit: 10, Period: time.Second})
			in.RetryPolicy = registry.Some(registry.RetryPolicyInput{
				Schedule: registry.Some([]time.Duration{0, 7 * 24 * time.Hour}), Jitter: registry.Some(0.0),
				FinalStatuses: registry.Some([]string{"404", "400-403"}),
			})
			in.Headers = registry.Some([]hub.Header{{Name: "Authorization", Value: "Bearer x"}, {Name: "X-Empty"}})
			in.SigningSecret = registry.Some(given)
		}))
		if err != nil || secret != given || got.SigningSecrets[0].Secret != given || len(got.Headers) != 2 || got.RateLimit.Limit != 10 ||
			got.RetryPolicy.Jitter != 0 || len(got.RetryPolicy.Schedule) != 2 || !slices.Equal(got.RetryPolicy.FinalStatuses, []string{"404", "400-403"}) {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
	t.Run("that does not sign has no secret", func(t *testing.T) {
		t.Parallel()
		got, secret, err := setup(t).CreateEndpoint(t.Context(), endpoint(func(in *registry.CreateEndpointInput) { in.Signing = registry.Some(hub.SigningNone) }))
		if err != nil || secret != "" || len(got.SigningSecrets) > 0 {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
	t.Run("takes the default for what a retry policy leaves out", func(t *testing.T) {
		t.Parallel()
		got, _, err := setup(t).CreateEndpoint(t.Context(), endpoint(func(in *registry.CreateEndpointInput) {
			in.RetryPolicy = registry.Some(registry.RetryPolicyInput{Jitter: registry.Some(1.0), Schedule: registry.Null[[]time.Duration]()})
		}))
		if err != nil || got.RetryPolicy.Jitter != 1 || !slices.Equal(got.RetryPolicy.Schedule, hub.DefaultSchedule) {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
}

func TestEverythingWrongWithAnEndpoint(t *testing.T) {
	t.Parallel()
	policy := func(p registry.RetryPolicyInput) func(*registry.CreateEndpointInput) {
		return func(in *registry.CreateEndpointInput) { in.RetryPolicy = registry.Some(p) }
	}
	headers := func(list ...hub.Header) func(*registry.CreateEndpointInput) {
		return func(in *registry.CreateEndpointInput) { in.Headers = registry.Some(list) }
	}
	for name, c := range map[string]struct {
		change func(*registry.CreateEndpointInput)
		want   []string
	}{
		"no name":              {func(in *registry.CreateEndpointInput) { in.Name = "" }, []string{"REQUIRED input.name: give it a name"}},
		"an unknown kind":      {func(in *registry.CreateEndpointInput) { in.Kind = registry.Some(hub.EndpointKind("PIGEON")) }, []string{"INVALID input.kind: of kind HTTP, STREAM or QUEUE"}},
		"no URL":               {func(in *registry.CreateEndpointInput) { in.URL = registry.Optional[string]{} }, []string{"REQUIRED input.url: give the URL"}},
		"a null URL":           {func(in *registry.CreateEndpointInput) { in.URL = registry.Null[string]() }, []string{"REQUIRED input.url: give the URL"}},
		"no URL at all":        {func(in *registry.CreateEndpointInput) { in.URL = registry.Some("example.com") }, []string{"INVALID input.url: must start with https://"}},
		"a private address":    {func(in *registry.CreateEndpointInput) { in.URL = registry.Some("http://10.2.0.1/") }, []string{"FORBIDDEN input.url: private, local or reserved"}},
		"no time":              {func(in *registry.CreateEndpointInput) { in.Timeout = registry.Some(time.Duration(0)) }, []string{"INVALID input.timeout: more than PT0S and at most PT1M"}},
		"too much time":        {func(in *registry.CreateEndpointInput) { in.Timeout = registry.Some(61 * time.Second) }, []string{"INVALID input.timeout: at most PT1M"}},
		"no concurrency":       {func(in *registry.CreateEndpointInput) { in.MaxConcurrency = registry.Some(0) }, []string{"INVALID input.maxConcurrency: 1 to 256"}},
		"too much concurrency": {func(in *registry.CreateEndpointInput) { in.MaxConcurrency = registry.Some(257) }, []string{"INVALID input.maxConcurrency: 1 to 256"}},
		"a rate of nothing": {
			func(in *registry.CreateEndpointInput) { in.RateLimit = registry.Some(hub.RateLimit{}) },
			[]string{"INVALID input.rateLimit.limit: 1 to 1000000", "INVALID input.rateLimit.period: PT0.001S to P1D"},
		},
		"no attempt":        {policy(registry.RetryPolicyInput{Schedule: registry.Some([]time.Duration{})}), []string{"REQUIRED input.retryPolicy.schedule: at least one"}},
		"too many attempts": {policy(registry.RetryPolicyInput{Schedule: registry.Some(make([]time.Duration, 33))}), []string{"LIMIT_EXCEEDED input.retryPolicy.schedule: at most 32"}},
		"waits out of bounds": {
			policy(registry.RetryPolicyInput{Schedule: registry.Some([]time.Duration{0, -1, 169 * time.Hour})}),
			[]string{"INVALID input.retryPolicy.schedule.1: PT0S to P7D", "INVALID input.retryPolicy.schedule.2: PT0S to P7D"},
		},
		"too much jitter":     {policy(registry.RetryPolicyInput{Jitter: registry.Some(1.1)}), []string{"INVALID input.retryPolicy.jitter: 0 to 1"}},
		"jitter of no number": {policy(registry.RetryPolicyInput{Jitter: registry.Some(math.NaN())}), []string{"INVALID input.retryPolicy.jitter: 0 to 1"}},
		"too many statuses":   {policy(registry.RetryPolicyInput{FinalStatuses: registry.Some(make([]string, 51))}), []string{"LIMIT_EXCEEDED input.retryPolicy.finalStatuses: at most 50"}},
		"too many headers":    {headers(make([]hub.Header, 33)...), []string{"LIMIT_EXCEEDED input.headers: at most 32"}},
		"too long headers":    {headers(hub.Header{Name: "A", Value: strings.Repeat("x", 8<<10)}), []string{"LIMIT_EXCEEDED input.headers: 8192 bytes"}},
		"a secret for nothing": {func(in *registry.CreateEndpointInput) {
			in.Signing, in.SigningSecret = registry.Some(hub.SigningNone), registry.Some(signature.GenerateSecret())
		}, []string{"INVALID input.signingSecret: does not sign"}},
		"a secret of no form": {func(in *registry.CreateEndpointInput) { in.SigningSecret = registry.Some(hub.Secret("hunter2")) }, []string{"INVALID input.signingSecret: must start with whsec_"}},
		"an empty secret":     {func(in *registry.CreateEndpointInput) { in.SigningSecret = registry.Some(hub.Secret("")) }, []string{"INVALID input.signingSecret: must start with whsec_"}},
		"a scheme to come":    {func(in *registry.CreateEndpointInput) { in.Signing = registry.Some(hub.SigningScheme("STANDARD_V9")) }, []string{"INVALID input.signing: STANDARD_V1, STANDARD_V1A or NONE"}},
		"a shared secret where a private key belongs": {func(in *registry.CreateEndpointInput) {
			in.Signing, in.SigningSecret = registry.Some(hub.SigningStandardV1A), registry.Some(signature.GenerateSecret())
		}, []string{"INVALID input.signingSecret: must start with whsk_"}},
		"no age at all": {func(in *registry.CreateEndpointInput) { in.MaxAge = registry.Some(time.Millisecond) }, []string{"INVALID input.maxAge: PT1S to P30D"}},
		"statuses of all sorts": {
			policy(registry.RetryPolicyInput{FinalStatuses: registry.Some([]string{"404", "4xx", "200", "403-400", "400-", "-400", "+404", "0404", "600", "400-403"})}),
			[]string{
				"INVALID input.retryPolicy.finalStatuses.1: 300 to 599", "INVALID input.retryPolicy.finalStatuses.2: 300 to 599",
				"INVALID input.retryPolicy.finalStatuses.3: 300 to 599", "INVALID input.retryPolicy.finalStatuses.4: 300 to 599",
				"INVALID input.retryPolicy.finalStatuses.5: 300 to 599", "INVALID input.retryPolicy.finalStatuses.6: 300 to 599",
				"INVALID input.retryPolicy.finalStatuses.7: 300 to 599", "INVALID input.retryPolicy.finalStatuses.8: 300 to 599",
			},
		},
		"headers of all sorts": {
			headers(
				hub.Header{Name: "X-A", Value: "1"}, hub.Header{Name: "x-a", Value: "2"}, hub.Header{Name: "", Value: "v"},
				hub.Header{Name: "X A", Value: "v"}, hub.Header{Name: "Host", Value: "v"}, hub.Header{Name: "WEBHOOK-ID", Value: "v"},
				hub.Header{Name: "Content-Length", Value: "5"}, hub.Header{Name: "X-B", Value: "a\r\nEvil: yes"}, hub.Header{Name: "X-C", Value: " v"},
			),
			[]string{
				"CONFLICT input.headers.1.name: given twice", "INVALID input.headers.2.name: not the name", "INVALID input.headers.3.name: not the name",
				"FORBIDDEN input.headers.4.name: by the hub itself", "FORBIDDEN input.headers.5.name: by the hub itself",
				"FORBIDDEN input.headers.6.name: by the hub itself", "INVALID input.headers.7.value: no line breaks", "INVALID input.headers.8.value: no blanks",
			},
		},
		"all at once": {
			func(in *registry.CreateEndpointInput) {
				in.Name, in.URL, in.Timeout, in.SigningSecret = "", registry.Some("ftp://x"), registry.Some(time.Hour), registry.Some(hub.Secret("x"))
			},
			[]string{"REQUIRED input.name: ", "INVALID input.url: ", "INVALID input.timeout: ", "INVALID input.signingSecret: "},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			_, secret, err := b.CreateEndpoint(t.Context(), endpoint(c.change))
			wrong(t, err, c.want...)
			if secret != "" || len(b.store.Configuration().Endpoints) > 0 {
				t.Fatal("something was made all the same")
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Fatal("the error shows the secret")
			}
		})
	}
}

func TestChangingAnEndpoint(t *testing.T) {
	t.Parallel()
	create := func(t *testing.T) (*bundle, *hub.Endpoint) {
		t.Helper()
		b := setup(t)
		e, _, err := b.CreateEndpoint(t.Context(), endpoint(func(in *registry.CreateEndpointInput) {
			in.Timeout, in.MaxConcurrency = registry.Some(time.Second), registry.Some(3)
			in.RateLimit = registry.Some(hub.RateLimit{Limit: 1, Period: time.Second})
			in.RetryPolicy = registry.Some(registry.RetryPolicyInput{Schedule: registry.Some([]time.Duration{0})})
			in.Headers = registry.Some([]hub.Header{{Name: "X-A", Value: "1"}})
		}))
		if err != nil {
			t.Fatal(err)
		}
		b.clock.at = newYear.Add(time.Hour)
		return b, e
	}
	t.Run("absent keeps what is there", func(t *testing.T) {
		t.Parallel()
		b, e := create(t)
		got, _, err := b.UpdateEndpoint(t.Context(), registry.UpdateEndpointInput{ID: e.ID, MaxConcurrency: registry.Some(5)})
		want := *e
		want.MaxConcurrency, want.UpdatedAt = 5, newYear.Add(time.Hour)
		if err != nil || !reflect.DeepEqual(got, &want) {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
	t.Run("null goes back to the default", func(t *testing.T) {
		t.Parallel()
		b, e := create(t)
		got, _, err := b.UpdateEndpoint(t.Context(), registry.UpdateEndpointInput{
			ID: e.ID, Timeout: registry.Null[time.Duration](), MaxConcurrency: registry.Null[int](), RateLimit: registry.Null[hub.RateLimit](),
			RetryPolicy: registry.Null[registry.RetryPolicyInput](), Headers: registry.Null[[]hub.Header](), Signing: registry.Null[hub.SigningScheme](),
		})
		if err != nil || got.Timeout != 15*time.Second || got.MaxConcurrency != 16 || got.RateLimit != nil || got.Headers != nil ||
			!slices.Equal(got.RetryPolicy.Schedule, hub.DefaultSchedule) || got.Signing != hub.SigningStandardV1 {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
	t.Run("is checked as a new one is", func(t *testing.T) {
		t.Parallel()
		b, e := create(t)
		_, _, err := b.UpdateEndpoint(t.Context(), registry.UpdateEndpointInput{
			ID: e.ID, Name: registry.Null[string](), URL: registry.Null[string](), Timeout: registry.Some(time.Hour), Signing: registry.Some(hub.SigningScheme("x")),
		})
		wrong(t, err, "REQUIRED input.name: ", "REQUIRED input.url: ", "INVALID input.timeout: ", "INVALID input.signing: ")
	})
	t.Run("what is not touched is not checked anew", func(t *testing.T) {
		t.Parallel()
		b, e := create(t)
		b.store.elsewhere(func(m *memory) { m.endpoints[e.ID].URL = "http://10.9.9.9/" }) // allowed once
		if _, _, err := b.UpdateEndpoint(t.Context(), registry.UpdateEndpointInput{ID: e.ID, Name: registry.Some("x")}); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("another scheme comes with a secret of its own, and the old one goes on for a day", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		e, first, err := b.CreateEndpoint(t.Context(), endpoint(nil))
		if err != nil {
			t.Fatal(err)
		}
		to := func(scheme hub.SigningScheme) (*hub.Endpoint, hub.Secret) {
			t.Helper()
			got, secret, err := b.UpdateEndpoint(t.Context(), registry.UpdateEndpointInput{ID: e.ID, Signing: registry.Some(scheme)})
			if err != nil || got.Signing != scheme {
				t.Fatalf("got %+v, %v", got, err)
			}
			return got, secret
		}
		got, shown := to(hub.SigningStandardV1A)
		if shown != "" || len(got.SigningSecrets) != 2 || !signature.IsPrivateKey(got.SigningSecrets[0].Secret) ||
			got.SigningSecrets[1].Secret != first || !got.SigningSecrets[1].ExpiresAt.Equal(newYear.Add(24*time.Hour)) {
			t.Fatalf("shown %v, got %+v", len(shown), got.SigningSecrets)
		}
		if again, _ := to(hub.SigningStandardV1A); len(again.SigningSecrets) != 2 {
			t.Error("the same scheme again made a secret")
		}
		none, _ := to(hub.SigningNone)
		if len(none.SigningSecrets) != 2 {
			t.Error("not to sign takes secrets away")
		}
		if got, shown := to(hub.SigningStandardV1); !strings.HasPrefix(shown.Reveal(), "whsec_") || shown == first || got.SigningSecrets[0].Secret != shown {
			t.Error("going back made no secret")
		}
	})
	t.Run("one that is not there is not found", func(t *testing.T) {
		t.Parallel()
		b, _ := create(t)
		_, _, updated := b.UpdateEndpoint(t.Context(), registry.UpdateEndpointInput{ID: "end_x"})
		_, paused := b.PauseEndpoint(t.Context(), "end_x")
		_, resumed := b.ResumeEndpoint(t.Context(), "end_x", hub.BacklogSendAll)
		_, _, rotated := b.RotateEndpointSecret(t.Context(), "end_x", 0)
		for _, err := range []error{updated, paused, resumed, rotated, b.DeleteEndpoint(t.Context(), "end_x")} {
			if hub.CodeOf(err) != hub.CodeNotFound {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestPausingAnEndpoint(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, _, err := b.CreateEndpoint(t.Context(), endpoint(nil))
	if err != nil {
		t.Fatal(err)
	}
	disable := func() (*hub.Endpoint, error) { return b.DisableEndpoint(t.Context(), e.ID, " it answered 410 ") }
	disableAgain := func() (*hub.Endpoint, error) { return b.DisableEndpoint(t.Context(), e.ID, "another reason") }
	disableSilently := func() (*hub.Endpoint, error) { return b.DisableEndpoint(t.Context(), e.ID, "") }
	pause := func() (*hub.Endpoint, error) { return b.PauseEndpoint(t.Context(), e.ID) }
	resume := func() (*hub.Endpoint, error) { return b.ResumeEndpoint(t.Context(), e.ID, hub.BacklogSendAll) }
	for _, step := range []struct {
		name    string
		do      func() (*hub.Endpoint, error)
		want    hub.EndpointState
		reason  string
		changes bool
	}{
		{"resume what is active", resume, hub.EndpointActive, "", false},
		{"pause", pause, hub.EndpointPaused, "", true},
		{"pause again", pause, hub.EndpointPaused, "", false},
		{"resume", resume, hub.EndpointActive, "", true},
		{"disable", disable, hub.EndpointDisabled, "it answered 410", true},
		{"disable again", disableAgain, hub.EndpointDisabled, "it answered 410", false},
		{"pause what is disabled", pause, hub.EndpointDisabled, "it answered 410", false},
		{"resume what is disabled", resume, hub.EndpointActive, "", true},
		{"pause before", pause, hub.EndpointPaused, "", true},
		{"disable what is paused", disableSilently, hub.EndpointDisabled, "disabled by request", true},
		{"resume at last", resume, hub.EndpointActive, "", true},
	} {
		b.clock.at = b.clock.at.Add(time.Minute)
		before := b.store.Configuration().Revision
		got, err := step.do()
		if err != nil || got.State != step.want || got.StateReason != step.reason || (b.store.Configuration().Revision != before) != step.changes {
			t.Fatalf("%s: %+v, %v", step.name, got, err)
		}
	}
	_, err = b.DisableEndpoint(t.Context(), e.ID, strings.Repeat("x", 1001))
	wrong(t, err, "LIMIT_EXCEEDED reason: 1000 characters")
	if got := b.store.Configuration().Endpoints[e.ID]; !got.UpdatedAt.Equal(b.clock.at) {
		t.Fatal("failures before the resumption would count after it")
	}
}

func TestRotatingASecret(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, first, err := b.CreateEndpoint(t.Context(), endpoint(nil))
	if err != nil {
		t.Fatal(err)
	}
	rotate := func(overlap time.Duration) (*hub.Endpoint, hub.Secret) {
		t.Helper()
		got, secret, err := b.RotateEndpointSecret(t.Context(), e.ID, overlap)
		if err != nil {
			t.Fatal(err)
		}
		return got, secret
	}
	secrets := func(e *hub.Endpoint) (list []hub.Secret) {
		for _, s := range e.SigningSecrets {
			list = append(list, s.Secret)
		}
		return list
	}

	got, second := rotate(24 * time.Hour)
	if !slices.Equal(secrets(got), []hub.Secret{second, first}) || !got.SigningSecrets[0].ExpiresAt.IsZero() ||
		!got.SigningSecrets[1].ExpiresAt.Equal(newYear.Add(24*time.Hour)) {
		t.Fatalf("got %+v", got.SigningSecrets)
	}

	b.clock.at = newYear.Add(time.Hour)
	got, third := rotate(48 * time.Hour)
	if !slices.Equal(secrets(got), []hub.Secret{third, second, first}) || !got.SigningSecrets[2].ExpiresAt.Equal(newYear.Add(24*time.Hour)) ||
		!got.SigningSecrets[1].ExpiresAt.Equal(newYear.Add(49*time.Hour)) {
		t.Fatalf("an older secret lives on: %+v", got.SigningSecrets)
	}

	b.clock.at = newYear.Add(24 * time.Hour)
	got, fourth := rotate(time.Hour)
	if !slices.Equal(secrets(got), []hub.Secret{fourth, third, second}) || !got.SigningSecrets[2].ExpiresAt.Equal(newYear.Add(25*time.Hour)) {
		t.Fatalf("an expired secret is kept or one lives too long: %+v", got.SigningSecrets)
	}

	rotate(time.Hour)
	rotate(time.Hour) // five
	_, _, err = b.RotateEndpointSecret(t.Context(), e.ID, time.Hour)
	problems, ok := err.(hub.UserErrors) //nolint:errorlint // it is returned as it is
	if !ok || len(problems) != 1 || problems[0].Code != hub.InputLimitExceeded || !slices.Equal(problems[0].Field, []string{"overlap"}) {
		t.Fatalf("got %v", err)
	}
	got, last := rotate(0)
	if !slices.Equal(secrets(got), []hub.Secret{last}) {
		t.Fatalf("without an overlap %d secrets sign", len(got.SigningSecrets))
	}

	for _, overlap := range []time.Duration{-1, 30*24*time.Hour + 1} {
		_, _, err := b.RotateEndpointSecret(t.Context(), e.ID, overlap)
		if problems, ok := err.(hub.UserErrors); !ok || problems[0].Message != "this is PT0S to P30D" { //nolint:errorlint // as above
			t.Errorf("%v: got %v", overlap, err)
		}
	}
}
