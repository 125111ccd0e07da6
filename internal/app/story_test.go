package app_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// onBoth runs a story on SQLite and on PostgreSQL.
func onBoth(t *testing.T, story func(t *testing.T, o config.Server)) {
	t.Helper()
	testkit.EachDatabase(t, func(t *testing.T, url string) {
		o := options(t)
		o.DatabaseURL = url
		story(t, o)
	})
}

func TestAnEventReachesWhoeverSubscribed(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		owner := listen(t, nil)
		source := c.source("shop")
		endpoint, secret := c.endpoint(owner.URL+"/hooks", `headers: [{name: "X-Tenant", value: "seven"}]`)
		c.subscribe(endpoint, fmt.Sprintf(`eventTypes: ["order.*"] sourceIds: [%q] filter: "body.total > 10"`, source))

		body := []byte(`{"type":"order.created","total":42, "spaced" : "exactly so"}`)
		sent := c.post("shop", http.Header{"Webhook-Id": {"first"}, "Content-Type": {"application/json"}}, body)
		small := c.post("shop", http.Header{"Webhook-Id": {"second"}}, []byte(`{"type":"order.created","total":1}`))
		other := c.post("shop", http.Header{"Webhook-Id": {"third"}}, []byte(`{"type":"user.created","total":99}`))

		testkit.Eventually(t, "the delivery is done", func() bool {
			d := c.deliveries(sent.ID)
			return len(d) == 1 && d[0].Status == "DELIVERED"
		})
		d := c.deliveries(sent.ID)[0]
		if len(d.Attempts.Nodes) != 1 || d.Attempts.Nodes[0].Outcome != "SUCCEEDED" || *d.Attempts.Nodes[0].StatusCode != http.StatusNoContent ||
			*d.Attempts.Nodes[0].RequestBody != string(body) {
			t.Errorf("the attempt on record: %+v", d.Attempts.Nodes)
		}
		if got := append(c.deliveries(small.ID), c.deliveries(other.ID)...); len(got) != 0 {
			t.Errorf("what nobody subscribed to was delivered: %+v", got)
		}
		arrived := owner.got()
		if len(arrived) != 1 || !bytes.Equal(arrived[0].Body, body) || arrived[0].Header.Get("Content-Type") != "application/json" ||
			arrived[0].Header.Get("X-Tenant") != "seven" {
			t.Fatalf("arrived: %+v", arrived)
		}
		verify(t, arrived[0], secret)
		if arrived[0].Header.Get("Webhook-Id") != d.ID {
			t.Errorf("webhook-id is %s, the delivery is %s", arrived[0].Header.Get("Webhook-Id"), d.ID)
		}

		again := c.post("shop", http.Header{"Webhook-Id": {"first"}}, body)
		if again.ID != sent.ID || !again.Duplicate {
			t.Errorf("the duplicate was answered %+v", again)
		}
		var counted struct {
			Event struct {
				DuplicateCount int
				DedupeKey      string
			}
		}
		c.do(&counted, `query ($id: ID!) { event(id: $id) { duplicateCount dedupeKey } }`, map[string]any{"id": sent.ID})
		if counted.Event.DuplicateCount != 1 || counted.Event.DedupeKey != "first" {
			t.Errorf("counted: %+v", counted)
		}
	})
}

// verify checks a signature as the Standard Webhooks specification 1.0 says, with
// nothing of the hub's own.
func verify(t *testing.T, a arrival, secret string) {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || !strings.HasPrefix(secret, "whsec_") {
		t.Fatalf("the secret %q is not of the whsec_ form: %v", secret, err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(a.Header.Get("Webhook-Id") + "." + a.Header.Get("Webhook-Timestamp") + "."))
	mac.Write(a.Body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for _, one := range strings.Fields(a.Header.Get("Webhook-Signature")) {
		if one == want {
			return
		}
	}
	t.Errorf("the signature is %q, not %q", a.Header.Get("Webhook-Signature"), want)
}

func TestAnyBodyIsKeptByteForByte(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		owner := listen(t, nil)
		c.source("any")
		endpoint, _ := c.endpoint(owner.URL, "")
		c.subscribe(endpoint, "")
		for name, one := range map[string]struct {
			contentType string
			body        []byte
		}{
			"JSON":          {"application/json", []byte("{\"a\" : 1.0000000000000000001}\n")},
			"a form":        {"application/x-www-form-urlencoded", []byte("a=b&c=%20d&a=e")},
			"XML":           {"application/xml", []byte("<a>\r\n<b/></a>")},
			"binary":        {"application/octet-stream", []byte{0, 1, 2, 0xff, 0xfe, 0, '\'', '"', ';'}},
			"empty":         {"", nil},
			"invalid UTF-8": {"text/plain", []byte{0xc3, 0x28, 0xa0}},
		} {
			header := http.Header{}
			if one.contentType != "" {
				header.Set("Content-Type", one.contentType)
			}
			sent := c.post("any", header, one.body)
			testkit.Eventually(t, name+" is delivered", func() bool {
				d := c.deliveries(sent.ID)
				return len(d) == 1 && d[0].Status == "DELIVERED"
			})
			var got struct {
				Event struct {
					RawBody, ContentType, Type string
				}
			}
			c.do(&got, `query ($id: ID!) { event(id: $id) { rawBody contentType type } }`, map[string]any{"id": sent.ID})
			raw, err := base64.StdEncoding.DecodeString(got.Event.RawBody)
			if err != nil || !bytes.Equal(raw, one.body) || got.Event.Type != "any" {
				t.Errorf("%s: kept as %q of type %q, %v", name, raw, got.Event.Type, err)
			}
			arrived := owner.got()
			if last := arrived[len(arrived)-1]; !bytes.Equal(last.Body, one.body) {
				t.Errorf("%s: delivered as %q", name, last.Body)
			}
		}
	})
}

