package app_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// vendorSource makes a source of a provider and returns its slug.
func (c *client) vendorSource(provider string, config map[string]any, secrets ...string) string {
	c.t.Helper()
	var made struct {
		CreateSource struct{ Source struct{ Slug string } }
	}
	c.do(&made, `mutation ($input: CreateSourceInput!) { createSource(input: $input) { source { slug } userErrors { field message } } }`,
		map[string]any{"input": map[string]any{"name": provider, "provider": provider, "providerConfig": config, "secrets": secrets}})
	return made.CreateSource.Source.Slug
}

// rejections lists the reasons and details of what a source refused, newest first.
func (c *client) rejections(slug string) []string {
	c.t.Helper()
	var got struct {
		Source struct {
			Rejections struct {
				Nodes []struct{ Reason, Detail string }
			}
		}
	}
	c.do(&got, `query ($slug: String!) { source(slug: $slug) { rejections(first: 20) { nodes { reason detail } } } }`, map[string]any{"slug": slug})
	var list []string
	for _, one := range got.Source.Rejections.Nodes {
		list = append(list, one.Reason+": "+one.Detail)
	}
	return list
}

// events counts the hub's events.
func (c *client) events() int {
	c.t.Helper()
	var got struct {
		Events struct{ Nodes []struct{ ID string } }
	}
	c.do(&got, `{ events(first: 100) { nodes { id } } }`, nil)
	return len(got.Events.Nodes)
}

func hexMAC(key, content string) string {
	mac := hmac.New(sha256.New, []byte(key))
	_, _ = mac.Write([]byte(content))
	return hex.EncodeToString(mac.Sum(nil))
}

