package webhook_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

func TestCheckSource(t *testing.T) {
	t.Parallel()
	good := []hub.Secret{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
	hmac := func(change func(*hub.HMACVerification)) *hub.Verification {
		h := &hub.HMACVerification{Header: "X-Sig", Algorithm: "SHA256", Encoding: "HEX", Prefix: "sha256=", Tolerance: time.Minute}
		if change != nil {
			change(h)
		}
		return &hub.Verification{HMAC: h}
	}
	apiKey := func(header string) *hub.Verification {
		return &hub.Verification{APIKey: &hub.APIKeyVerification{Header: header}}
	}
	basic := func(name string) *hub.Verification {
		return &hub.Verification{Basic: &hub.BasicVerification{Username: name}}
	}
	networks := func(n ...string) *hub.Verification { return &hub.Verification{AllowNetworks: n} }
	both := hmac(nil)
	both.APIKey = &hub.APIKeyVerification{Header: "X-Key"}
	narrow := hmac(nil)
	narrow.AllowNetworks = []string{"203.0.113.0/24", "2001:db8::/32", "192.0.2.1"}

	for _, c := range []struct {
		name   string
		source hub.Source
		want   []string // field and code of each error
	}{
		{"stripe with a secret", hub.Source{Provider: "stripe", Secrets: good}, nil},
		{"github with eight secrets", hub.Source{Provider: "github", Secrets: slices.Repeat([]hub.Secret{"s"}, 8)}, nil},
		{"standard-webhooks with a secret", hub.Source{Provider: "standard-webhooks", Secrets: good}, nil},
		{"standard-webhooks with a secret without its prefix", hub.Source{Provider: "standard-webhooks", Secrets: []hub.Secret{good[0][6:]}}, nil},
		{"a provider for its rules alone", hub.Source{Provider: "stripe", AllowUnverified: true}, nil},
		{"a provider within networks", hub.Source{Provider: "stripe", Secrets: good, Verification: networks("203.0.113.0/24")}, nil},
		{"hmac", hub.Source{Verification: hmac(nil), Secrets: good}, nil},
		{"hmac within networks", hub.Source{Verification: narrow, Secrets: good}, nil},
		{"api key", hub.Source{Verification: apiKey("Authorization"), Secrets: good}, nil},
		{"basic", hub.Source{Verification: basic("acme"), Secrets: good}, nil},
		{"networks alone", hub.Source{Verification: networks("203.0.113.0/24")}, nil},
		{"unverified, said aloud", hub.Source{AllowUnverified: true}, nil},
		{"an API source", hub.Source{Kind: hub.SourceAPI}, nil},

		{"nothing said", hub.Source{}, []string{"input.provider REQUIRED"}},
		{"an unknown provider", hub.Source{Provider: "acme", Secrets: good}, []string{"input.provider INVALID"}},
		{"a provider without secrets", hub.Source{Provider: "stripe"}, []string{"input.secrets REQUIRED"}},
		{"an empty secret", hub.Source{Provider: "github", Secrets: []hub.Secret{"a", ""}}, []string{"input.secrets.1 INVALID"}},
		{"a secret with a line break", hub.Source{Provider: "github", Secrets: []hub.Secret{"a\n"}}, []string{"input.secrets.0 INVALID"}},
		{"a secret of another form", hub.Source{Provider: "standard-webhooks", Secrets: []hub.Secret{"geheim"}}, []string{"input.secrets.0 INVALID"}},
		{"nine secrets", hub.Source{Provider: "github", Secrets: slices.Repeat([]hub.Secret{"s"}, 9)}, []string{"input.secrets LIMIT_EXCEEDED"}},
		{"a huge secret", hub.Source{Provider: "github", Secrets: []hub.Secret{hub.Secret(strings.Repeat("s", 5000))}}, []string{"input.secrets.0 LIMIT_EXCEEDED"}},
		{"a setting no provider has", hub.Source{Provider: "stripe", Secrets: good, ProviderConfig: map[string]any{"b": 1, "a": 2}}, []string{"input.providerConfig.a INVALID", "input.providerConfig.b INVALID"}},
		{"settings without a provider", hub.Source{AllowUnverified: true, ProviderConfig: map[string]any{"a": 2}}, []string{"input.providerConfig INVALID"}},
		{"a provider and a scheme", hub.Source{Provider: "stripe", Secrets: good, Verification: hmac(nil)}, []string{"input.verification INVALID"}},
		{"two schemes", hub.Source{Secrets: good, Verification: both}, []string{"input.verification INVALID"}},
		{"a verification of nothing", hub.Source{Verification: &hub.Verification{}}, []string{"input.verification REQUIRED"}},
		{"hmac without secrets", hub.Source{Verification: hmac(nil), AllowUnverified: true}, []string{"input.secrets REQUIRED"}},
		{"hmac with all wrong at once", hub.Source{Verification: &hub.Verification{
			HMAC: &hub.HMACVerification{Header: "X Sig", Algorithm: "MD5", Encoding: "UTF7", Prefix: "a\x00", Tolerance: -1}, AllowNetworks: []string{"300.0.0.0/8", "::ffff:10.0.0.0/104", "10.0.0.0/33"},
		}}, []string{
			"input.verification.hmac.header INVALID", "input.verification.hmac.algorithm INVALID", "input.verification.hmac.encoding INVALID", "input.verification.hmac.prefix INVALID",
			"input.verification.hmac.tolerance INVALID", "input.verification.allowNetworks.0 INVALID", "input.verification.allowNetworks.1 INVALID", "input.verification.allowNetworks.2 INVALID", "input.secrets REQUIRED",
		}},
		{"a prefix that no value has", hub.Source{Secrets: good, Verification: hmac(func(h *hub.HMACVerification) { h.Prefix = " v1" })}, []string{"input.verification.hmac.prefix INVALID"}},
		{"a tolerance of a year", hub.Source{Secrets: good, Verification: hmac(func(h *hub.HMACVerification) { h.Tolerance = 8760 * time.Hour })}, []string{"input.verification.hmac.tolerance INVALID"}},
		{"an api key without a header", hub.Source{Secrets: good, Verification: apiKey("")}, []string{"input.verification.apiKey.header REQUIRED"}},
		{"an api key in Host", hub.Source{Secrets: good, Verification: apiKey("host")}, []string{"input.verification.apiKey.header INVALID"}},
		{"a user name with a colon", hub.Source{Secrets: good, Verification: basic("a:b")}, []string{"input.verification.basic.username INVALID"}},
		{"too many networks", hub.Source{Verification: networks(slices.Repeat([]string{"10.0.0.0/8"}, 65)...)}, []string{"input.verification.allowNetworks LIMIT_EXCEEDED"}},
		{"secrets that networks do not use", hub.Source{Secrets: good, Verification: networks("10.0.0.0/8")}, []string{"input.secrets INVALID"}},
		{"secrets that nothing uses", hub.Source{Secrets: good, AllowUnverified: true}, []string{"input.secrets INVALID"}},
		{"an API source with all of it", hub.Source{Kind: hub.SourceAPI, Provider: "stripe", Secrets: good, Verification: hmac(nil), ProviderConfig: map[string]any{"a": 1}}, []string{
			"input.provider INVALID", "input.providerConfig INVALID", "input.verification INVALID", "input.secrets INVALID",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.source.Kind == "" {
				c.source.Kind = hub.SourceWebhook
			}
			var got []string
			for _, e := range webhook.Presets().CheckSource(&c.source) {
				got = append(got, fmt.Sprintf("%s %s", strings.Join(e.Field, "."), e.Code))
				for _, secret := range c.source.Secrets {
					if len(secret) > 3 && strings.Contains(e.Message, secret.Reveal()) {
						t.Errorf("a message shows a secret: %s", e.Message)
					}
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

func TestPresets(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, p := range webhook.Presets().Of(hub.SourceWebhook) {
		names[p.Name] = true
		if p.Title == "" || !strings.HasPrefix(p.DocsURL, "https://") || p.SecretHint == "" || (p.Scheme == nil) == (p.Verify == nil) || (p.Verify == nil) == (p.Method != "") {
			t.Errorf("the row %s is not whole: %+v", p.Name, p)
		}
		if found, ok := webhook.Presets().Lookup(p.Name); !ok || found != p {
			t.Errorf("%s is not found by its name", p.Name)
		}
	}
	// The names of the public contract.
	for name := range strings.FieldsSeq(`stripe github gitlab gitlab-signing-token bitbucket shopify slack twilio twilio-json sendgrid mailgun
		postmark paypal square adyen adyen-platforms mollie-nextgen paddle lemon-squeezy zoom discord meta linear notion hubspot intercom zendesk
		typeform calendly docusign dropbox trello aws-sns azure-eventgrid cloudevents telegram standard-webhooks standard-webhooks-v1a svix resend
		openai coinbase-commerce plaid xero okta workos gocardless razorpay line mux`) {
		if !names[name] {
			t.Errorf("there is no preset %s", name)
		}
		delete(names, name)
	}
	if len(names) > 0 {
		t.Errorf("presets besides the contract's: %v", names)
	}
	if _, found := webhook.Presets().Lookup(""); found {
		t.Error("no name is a provider")
	}
}
