package webhook

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// FuzzVendorURL states that an address which is taken for a vendor's leads nowhere
// else: the client would dial a name below the vendor's, at the usual port of https.
func FuzzVendorURL(f *testing.F) {
	for _, seed := range []string{
		"https://sns.us-east-1.amazonaws.com/a.pem", "https://sns.cn-north-1.amazonaws.com.cn/a.pem", "https://api.paypal.com/v1/notifications/certs/CERT-1",
		"https://sns.us-east-1.amazonaws.com@evil.example/a.pem", "https://api.paypal.com\\@evil.example/", "https://api.paypal.com:443/", "HTTPS://API.PAYPAL.COM/",
		"//api.paypal.com/c", "https:api.paypal.com", "https://[::1]/", "https://a.paypal.com%2f.evil.example/", "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		for _, vendor := range []struct {
			host     *regexp.Regexp
			suffixes []string
		}{{snsHost, []string{".amazonaws.com", ".amazonaws.com.cn"}}, {paypalHost, []string{".paypal.com"}}} {
			if _, ok := vendorURL(address, vendor.host); !ok {
				continue
			}
			r, err := getURL(address)(t.Context())
			if err != nil {
				t.Fatalf("%q is taken and cannot be asked for: %v", address, err)
			}
			name, known := r.URL.Hostname(), false
			for _, suffix := range vendor.suffixes {
				known = known || strings.HasSuffix(name, suffix)
			}
			if !known || r.URL.Port() != "" || r.URL.Scheme != "https" || r.URL.User != nil || r.Host != name {
				t.Fatalf("%q is taken and leads to %q", address, r.URL.Host)
			}
		}
	})
}

// FuzzSpellings states that the ways in which a URL may have been signed all lead to
// the same place, with the same parameters.
func FuzzSpellings(f *testing.F) {
	for _, seed := range [][2]string{
		{"https://hub.example", "/in/acme"}, {"https://hub.example:8443", "/in/acme?a=b:c"}, {"http://[::1]:80", "/x"}, {"http://[::1]", "?x"},
		{"https://hub.example:443", "/in/acme?bodySHA256=00"}, {"https://hub.example/base", "//x/:80"}, {"hub.example", "/"}, {"", ""},
		{"https://hub.example", "/in/acme?a=b:c&d=O'Brien&a=+%20&e&=x&&"}, {"https://hub.example", "/?%zz=1;2"}, {"https://hub.example", "/x?"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, public, target string) {
		if u, err := url.Parse(public); err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.ContainsAny(public, "#?") || !strings.HasPrefix(target, "/") || strings.Contains(target, "#") {
			return // no setting of the hub, or nothing that a vendor calls
		}
		want, err := url.Parse(public + target)
		if err != nil {
			return
		}
		for i, content := range spellings(&Request{PublicURL: public, Target: target}, nil) {
			got, err := url.Parse(string(content))
			if err != nil || got.Hostname() != want.Hostname() || got.EscapedPath() != want.EscapedPath() || i == 0 && string(content) != public+target {
				t.Fatalf("%q and %q are spelled %q: %v", public, target, content, err)
			}
			if parameters, err := url.ParseQuery(want.RawQuery); err == nil && parameters.Encode() != got.Query().Encode() {
				t.Fatalf("%q and %q are spelled %q, which has other parameters", public, target, content)
			}
		}
	})
}

// FuzzHubSpotURL states that the URL is decoded as HubSpot's page says: of these
// characters alone, and once.
func FuzzHubSpotURL(f *testing.F) {
	for _, seed := range []string{"", "https://hub.example/in/a?x=%2Fa%3ab%20c", "%%3A3A", "%253A", "%2", "%2c%2C%27", "\xff%40"} {
		f.Add(seed)
	}
	listed := regexp.MustCompile(`(?i)%(3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)`)
	f.Fuzz(func(t *testing.T, text string) {
		want := listed.ReplaceAllStringFunc(text, func(code string) string {
			decoded, err := url.PathUnescape(code)
			if err != nil {
				t.Fatal(err)
			}
			return decoded
		})
		if got := hubspotURL.Replace(text); got != want {
			t.Fatalf("%q became %q, want %q", text, got, want)
		}
	})
}