func base64MAC(key, content string) string {
	mac := hmac.New(sha256.New, []byte(key))
	_, _ = mac.Write([]byte(content))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// handshake is a vendor's question to a source, and the answer it waits for.
type handshake struct {
	method, query, body string
	header              http.Header
	status              int
	want                string            // the body; what is JSON is compared as JSON
	headers             map[string]string // of the answer
	refused             bool              // and kept among the rejections
	noted               string            // a rejection is kept although the vendor gets what it wants
}

// TestHandshakesThroughTheHub asks sources of a running hub what vendors ask before
// their first event, and with it what somebody else would ask. No event comes of it.
func TestHandshakesThroughTheHub(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	const secret = "the-secret-of-this-test"
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	slack := func(key, body string) http.Header {
		return http.Header{"X-Slack-Request-Timestamp": {stamp}, "X-Slack-Signature": {"v0=" + hexMAC(key, "v0:"+stamp+":"+body)}}
	}
	zoom := func(key, body string) http.Header {
		return http.Header{"X-Zm-Request-Timestamp": {stamp}, "X-Zm-Signature": {"v0=" + hexMAC(key, "v0:"+stamp+":"+body)}}
	}
	const (
		slackBody = `{"token":"Jhj5dZrVaK7ZwHHjRyZWjbDl","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}`
		zoomBody  = `{"payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1654503849680,"event":"endpoint.url_validation"}`
		ping      = `{"id":"1","application_id":"2","type":1,"token":"t","version":1}`
		intent    = `{"events":[],"lastEventSequence":0,"firstEventSequence":0,"entropy":"S0m3r4Nd0mt3xt"}`
		console   = `{"destination":"U1","events":[]}`
		grid      = `[{"id":"2d1781af","topic":"/subscriptions/1","subject":"","data":{"validationCode":"512d38b6-c7b8-40c8-89fe-f46f9e9622b6","validationUrl":"https://rp-eastus2.eventgrid.azure.net:553/x"},"eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","eventTime":"2026-03-14T15:09:26Z","metadataVersion":"1","dataVersion":"1"}]`
		notion    = `{"verification_token":"secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl"}`
	)
	discord := func(body string) http.Header {
		return http.Header{"X-Signature-Timestamp": {stamp}, "X-Signature-Ed25519": {hex.EncodeToString(ed25519.Sign(private, []byte(stamp+body)))}}
	}
	for _, v := range []struct {
		provider string
		config   map[string]any
		secrets  []string
		asks     []handshake
	}{
		{"slack", nil, []string{secret}, []handshake{
			{method: "POST", body: slackBody, header: slack(secret, slackBody), status: 200, want: "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P", headers: map[string]string{"X-Content-Type-Options": "nosniff"}},
			{method: "POST", body: slackBody, header: slack("another", slackBody), status: 401, refused: true},
			{method: "POST", body: slackBody, status: 401, refused: true},
		}},
		{"zoom", nil, []string{secret}, []handshake{
			{method: "POST", body: zoomBody, header: zoom(secret, zoomBody), status: 200, want: `{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"` + hexMAC(secret, "qgg8vlvZRS6UYooatFL8Aw") + `"}`, headers: map[string]string{"Content-Type": "application/json"}},
			{method: "POST", body: zoomBody, header: zoom("another", zoomBody), status: 401, refused: true},
		}},
		{"discord", map[string]any{"publicKey": hex.EncodeToString(public)}, nil, []handshake{
			{method: "POST", body: ping, header: discord(ping), status: 200, want: `{"type":1}`, headers: map[string]string{"Content-Type": "application/json"}},
			{method: "POST", body: ping, header: discord(ping + " "), status: 401, refused: true},
			{method: "POST", body: `{"version":1,"type":0}`, header: discord(`{"version":1,"type":0}`), status: 204},
		}},
		{"meta", map[string]any{"verifyToken": "meatyhamhock"}, []string{secret}, []handshake{
			{method: "GET", query: "?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=meatyhamhock", status: 200, want: "1158201444", headers: map[string]string{"Content-Type": "text/plain; charset=utf-8"}},
			{method: "GET", query: "?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=other", status: 401, refused: true},
			{method: "GET", query: "?hub.mode=subscribe&hub.challenge=1158201444", status: 401, refused: true},
		}},
		{"dropbox", nil, []string{secret}, []handshake{
			{method: "GET", query: "?challenge=aBc-123_%C3%A9", status: 200, want: "aBc-123_é", headers: map[string]string{"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}},
			{method: "GET", status: 405, refused: true},
		}},
		{"trello", nil, []string{secret}, []handshake{
			{method: "HEAD", status: 200},
			{method: "POST", body: "{}", status: 401, refused: true},
		}},
		{"okta", map[string]any{"authHeader": "X-Hook", "authSecret": secret}, nil, []handshake{
			{method: "GET", header: http.Header{"X-Okta-Verification-Challenge": {"wgnh2"}}, status: 200, want: `{"verification":"wgnh2"}`, headers: map[string]string{"Content-Type": "application/json"}},
			{method: "GET", status: 405, refused: true},
		}},
		{"cloudevents", map[string]any{"allowedOrigins": "eventemitter.example.com"}, []string{secret}, []handshake{
			{method: "OPTIONS", header: http.Header{"Webhook-Request-Origin": {"eventemitter.example.com"}, "Webhook-Request-Rate": {"120"}}, status: 200,
				headers: map[string]string{"Webhook-Allowed-Origin": "eventemitter.example.com", "Webhook-Allowed-Rate": "*", "Allow": "POST"}},
			{method: "OPTIONS", header: http.Header{"Webhook-Request-Origin": {"evil.example.com"}}, status: 401, refused: true},
		}},
		{"azure-eventgrid", nil, []string{secret}, []handshake{
			{method: "POST", query: "?code=" + secret, body: grid, header: http.Header{"Aeg-Event-Type": {"SubscriptionValidation"}}, status: 200, want: `{"validationResponse":"512d38b6-c7b8-40c8-89fe-f46f9e9622b6"}`},
			{method: "OPTIONS", header: http.Header{"Webhook-Request-Origin": {"eventgrid.azure.net"}}, status: 200, headers: map[string]string{"Webhook-Allowed-Origin": "eventgrid.azure.net"}},
			{method: "OPTIONS", header: http.Header{"Webhook-Request-Origin": {"evil.example.com"}}, status: 401, refused: true},
		}},
		{"xero", nil, []string{secret}, []handshake{
			{method: "POST", body: intent, header: http.Header{"X-Xero-Signature": {base64MAC(secret, intent)}}, status: 200},
			{method: "POST", body: intent, header: http.Header{"X-Xero-Signature": {base64MAC("another", intent)}}, status: 401, refused: true},
		}},
		{"line", nil, []string{secret}, []handshake{
			{method: "POST", body: console, header: http.Header{"X-Line-Signature": {base64MAC(secret, console)}}, status: 200},
			{method: "POST", body: console, header: http.Header{"X-Line-Signature": {base64MAC("another", console)}}, status: 401, refused: true},
		}},
		{"notion", nil, nil, []handshake{
			{method: "POST", body: notion, status: 200, noted: "verification_token"},
			{method: "POST", body: `{"type":"page.created"}`, status: 401, refused: true},
		}},
	} {
		t.Run(v.provider, func(t *testing.T) {
			slug := c.vendorSource(v.provider, v.config, v.secrets...)
			kept := 0
			for _, ask := range v.asks {
				status, header, body := c.exchange(ask.method, "/in/"+slug+ask.query, ask.header, []byte(ask.body))
				if status != ask.status || !ask.refused && !sameBody(body, ask.want) {
					t.Errorf("%s %s was answered %d %q, want %d %q; %s", ask.method, ask.query, status, body, ask.status, ask.want, c.rejections(slug))
				}
				for name, want := range ask.headers {
					if header.Get(name) != want {
						t.Errorf("%s %s was answered with %s %q, want %q", ask.method, ask.query, name, header.Get(name), want)
					}
				}
				if header.Get("Set-Cookie") != "" { // Xero takes none
					t.Error("the answer sets a cookie")
				}
				if ask.refused || ask.noted != "" {
					kept++
				}
				rejections := c.rejections(slug)
				if len(rejections) != kept || ask.noted != "" && !strings.Contains(rejections[0], ask.noted) {
					t.Errorf("%s %s: kept %q", ask.method, ask.query, rejections)
				}
			}
		})
	}
	if n := c.events(); n > 0 {
		t.Errorf("handshakes have made %d events", n)
	}
}

// sameBody compares bodies, and as JSON where what is wanted is JSON.
func sameBody(got []byte, want string) bool {
	if !strings.HasPrefix(want, "{") {
		return string(got) == want
	}
	var a, b map[string]any
	return json.Unmarshal(got, &a) == nil && json.Unmarshal([]byte(want), &b) == nil && fmt.Sprint(a) == fmt.Sprint(b)
}

// TestNotionIsSetUpThroughTheHub walks the way of an operator: the token that Notion
// sends first is read from the rejections and saved, and events are accepted.
func TestNotionIsSetUpThroughTheHub(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	slug := c.vendorSource("notion", nil)
	if status, body := c.send(http.MethodPost, "/in/"+slug, nil, []byte(`{"verification_token":"secret_of_notion"}`)); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	var got struct {
		Source struct {
			ID         string
			Rejections struct{ Nodes []struct{ BodyText string } }
		}
	}
	c.do(&got, `query ($slug: String!) { source(slug: $slug) { id rejections(first: 1) { nodes { bodyText } } } }`, map[string]any{"slug": slug})
	var first struct {
		Token string `json:"verification_token"`
	}
	if err := json.Unmarshal([]byte(got.Source.Rejections.Nodes[0].BodyText), &first); err != nil {
		t.Fatal(err)
	}
	c.do(new(any), `mutation ($id: ID!, $secret: String!) { updateSource(input: {id: $id, secrets: [$secret]}) { userErrors { message } } }`,
		map[string]any{"id": got.Source.ID, "secret": first.Token})
	const body = `{"id":"n1","type":"page.created","entity":{"id":"p1"}}`
	c.post(slug, http.Header{"X-Notion-Signature": {"sha256=" + hexMAC("secret_of_notion", body)}}, []byte(body))
	if n := c.events(); n != 1 {
		t.Errorf("%d events", n)
	}
}

// TestSubscriptionsOfSNSThroughTheHub sends a subscription's confirmation that is
// signed right, in a region that does not exist: it is no event, and the operator
// is told what to do by hand. One of another topic is refused.
func TestSubscriptionsOfSNSThroughTheHub(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	const topic = "arn:aws:sns:test-none-1:123456789012:orders"
	certificate, text := signingCertificate(t)
	block, _ := pem.Decode([]byte(text))
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key, _ := parsed.(*rsa.PrivateKey)
	slug := c.vendorSource("aws-sns", map[string]any{"topicArn": topic, "signingCertPem": certificate})
	message := func(arn string) []byte {
		m := map[string]string{
			"Type": "SubscriptionConfirmation", "MessageId": "165545c9", "Token": "2336412f37", "TopicArn": arn,
			"Message": "You have chosen to subscribe.", "Timestamp": time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), "SignatureVersion": "2",
			"SubscribeURL":   "https://sns.test-none-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=" + arn + "&Token=2336412f37",
			"SigningCertURL": "https://sns.test-none-1.amazonaws.com/SimpleNotificationService-1.pem",
		}
		var b bytes.Buffer
		for _, name := range []string{"Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"} {
			b.WriteString(name + "\n" + m[name] + "\n")
		}
		digest := sha256.Sum256(b.Bytes())
		signed, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		m["Signature"] = base64.StdEncoding.EncodeToString(signed)
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	header := http.Header{"X-Amz-Sns-Message-Type": {"SubscriptionConfirmation"}, "Content-Type": {"text/plain; charset=UTF-8"}}
	if status, body := c.send(http.MethodPost, "/in/"+slug, header, message(topic)); status != http.StatusOK {
		t.Fatalf("%d %s; %s", status, body, c.rejections(slug))
	}
	if kept := c.rejections(slug); len(kept) != 1 || !strings.Contains(kept[0], "SubscribeURL") {
		t.Errorf("kept %q", kept)
	}
	if status, body := c.send(http.MethodPost, "/in/"+slug, header, message(topic+"-other")); status != http.StatusUnauthorized {
		t.Errorf("another topic's was answered %d %s", status, body)
	}
	if n := c.events(); n != 0 {
		t.Errorf("%d events", n)
	}
}
