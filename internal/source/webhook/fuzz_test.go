package webhook_test

import (
	"bytes"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

// fuzzSources are sources of every scheme, whose secrets the fuzzer does not know.
func fuzzSources() []*hub.Source {
	secrets := []hub.Secret{signature.GenerateSecret(), signature.GenerateSecret()}
	hmac := func(algorithm, encoding, prefix string) *hub.Verification {
		return &hub.Verification{HMAC: &hub.HMACVerification{Header: "X-Sig", Algorithm: algorithm, Encoding: encoding, Prefix: prefix}}
	}
	expression := hmac("SHA256", "HEX", "")
	expression.HMAC.SignedContent, expression.HMAC.Timestamp = `bytes(headers["x-time"]) + raw`, `headers["x-time"]`
	sources := []*hub.Source{
		{Verification: hmac("SHA1", "HEX", "sha1=")},
		{Verification: hmac("SHA512", "BASE64", "")},
		{Verification: expression},
		{Verification: &hub.Verification{APIKey: &hub.APIKeyVerification{Header: "X-Sig"}}},
		{Verification: &hub.Verification{APIKey: &hub.APIKeyVerification{Header: "Authorization"}}},
		{Verification: &hub.Verification{Basic: &hub.BasicVerification{Username: "acme"}}},
	}
	for _, s := range sources {
		s.Slug, s.Kind, s.Secrets = "acme", hub.SourceWebhook, secrets
	}
	for _, s := range samples() {
		src := s.source()
		if len(src.Secrets) > 0 && s.provider != "adyen" && s.provider != "adyen-platforms" {
			src.Secrets = secrets
		}
		if s.provider == "okta" || s.provider == "postmark" {
			src.ProviderConfig = map[string]any{"authHeader": "X-Sig", "username": "acme"}
			src.Secrets = secrets
		}
		sources = append(sources, src)
	}
	return sources
}

// fuzzHeaders are the headers that verification reads, by what they hold.
func fuzzHeaders() (values, times []string) {
	values = []string{"X-Sig", "Authorization"}
	for _, s := range samples() {
		if s.header != "" {
			values = append(values, s.header)
		}
		times = append(times, s.others...)
	}
	return values, times
}

// FuzzVerify states that nobody gets in without the secret, whatever the headers
// and the body are, and that every refusal says why.
func FuzzVerify(f *testing.F) {
	hexed := strings.Repeat("ab", 32)
	for _, seed := range []struct{ id, time, value, body string }{
		{"", "", "", ""},
		{"msg_1", "1773500966", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", `{"test": 2432232314}`},
		{"msg_1", "1773500966", "v1, v1,= v1a,x  v1,AAAA", "x"},
		{"", "", "sha256=" + hexed, "\xff\x00"},
		{"", "", "sha1=" + hexed[:40], "a=b"},
		{"", "", "t=1773500966,v1=" + hexed + ",v0=" + hexed, "{}"},
		{"", "9999999999999", "t=1,t=2,v1=" + hexed, "{}"},
		{"", "x", "Basic YWNtZTpwYXNz", ""},
		{"", "-1", "Basic YWNtZTo=", ""},
		{"", "", "Bearer ", ""},
		{"bodySHA256=00", "2026-03-14T15:09:26Z", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=", snsBody},
		{"", "SHA256withRSA", "v1a,AAAA", adyenBody},
		{"", "1773500966000", "eyJhbGciOiJFUzI1NiIsImtpZCI6ImtleS0xIn0.e30.AAAA", `{"signature":{"timestamp":"1773500966","token":"x","signature":"00"}}`},
		{"a.b", "1773500966.", "v1," + strings.Repeat("A", 9000), ""},
	} {
		f.Add(seed.id, seed.time, seed.value, []byte(seed.body))
	}
	a, sources := newAdapter(f, webhook.Presets()), fuzzSources()
	values, times := fuzzHeaders()
	f.Fuzz(func(t *testing.T, id, time, value string, body []byte) {
		for _, src := range sources {
			header := http.Header{}
			for _, name := range times {
				header.Set(name, time)
			}
			for _, name := range values {
				header.Set(name, value)
			}
			header.Set("Webhook-Id", id)
			header.Set("Webhook-Timestamp", time)
			header.Set("X-Time", time)
			verdict := a.Verify(t.Context(), src, &webhook.Request{Method: "POST", Target: "/in/acme?" + id, RawQuery: id, Header: header, Body: body, ReceivedAt: now})
			if verdict.Accepted() || verdict.Detail == "" || !utf8.ValidString(verdict.Detail) {
				t.Fatalf("%+v: %+v", src, verdict)
			}
		}
	})
}

// FuzzExtract states that what is extracted can be stored, whatever was sent.
func FuzzExtract(f *testing.F) {
	for _, seed := range []struct{ contentType, value, body string }{
		{"application/json", "push", `{"id":"evt_1","type":"invoice.paid","created":1773500000,"data":{"object":{"id":"in_1"}},"action":"opened"}`},
		{"application/json", "", `{"type":"a","timestamp":"2026-03-14T15:09:26Z","repository":{"full_name":"a/b"}}`},
		{"application/x-www-form-urlencoded", "issues", "payload=%7B%22action%22%3A%22opened%22%7D"},
		{"application/x-www-form-urlencoded; charset=x", "issues", "payload=%zz&payload"},
		{"text/xml", "\xff", "<a/>"},
		{"", "", ""},
		{"", "a", `{"type":"\ud800","id":1e400,"created":-1}`},
		{"", "a", `{"type":"` + strings.Repeat("x", 300) + `"}`},
		{"", "a", strings.Repeat(`{"type":`, 1000)},
		{"", "a", `{"type":"a"} trailing`},
		{"", "a", `{"type":"a","type":"b","ty\u0070e":"c"}`},
		{"", "a", "\xef\xbb\xbf{}"},
	} {
		f.Add(seed.contentType, seed.value, []byte(seed.body))
	}
	a := newAdapter(f, webhook.Presets())
	providers := []string{""}
	for _, s := range samples() {
		providers = append(providers, s.provider)
		f.Add("application/json", s.want.Type, []byte(s.body))
	}
	f.Fuzz(func(t *testing.T, contentType, value string, body []byte) {
		for _, provider := range providers {
			src := &hub.Source{Slug: "acme", Kind: hub.SourceWebhook, Provider: provider, AllowUnverified: true}
			header := http.Header{}
			for _, name := range []string{"Webhook-Id", "X-Github-Event", "X-Github-Delivery", "Ce-Id", "Ce-Source", "Ce-Type", "Ce-Time", "Plaid-Verification", "X-Shopify-Triggered-At", "Linear-Event"} {
				header.Set(name, value)
			}
			header.Set("Content-Type", contentType)
			before := bytes.Clone(body)
			got, verdict := a.Extract(src, &webhook.Request{Method: "POST", Header: header, Body: body, ReceivedAt: now}, webhook.Extracted{})
			if !bytes.Equal(before, body) {
				t.Fatal("the body was changed")
			}
			storable(t, got, verdict)
		}
	})
}

// FuzzNetworks states that saving refuses every network that receiving could not use.
func FuzzNetworks(f *testing.F) {
	for _, seed := range []string{"10.0.0.0/8", "10.1.2.3/8", "127.0.0.1", "::1", "::/0", "0.0.0.0/0", "fe80::1%eth0", "::ffff:127.0.0.1", "::ffff:0:0/96", "10.0.0.0/33", "", "/"} {
		f.Add(seed)
	}
	a := newAdapter(f, webhook.Presets())
	f.Fuzz(func(t *testing.T, network string) {
		src := &hub.Source{Kind: hub.SourceWebhook, Verification: &hub.Verification{AllowNetworks: []string{network}}}
		saved := len(webhook.Presets().CheckSource(src)) == 0
		if addr, err := netip.ParseAddr(network); err == nil && saved {
			if verdict := a.Admit(src, &webhook.Request{Peer: addr}); !verdict.Accepted() {
				t.Fatalf("%q does not hold its own address", network)
			}
		}
		if prefix, err := netip.ParsePrefix(network); err == nil && saved {
			if verdict := a.Admit(src, &webhook.Request{Peer: prefix.Addr()}); !verdict.Accepted() {
				t.Fatalf("%q does not hold its own address", network)
			}
		}
	})
}

// FuzzHandshakes states that what is asked by whoever it is gets a bounded answer
// that browsers do not take for a page, or none.
func FuzzHandshakes(f *testing.F) {
	for _, seed := range []struct{ method, query, value, body string }{
		{"GET", "hub.mode=subscribe&hub.verify_token=x&hub.challenge=1", "", ""},
		{"GET", "challenge=%00%ff", "a\"b", ""},
		{"OPTIONS", "", "b.example", ""},
		{"HEAD", ";;&=&%", "", ""},
		{"POST", "", "", `[{"eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{"validationCode":"512d"}}]`},
		{"POST", "", "", `{"verification_token":"x"}`},
		{"POST", "", "", `{"type":1,"event":"endpoint.url_validation","payload":{"plainToken":"\ud800"},"events":[],"challenge":"x"}`},
		{"POST", "", "", `{"type":"url_verification","challenge":"x"}`},
	} {
		f.Add(seed.method, seed.query, seed.value, []byte(seed.body))
	}
	a, sources := newAdapter(f, webhook.Presets()), fuzzSources()
	f.Fuzz(func(t *testing.T, method, query, value string, body []byte) {
		for _, src := range sources {
			r := &webhook.Request{Method: method, Target: "/in/acme?" + query, RawQuery: query, Body: body, ReceivedAt: now,
				Header: http.Header{"X-Okta-Verification-Challenge": {value}, "Webhook-Request-Origin": {value}}}
			for _, verified := range []bool{false, true} {
				answer, asked := a.Handshake(t.Context(), src, r, verified)
				if !asked || !answer.Refusal.Accepted() {
					continue
				}
				if answer.Status < 200 || answer.Status > 299 || len(answer.Body) > 32<<10 || len(answer.Body) > 0 && answer.Header.Get("X-Content-Type-Options") != "nosniff" {
					t.Fatalf("%s: %+v", src.Provider, answer)
				}
			}
		}
	})
}