// FuzzSNSContent states that what is checked of a message of SNS is what its page
// says is signed: names and values in their order, a line each.
func FuzzSNSContent(f *testing.F) {
	f.Add("Notification", "hi\nthere", "", "", []byte(`{"Type":"Notification"}`))
	f.Add("SubscriptionConfirmation", "\u2028\"\\", "s", "https://x", []byte(`{"Type":7,"Message":{"a":[1]},"Subject":null}`))
	f.Add("UnsubscribeConfirmation", "\xff", "\x00", "t", []byte(`{"Message":"a","Message":"b"`))
	f.Fuzz(func(t *testing.T, kind, text, subject, token string, raw []byte) {
		names, known := snsSigned[kind]
		if !known {
			names = snsSigned["Notification"]
		}
		if validJSON(raw) {
			_ = snsContent(gjson.ParseBytes(raw), names)
		}
		message := map[string]string{"Type": kind, "Message": text, "MessageId": text + "1", "TopicArn": token, "Timestamp": subject, "Token": token, "SubscribeURL": text}
		if subject != "" {
			message["Subject"] = subject
		}
		document, err := json.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		var read map[string]string // with what JSON makes of bytes that are not UTF-8
		if err := json.Unmarshal(document, &read); err != nil {
			t.Fatal(err)
		}
		var want strings.Builder
		for _, name := range names {
			if value, there := read[name]; there {
				want.WriteString(name + "\n" + value + "\n")
			}
		}
		if got := snsContent(gjson.ParseBytes(document), names); string(got) != want.String() {
			t.Fatalf("%s is signed as %q, want %q", document, got, want.String())
		}
	})
}

// FuzzAdyenContents states that the members of an item are signed as they are, and
// besides at most with colons and backslashes escaped.
func FuzzAdyenContents(f *testing.F) {
	f.Add("7914073381342284", "", "TestPayment:1", "EUR", int64(1130), true, []byte(`{"amount":{"value":1e3}}`))
	f.Add(`a\b`, ":", "\x00", "\xff", int64(-1), false, []byte(`{"amount":[],"success":null,"pspReference":{}}`))
	f.Fuzz(func(t *testing.T, reference, original, merchant, currency string, value int64, success bool, raw []byte) {
		if validJSON(raw) {
			_ = adyenContents(gjson.ParseBytes(raw))
		}
		type amount struct {
			Value    int64  `json:"value"`
			Currency string `json:"currency"`
		}
		document, err := json.Marshal(map[string]any{
			"pspReference": reference, "originalReference": original, "merchantAccountCode": merchant, "merchantReference": merchant,
			"amount": amount{value, currency}, "eventCode": "AUTHORISATION", "success": success,
		})
		if err != nil {
			t.Fatal(err)
		}
		var read struct {
			PspReference, OriginalReference, MerchantAccountCode, MerchantReference, EventCode string
			Amount                                                                             struct {
				Value    json.Number
				Currency string
			}
			Success bool
		}
		if err := json.Unmarshal(document, &read); err != nil {
			t.Fatal(err)
		}
		said := "false"
		if read.Success {
			said = "true"
		}
		want := strings.Join([]string{
			read.PspReference, read.OriginalReference, read.MerchantAccountCode, read.MerchantReference, read.Amount.Value.String(), read.Amount.Currency, read.EventCode, said,
		}, ":")
		contents := adyenContents(gjson.ParseBytes(document))
		if string(contents[0]) != want || len(contents) > 2 {
			t.Fatalf("%s is signed as %q, want %q", document, contents, want)
		}
	})
}

// FuzzTwilioFields states that each field of a form is signed, in whatever order it
// comes.
func FuzzTwilioFields(f *testing.F) {
	for _, seed := range []string{"", "a=1&b=2", "b=2&a=1&a=1&a=0", "=&=x", "a=%zz", "a;b", "Body=%E2%98%83+%26", "\xff=\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		form, err := url.ParseQuery(body)
		if err != nil {
			return
		}
		got := string(twilioFields(form))
		pairs := strings.Split(body, "&")
		for i, j := 0, len(pairs)-1; i < j; i, j = i+1, j-1 {
			pairs[i], pairs[j] = pairs[j], pairs[i]
		}
		if turned, err := url.ParseQuery(strings.Join(pairs, "&")); err != nil || string(twilioFields(turned)) != got {
			t.Fatalf("%q is signed otherwise in another order: %v", body, err)
		}
		length := 0
		for name, values := range form {
			different := map[string]bool{}
			for _, value := range values {
				different[value] = true
			}
			for value := range different {
				length += len(name) + len(value)
				if !strings.Contains(got, name+value) {
					t.Fatalf("%q is signed as %q, without %q", body, got, name+value)
				}
			}
		}
		if len(got) != length {
			t.Fatalf("%q is signed as %q", body, got)
		}
	})
}

