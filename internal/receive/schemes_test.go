package receive_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
)

// scheme is one way of verification, with a sender that does it right.
type scheme struct {
	name   string
	source hub.Source
	// header holds the signature or credential.
	header string
	// sign returns the headers of a request, made with the n-th of the secrets.
	sign func(secret hub.Secret, at time.Time, body []byte) http.Header
	// body, timed: whether changing it, or letting time pass, is noticed.
	body, timed bool
	reason      hub.RejectionReason // of a wrong secret
	missing     hub.RejectionReason // of a missing header
	status      int
	code        hub.Code
}

const otherSecret = hub.Secret("whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVy")

func hexMAC(a signature.Algorithm, secret hub.Secret, content ...[]byte) string {
	return signature.Hex.Encode(a.Sign([]byte(secret.Reveal()), content...))
}

func schemes() []scheme {
	secrets := []hub.Secret{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2Vjb25kc2Vjb25kc2Vjb25kc2Vjb25kc2Vj"}
	stamp := func(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }
	const signed, unauthenticated = hub.CodeSignatureInvalid, hub.CodeUnauthenticated
	all := []scheme{
		{
			name: "standard-webhooks", source: hub.Source{Provider: "standard-webhooks"}, header: "webhook-signature", body: true, timed: true,
			sign: func(secret hub.Secret, at time.Time, body []byte) http.Header {
				list, err := signature.SignStandard(secret, "msg_1", at, body)
				if err != nil {
					panic(err)
				}
				return headers("webhook-id", "msg_1", "webhook-timestamp", stamp(at), "webhook-signature", list)
			},
		},
		{
			name: "github", source: hub.Source{Provider: "github"}, header: "X-Hub-Signature-256", body: true,
			sign: func(secret hub.Secret, _ time.Time, body []byte) http.Header {
				return headers("X-GitHub-Event", "push", "X-Hub-Signature-256", "sha256="+hexMAC(signature.SHA256, secret, body))
			},
		},
		{
			name: "stripe", source: hub.Source{Provider: "stripe"}, header: "Stripe-Signature", body: true, timed: true,
			sign: func(secret hub.Secret, at time.Time, body []byte) http.Header {
				return headers("Stripe-Signature", fmt.Sprintf("t=%s,v1=%s,v0=%s", stamp(at),
					hexMAC(signature.SHA256, secret, []byte(stamp(at)+"."), body), strings.Repeat("00", 32)))
			},
		},
		{
			name: "hmac of the body", source: hub.Source{Verification: &hub.Verification{HMAC: &hub.HMACVerification{
				Header: "X-Acme-Mac", Algorithm: "SHA1", Encoding: "HEX", Prefix: "v0=",
			}}}, header: "X-Acme-Mac", body: true,
			sign: func(secret hub.Secret, _ time.Time, body []byte) http.Header {
				return headers("X-Acme-Mac", "v0="+hexMAC(signature.SHA1, secret, body))
			},
		},
		{
			name: "hmac in base64 with SHA-512", source: hub.Source{Verification: &hub.Verification{HMAC: &hub.HMACVerification{
				Header: "X-Acme-Mac", Algorithm: "SHA512", Encoding: "BASE64",
			}}}, header: "X-Acme-Mac", body: true,
			sign: func(secret hub.Secret, _ time.Time, body []byte) http.Header {
				return headers("X-Acme-Mac", signature.Base64.Encode(signature.SHA512.Sign([]byte(secret.Reveal()), body)))
			},
		},
		{
			name: "hmac of an expression with a time", source: hub.Source{Verification: &hub.Verification{HMAC: &hub.HMACVerification{
				Header: "X-Acme-Mac", Algorithm: "SHA256", Encoding: "HEX",
				SignedContent: `bytes(headers["x-acme-time"] + ":") + raw`, Timestamp: `timestamp(int(headers["x-acme-time"]))`,
			}}}, header: "X-Acme-Mac", body: true, timed: true,
			sign: func(secret hub.Secret, at time.Time, body []byte) http.Header {
				return headers("X-Acme-Time", stamp(at), "X-Acme-Mac", hexMAC(signature.SHA256, secret, []byte(stamp(at)+":"), body))
			},
		},
		{
			name: "api key", source: hub.Source{Verification: &hub.Verification{APIKey: &hub.APIKeyVerification{Header: "X-Acme"}}}, header: "X-Acme",
			sign: func(secret hub.Secret, _ time.Time, _ []byte) http.Header { return headers("X-Acme", secret.Reveal()) },
		},
		{
			name: "bearer", source: hub.Source{Verification: &hub.Verification{APIKey: &hub.APIKeyVerification{Header: "authorization"}}}, header: "Authorization",
			sign: func(secret hub.Secret, _ time.Time, _ []byte) http.Header {
				return headers("Authorization", "bearer "+secret.Reveal())
			},
		},
		{
			name: "basic", source: hub.Source{Verification: &hub.Verification{Basic: &hub.BasicVerification{Username: "acme"}}}, header: "Authorization",
			sign: func(secret hub.Secret, _ time.Time, _ []byte) http.Header {
				return headers("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("acme:"+secret.Reveal())))
			},
		},
	}
	for i := range all {
		s := &all[i]
		s.source.ID, s.source.Slug, s.source.Secrets = "src_1", "acme", secrets
		s.source.Kind, s.source.State = hub.SourceWebhook, hub.SourceActive
		s.status = http.StatusUnauthorized
		if s.body {
			s.reason, s.missing, s.code = hub.RejectedSignatureInvalid, hub.RejectedSignatureMissing, signed
		} else {
			s.reason, s.missing, s.code = hub.RejectedCredentialsInvalid, hub.RejectedCredentialsInvalid, unauthenticated
		}
	}
	return all
}

// bodies are what providers and others send.
var bodies = map[string][]byte{
	"JSON":              []byte(`{"id":"evt_1","type":"invoice.paid","created":1773500000}`),
	"JSON with blanks":  []byte(" {\r\n\t\"type\" : \"invoice.paid\" }\n"),
	"a form":            []byte("payload=%7B%22action%22%3A%22opened%22%7D&a=1&a=2"),
	"XML":               []byte(`<?xml version="1.0" encoding="ISO-8859-1"?><a>` + "\xe4" + `</a>`),
	"not UTF-8":         {0xff, 0xfe, 0xc3, 0x28, '"', '{'},
	"binary with NUL":   {0, 1, 2, 0, 0xff, '\r', '\n'},
	"empty":             {},
	"broken JSON":       []byte(`{"type":"invoice.paid"`),
	"very deep JSON":    []byte(strings.Repeat("[", 200_000)),
	"a megabyte":        bytes.Repeat([]byte{'a'}, 1<<20),
	"JSON of no object": []byte(`"type"`),
}

func TestEverySchemeAcceptsWhatIsSignedRight(t *testing.T) {
	t.Parallel()
	for _, s := range schemes() {
		for name, body := range bodies {
			t.Run(s.name+" with "+name, func(t *testing.T) {
				t.Parallel()
				store := newStore(&s.source)
				url := serve(t, store) + "/in/acme"
				for i, secret := range s.source.Secrets {
					got := send(t, http.MethodPost, url, s.sign(secret, now, body), body)
					event := store.last(t)
					if got.status != http.StatusOK || !bytes.Equal(event.Payload.Body, body) || event.Payload.Body == nil {
						t.Fatalf("secret %d: %d %s\n%s", i, got.status, got.body, store.why())
					}
				}
			})
		}
	}
}

func TestEverySchemeRefusesTheHostile(t *testing.T) {
	t.Parallel()
	body := bodies["JSON"]
	for _, s := range schemes() {
		right := func() http.Header { return s.sign(s.source.Secrets[0], now, body) }
		set := func(change func(string) []string) http.Header {
			h := right()
			h[http.CanonicalHeaderKey(s.header)] = change(h.Get(s.header))
			return h
		}
		type hostile struct {
			name   string
			header http.Header
			body   []byte
			reason hub.RejectionReason
		}
		cases := []hostile{
			{"a wrong secret", s.sign(otherSecret, now, body), body, s.reason},
			{"a missing header", set(func(string) []string { return nil }), body, s.missing},
			{"an empty header", set(func(string) []string { return []string{""} }), body, s.missing},
			{"a truncated header", set(func(v string) []string { return []string{v[:len(v)/2]} }), body, s.reason},
			{"a header cut by one character", set(func(v string) []string {
				return []string{strings.TrimRight(strings.Split(v, ",v0=")[0], "=")[:len(strings.TrimRight(strings.Split(v, ",v0=")[0], "="))-1]}
			}), body, s.reason},
			{"a header of nonsense", set(func(string) []string { return []string{"\"'%00 ;,=,=\xff"} }), body, s.reason},
			{"a huge header", set(func(v string) []string { return []string{v + strings.Repeat(" x", 8<<10)} }), body, s.reason},
			{"a repeated header", set(func(v string) []string { return []string{v, v} }), body, s.reason},
			{"a repeated header whose first is wrong", set(func(v string) []string { return []string{"x", v} }), body, s.reason},
		}
		if s.body {
			for i, changed := range [][]byte{append([]byte{' '}, body...), body[:len(body)-1], append([]byte{}, bytes.ToUpper(body)...), {}} {
				cases = append(cases, hostile{fmt.Sprintf("a changed body %d", i), right(), changed, s.reason})
			}
		}
		if s.timed {
			cases = append(
				cases,
				hostile{"a stale time", s.sign(s.source.Secrets[0], now.Add(-5*time.Minute-time.Second), body), body, hub.RejectedTimestamp},
				hostile{"a future time", s.sign(s.source.Secrets[0], now.Add(5*time.Minute+2*time.Second), body), body, hub.RejectedTimestamp},
				hostile{"a time of long ago", s.sign(s.source.Secrets[0], time.Unix(0, 0), body), body, hub.RejectedTimestamp},
			)
		}
		for _, c := range cases {
			t.Run(s.name+" with "+c.name, func(t *testing.T) {
				t.Parallel()
				store := newStore(&s.source)
				got := send(t, http.MethodPost, serve(t, store)+"/in/acme", c.header, c.body)
				if events, _ := store.counts(); events != 0 || got.status != s.status {
					t.Fatalf("answered %d %s, stored %d events", got.status, got.body, events)
				}
				refusal := store.refusal(t)
				if refusal.Reason != c.reason || refusal.Detail == "" || refusal.SourceID != "src_1" || !refusal.ReceivedAt.Equal(now) {
					t.Fatalf("refused for %s (%s), want %s", refusal.Reason, refusal.Detail, c.reason)
				}
				if !bytes.Equal(refusal.Body, c.body) {
					t.Errorf("the rejection has the body %q", refusal.Body)
				}
				wantBare(t, got, s.status, s.code)
				wantNoSecrets(t, refusal, s.source.Secrets, c.body)
			})
		}
	}
}

// wantBare checks that the sender is told a code and nothing else.
func wantBare(t *testing.T, got response, status int, code hub.Code) {
	t.Helper()
	want := fmt.Sprintf(`{"title":%q,"status":%d,"code":%q}`, http.StatusText(status), status, code)
	if got.status != status || got.body != want || got.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("answered %d %s %s, want %s", got.status, got.header.Get("Content-Type"), got.body, want)
	}
}

// wantNoSecrets checks that a rejection gives away neither a secret nor the
// signature that would have been right.
func wantNoSecrets(t *testing.T, r *hub.Rejection, secrets []hub.Secret, body []byte) {
	t.Helper()
	for _, secret := range secrets {
		for _, h := range r.Headers {
			if strings.Contains(h.Value, secret.Reveal()) {
				t.Errorf("the header %s of the rejection holds a secret", h.Name)
			}
		}
		right := hexMAC(signature.SHA256, secret, body)
		if strings.Contains(r.Detail, secret.Reveal()) || strings.Contains(r.Detail, right) {
			t.Errorf("the detail gives away a secret: %s", r.Detail)
		}
	}
}

func TestEdgesOfTheWindow(t *testing.T) {
	t.Parallel()
	for _, s := range schemes() {
		if !s.timed {
			continue
		}
		for _, offset := range []time.Duration{-5*time.Minute + time.Second, 5 * time.Minute} {
			t.Run(s.name+" at "+offset.String(), func(t *testing.T) {
				t.Parallel()
				store := newStore(&s.source)
				body := bodies["JSON"]
				if got := send(t, http.MethodPost, serve(t, store)+"/in/acme", s.sign(s.source.Secrets[0], now.Add(offset), body), body); got.status != http.StatusOK {
					t.Fatalf("answered %d: %s", got.status, store.why())
				}
			})
		}
	}
}

// TestTimestampCannotBeRead covers times that are signed and make no sense.
func TestTimestampCannotBeRead(t *testing.T) {
	t.Parallel()
	body := bodies["JSON"]
	source := schemes()[2].source
	for _, stamp := range []string{"now", "-1", "99999999999999999999", "1773500966.5", " "} {
		store := newStore(&source)
		got := send(t, http.MethodPost, serve(t, store)+"/in/acme",
			headers("Stripe-Signature", "t="+stamp+",v1="+hexMAC(signature.SHA256, source.Secrets[0], []byte(stamp+"."), body)), body)
		if events, _ := store.counts(); events != 0 || got.status != http.StatusUnauthorized {
			t.Errorf("%q: %d", stamp, got.status)
		}
	}
}

func TestPublishedVectors(t *testing.T) {
	t.Parallel()
	t.Run("Standard Webhooks", func(t *testing.T) {
		t.Parallel()
		store := newStore(&hub.Source{
			ID: "src_1", Slug: "acme", Kind: hub.SourceWebhook, State: hub.SourceActive,
			Provider: "standard-webhooks", Secrets: []hub.Secret{"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
		})
		url := serve(t, store, at(time.Unix(1614265330, 0)))
		got := send(t, http.MethodPost, url+"/in/acme", headers("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp", "1614265330",
			"webhook-signature", "v1a,abcd v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="), []byte(`{"test": 2432232314}`))
		if got.status != http.StatusOK || store.last(t).DedupeKey != "msg_p5jXN8AQM9LWM0D4loKWxJek" {
			t.Fatalf("%d %s %s", got.status, got.body, store.why())
		}
	})
	t.Run("GitHub, in upper case", func(t *testing.T) {
		t.Parallel()
		store := newStore(&hub.Source{
			ID: "src_1", Slug: "acme", Kind: hub.SourceWebhook, State: hub.SourceActive,
			Provider: "github", Secrets: []hub.Secret{"It's a Secret to Everybody"},
		})
		got := send(t, http.MethodPost, serve(t, store)+"/in/acme", headers("X-GitHub-Event", "ping",
			"X-Hub-Signature-256", "sha256="+strings.ToUpper("757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")), []byte("Hello, World!"))
		if got.status != http.StatusOK || store.last(t).Type != "ping" {
			t.Fatalf("%d %s %s", got.status, got.body, store.why())
		}
	})
}

// TestSignaturesHoldForEveryByte states that what is signed right is stored byte
// for byte, and that no bit of it can change on the way.
func TestSignaturesHoldForEveryByte(t *testing.T) {
	t.Parallel()
	for _, s := range schemes() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			store := newStore(&s.source)
			url := serve(t, store) + "/in/acme"
			rapid.Check(t, func(r *rapid.T) {
				body := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(r, "body")
				secret := rapid.SampledFrom(s.source.Secrets).Draw(r, "secret")
				header := s.sign(secret, now, body)
				before, _ := store.counts()
				got := send(t, http.MethodPost, url, header, body)
				events := store.all()
				known := s.name == "standard-webhooks" && before > 0 // one ID, so one event
				if got.status != http.StatusOK || !known && (len(events) != before+1 || !bytes.Equal(events[before].Payload.Body, body)) {
					r.Fatalf("%d %s: %x", got.status, got.body, body)
				}
				if !s.body || len(body) == 0 {
					return
				}
				bit := rapid.IntRange(0, 8*len(body)-1).Draw(r, "bit")
				body[bit/8] ^= 1 << (bit % 8)
				if got := send(t, http.MethodPost, url, header, body); got.status != http.StatusUnauthorized {
					r.Fatalf("a flipped bit is answered %d", got.status)
				}
			})
		})
	}
}

func TestSeventeenSignaturesAreRefused(t *testing.T) {
	t.Parallel()
	body := bodies["JSON"]
	for i, s := range schemes()[:3] {
		if i == 1 {
			continue // GitHub's header holds one
		}
		store := newStore(&s.source)
		header := s.sign(s.source.Secrets[0], now, body)
		separator, item := " ", "v1,AAAA"
		if i == 2 {
			separator, item = ",", "v1="+hex.EncodeToString(make([]byte, 32))
		}
		right := header.Get(s.header)
		header.Set(s.header, right+strings.Repeat(separator+item, 14))
		if got := send(t, http.MethodPost, serve(t, store)+"/in/acme", header, body); got.status != http.StatusOK {
			t.Errorf("%s: sixteen at most, one right: %d %s", s.name, got.status, store.why())
		}
		header.Set(s.header, right+strings.Repeat(separator+item, 16))
		if got := send(t, http.MethodPost, serve(t, store)+"/in/acme", header, body); got.status != http.StatusUnauthorized {
			t.Errorf("%s: seventeen, one right: %d", s.name, got.status)
		}
	}
}