func TestAHundredDuplicatesAtOnceAreOneEvent(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		c.source("many")
		var mu sync.Mutex
		answers := make(map[string]int)
		first := 0
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				r := c.post("many", http.Header{"Webhook-Id": {"the same"}}, []byte(`{"type":"x"}`))
				mu.Lock()
				defer mu.Unlock()
				answers[r.ID]++
				if !r.Duplicate {
					first++
				}
			})
		}
		wg.Wait()
		if len(answers) != 1 || first != 1 {
			t.Errorf("%d different IDs, %d of them the first", len(answers), first)
		}
	})
}

func TestProvidersAreVerifiedAsTheySign(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	for _, provider := range []string{"github", "stripe", "standard-webhooks"} {
		secret, older := "secret-of-"+provider, "an older secret that is rotated out"
		if provider == "standard-webhooks" {
			older = "whsec_" + base64.StdEncoding.EncodeToString([]byte("another secret of 32 bytes, gone"))
			secret = "whsec_" + base64.StdEncoding.EncodeToString([]byte("a secret of thirty-two bytes ..."))
		}
		var made struct {
			CreateSource struct {
				Source struct {
					ID, URL  string
					Verified bool
				}
			}
		}
		c.do(&made, `mutation ($p: String!, $s: [String!]) { createSource(input: {name: $p, provider: $p, secrets: $s}) { source { id url verified } userErrors { field message } } }`,
			map[string]any{"p": provider, "s": []string{older, secret}})
		if !made.CreateSource.Source.Verified || made.CreateSource.Source.URL != c.url+"/in/"+provider {
			t.Fatalf("made: %+v", made)
		}
	}
	sum := func(key, text string) []byte {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(text))
		return mac.Sum(nil)
	}
	now := fmt.Sprint(time.Now().Unix())
	push := `{"action":"opened","number":1}`
	charge := `{"id":"evt_1","type":"charge.succeeded","created":1700000000}`
	invoice := `{"type":"invoice.paid"}`
	for _, one := range []struct {
		slug, body, eventType, dedupeKey, occurredAt string
		header                                       http.Header
	}{
		{"github", push, "pull_request.opened", "72d3162e", "", http.Header{
			"X-Hub-Signature-256": {"sha256=" + hex.EncodeToString(sum("secret-of-github", push))},
			"X-Github-Event":      {"pull_request"}, "X-Github-Delivery": {"72d3162e"},
		}},
		{"stripe", charge, "charge.succeeded", "evt_1", "2023-11-14T22:13:20Z", http.Header{
			"Stripe-Signature": {"t=" + now + ",v1=" + hex.EncodeToString(sum("secret-of-stripe", now+"."+charge))},
		}},
		{"standard-webhooks", invoice, "invoice.paid", "msg_1", "", http.Header{
			"Webhook-Id": {"msg_1"}, "Webhook-Timestamp": {now},
			"Webhook-Signature": {"v1," + base64.StdEncoding.EncodeToString(sum("a secret of thirty-two bytes ...", "msg_1."+now+"."+invoice))},
		}},
	} {
		sent := c.post(one.slug, one.header, []byte(one.body))
		var got struct {
			Event struct {
				Type, DedupeKey string
				OccurredAt      *string
			}
		}
		c.do(&got, `query ($id: ID!) { event(id: $id) { type dedupeKey occurredAt } }`, map[string]any{"id": sent.ID})
		if got.Event.Type != one.eventType || got.Event.DedupeKey != one.dedupeKey ||
			(one.occurredAt != "" && (got.Event.OccurredAt == nil || *got.Event.OccurredAt != one.occurredAt)) {
			t.Errorf("%s: %+v", one.slug, got.Event)
		}

		status, header, raw := c.exchange(http.MethodPost, "/in/"+one.slug, one.header, []byte(one.body+" "))
		if status != http.StatusUnauthorized || header.Get("Content-Type") != "application/problem+json" || !contains(string(raw), `"code":"SIGNATURE_INVALID"`) {
			t.Errorf("%s: a changed body was answered %d %s", one.slug, status, raw)
		}
		var refused struct {
			Source struct {
				Rejections struct {
					Nodes []struct{ Reason, Detail, Method, BodyText string }
				}
			}
		}
		c.do(&refused, `query ($slug: String!) { source(slug: $slug) { rejections { nodes { reason detail method bodyText } } } }`, map[string]any{"slug": one.slug})
		r := refused.Source.Rejections.Nodes
		if len(r) != 1 || r[0].Reason != "SIGNATURE_INVALID" || r[0].Detail == "" || r[0].BodyText != one.body+" " {
			t.Errorf("%s: the rejection on record: %+v", one.slug, r)
		}
	}
}