// FuzzKeyMaterial states that certificates and keys which are taken are ones that the
// vendors' schemes can be verified with, and that others are refused by a sentence.
func FuzzKeyMaterial(f *testing.F) {
	certificate, err := os.ReadFile("testdata/certificate.pem")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(certificate))
	f.Add(string(certificate) + "\n" + string(certificate[:700]))
	for _, seed := range []string{
		"", "whpk_", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----",
		"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==",
		strings.Repeat("ab", 32), "whpk_" + strings.Repeat("A", 43) + "=",
		`{"kty":"EC","crv":"P-256","kid":"k","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}`,
		`{"keys":[{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}]}`, `[[]]`, `{"keys":[]}`, `[{"kty":"EC","crv":"P-256","alg":"HS256"}]`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if list, err := certificates([]byte(text)); err == nil {
			if _, ok := list[0].PublicKey.(*rsa.PublicKey); !ok || len(list) > maxCertificates {
				t.Fatalf("%d certificates are taken from %q", len(list), text)
			}
		}
		if key, err := ed25519Hex(text); err == nil && len(key) != 32 {
			t.Fatalf("%q is taken for a key of %d bytes", text, len(key))
		}
		if key, err := ed25519Standard(text); err == nil && len(key) != 32 {
			t.Fatalf("%q is taken for a key of %d bytes", text, len(key))
		}
		if key, err := ecdsaKey(text); err == nil && key.Curve != elliptic.P256() {
			t.Fatalf("%q is taken for a key on %s", text, key.Curve.Params().Name)
		}
		keys, err := webKeys(text)
		if err == nil && (len(keys) == 0 || len(keys) > hub.MaxSecrets) {
			t.Fatalf("%d keys are taken from %q", len(keys), text)
		}
		for _, one := range keys {
			if _, err := one.key.ECDH(); err != nil {
				t.Fatalf("%q is taken for a key: %v", text, err)
			}
		}
		src := &hub.Source{Kind: hub.SourceWebhook, Provider: "plaid", ProviderConfig: map[string]any{"jwk": text}}
		if saved := len(Presets().CheckSource(src)) == 0; saved != (err == nil) {
			t.Fatalf("%q can be used: %v, and can be saved: %v", text, err, saved)
		}
	})
}

// FuzzRedactQuery states that no parameter which the hub would read holds a secret
// of the source once its query is stored.
func FuzzRedactQuery(f *testing.F) {
	for _, seed := range []string{"", "code=s3cr3t+%2F", "a=b&code=s3cr3t%20/&code=s3cr3t /", "code=%73%33cr3t+/", "s3cr3t+/", "a=%zz&key=s3cr3t+%2f", "a=1;code=s3cr3t+/", strings.Repeat("a&", 70) + "code=s3cr3t+/"} {
		f.Add(seed)
	}
	const secret = "s3cr3t /"
	f.Fuzz(func(t *testing.T, query string) {
		stored := RedactQuery(&hub.Source{Secrets: []hub.Secret{"other", secret}}, query)
		for name, values := range queryOf(&Request{RawQuery: stored}) {
			for _, value := range values {
				if value == secret {
					t.Fatalf("%q is stored as %q, with the secret in %q", query, stored, name)
				}
			}
		}
		before, after := queryOf(&Request{RawQuery: query}), queryOf(&Request{RawQuery: stored})
		for name, values := range before {
			if len(after[name]) != len(values) {
				t.Fatalf("%q is stored as %q, which has other parameters", query, stored)
			}
		}
	})
}

// FuzzForms states that reading a form or a document does not change the body, and
// that what is found in it is JSON that all the parsers here can read.
func FuzzForms(f *testing.F) {
	for _, seed := range [][2]string{
		{"application/x-www-form-urlencoded", "payload=%7B%22a%22%3A1%7D"}, {"application/x-www-form-urlencoded; charset=x", "payload=[]&payload={"},
		{"Application/X-WWW-Form-URLEncoded ;", "payload"}, {"application/json", " {}"}, {"", "\xef\xbb\xbf{}"}, {"application/x-www-form-urlencoded", "%"},
	} {
		f.Add(seed[0], []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		before := bytes.Clone(body)
		for _, field := range []string{"", "payload"} {
			r := &Request{Header: http.Header{"Content-Type": {contentType}}, Body: body}
			document := r.json(field)
			if document != nil && !json.Valid(document) {
				t.Fatalf("%q holds %q, which is no JSON", body, document)
			}
			again := r.json(field)
			if !bytes.Equal(document, again) || !bytes.Equal(before, body) {
				t.Fatalf("%q is read as %q and then as %q", body, document, again)
			}
			_, _ = r.form(), uniqueNames(gjson.ParseBytes(document))
		}
	})
}