func TestPublishedEventsTakeTheSamePath(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		owner := listen(t, nil)
		endpoint, _ := c.endpoint(owner.URL, "")
		c.subscribe(endpoint, `eventTypes: ["order.paid"]`)
		var got struct {
			PublishEvents []struct {
				Event      *struct{ ID, Sequence string }
				Duplicate  bool
				UserErrors []struct {
					Code  string
					Field []string
				}
			}
		}
		a := c.ask(`mutation { publishEvents(input: [
			{type: "order.paid", payload: {total: 7}, dedupeKey: "a"},
			{type: "", payload: {}},
			{type: "order.paid", payload: {total: 7}, dedupeKey: "a"},
			{type: "order.shipped", payload: [1, 2]}]) { event { id sequence } duplicate userErrors { code field } } }`, nil)
		if err := json.Unmarshal(a.Data, &got); err != nil || len(a.Errors) > 0 {
			t.Fatalf("%s %+v %v", a.Data, a.Errors, err)
		}
		p := got.PublishEvents
		if len(p) != 4 || p[0].Event == nil || p[2].Event == nil || p[3].Event == nil || p[0].Event.ID != p[2].Event.ID || !p[2].Duplicate || p[0].Duplicate ||
			p[3].Event.Sequence <= p[0].Event.Sequence {
			t.Fatalf("answered: %s", a.Data)
		}
		if p[1].Event != nil || len(p[1].UserErrors) != 1 || fmt.Sprint(p[1].UserErrors[0].Field) != "[input 1 type]" {
			t.Errorf("the empty type was answered %+v", p[1])
		}
		testkit.Eventually(t, "the delivery is done", func() bool { return len(owner.got()) == 1 })
		if body := string(owner.got()[0].Body); body != `{"total":7}` {
			t.Errorf("delivered: %s", body)
		}
	})
}

// A password is guessed in no time by whoever has something to compare guesses with.
func TestWhatTellsSecretsApartCannotBeGuessedFrom(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	const weak = "letmein1"
	var made struct{ CreateSource, CreateEndpoint any }
	c.do(&made, `mutation ($key: String!) {
		createSource(input: {name: "Weak", slug: "weak", provider: "github", secrets: [$key]}) { source { id } userErrors { field message } }
		createEndpoint(input: {name: "Owner", url: "https://owner.example/"}) { endpoint { id } userErrors { field message } } }`,
		map[string]any{"key": weak})
	status, raw := c.send(http.MethodPost, "/in/weak", http.Header{"X-Hub-Signature-256": {"sha256=" + strings.Repeat("0", 64)}}, []byte(`{}`))
	if status != http.StatusUnauthorized {
		t.Fatalf("answered %d %s", status, raw)
	}
	var seen struct {
		Source struct {
			SecretFingerprints []string
			Rejections         struct{ Nodes []struct{ Detail string } }
		}
		Endpoints struct {
			Nodes []struct {
				SigningSecrets []struct{ Fingerprint string }
			}
		}
	}
	c.do(&seen, `{ source(slug: "weak") { secretFingerprints rejections { nodes { detail } } } endpoints { nodes { signingSecrets { fingerprint } } } }`, nil)
	source, secrets := seen.Source, seen.Endpoints.Nodes[0].SigningSecrets
	if len(source.SecretFingerprints) != 1 || len(source.Rejections.Nodes) != 1 || len(secrets) != 1 || len(secrets[0].Fingerprint) != 12 {
		t.Fatalf("shown: %+v", seen)
	}
	fingerprint := source.SecretFingerprints[0]
	if !strings.Contains(source.Rejections.Nodes[0].Detail, "(fingerprint "+fingerprint+")") {
		t.Errorf("the source shows %s, its rejection says: %s", fingerprint, source.Rejections.Nodes[0].Detail)
	}
	if sum := sha256.Sum256([]byte(weak)); len(fingerprint) != 12 || strings.HasPrefix(hex.EncodeToString(sum[:]), fingerprint) {
		t.Errorf("%s is no keyed fingerprint", fingerprint)
	}
}
