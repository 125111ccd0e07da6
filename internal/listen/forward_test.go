package listen

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestForwardsAreRead(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Forward{
		"http://localhost:3000":                     {"", "http://localhost:3000"},
		"https://localhost:3000/a?b=c":              {"", "https://localhost:3000/a?b=c"},
		"/stripe=http://localhost:3000/hooks":       {"stripe", "http://localhost:3000/hooks"},
		"stripe=http://localhost:3000/hooks?x=y=z":  {"stripe", "http://localhost:3000/hooks?x=y=z"},
		"/in/stripe=http://localhost:3000":          {"stripe", "http://localhost:3000"},
		"/in/stripe/=http://[::1]:3000/":            {"stripe", "http://[::1]:3000/"},
		"http://localhost:3000/?redirect=http://x/": {"", "http://localhost:3000/?redirect=http://x/"},
	} {
		if got, err := ParseForward(text); err != nil || got != want {
			t.Errorf("%s: %+v %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"":                          "has no URL",
		"/stripe":                   "has no URL",
		"/stripe=":                  "has no URL",
		"=http://localhost":         "names no source",
		"/=http://localhost":        "names no source",
		"/stripe=localhost:3000":    "has no URL",
		"/stripe=ftp://localhost":   "has no URL",
		"/stripe=http:///hooks":     "has no URL",
		"/stripe=http://local host": "has no URL",
	} {
		if got, err := ParseForward(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v %v", text, got, err)
		}
	}
}

func TestAForwardIsSentAsItCame(t *testing.T) {
	t.Parallel()
	var got *http.Request
	var body string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		got, body = r, string(raw)
		http.Redirect(w, r, "http://127.0.0.1:1/elsewhere", http.StatusFound)
	}))
	t.Cleanup(server.Close)
	var out strings.Builder
	l := newListener(Options{Timeout: 30 * time.Second, Secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", Out: &out})
	t.Cleanup(l.local.CloseIdleConnections)
	p := &parcel{id: "evt_1", source: "stripe", eventType: "order.created", contentType: "text/plain", body: []byte("as it is"), headers: []header{
		{"X-Custom", "a"}, {"x-custom", "b"}, {"Authorization", "[redacted]"}, {"Host", "hub.example.com"}, {"Content-Length", "999"},
		{"Content-Encoding", "gzip"}, {"Content-Type", "application/json"}, {"Webhook-Id", "theirs"}, {"Webhook-Signature", "v1,theirs"}, {"Connection", "close"},
	}}
	status, _, err := l.send(t.Context(), server.URL+"/hooks?a=b", p)
	if err != nil || status != http.StatusFound {
		t.Fatalf("%d %v", status, err) // a redirect is an answer, and not followed
	}
	if got.Method != http.MethodPost || got.URL.RequestURI() != "/hooks?a=b" || body != "as it is" || got.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("sent %s %s %q %v", got.Method, got.URL, body, got.Header)
	}
	if custom := got.Header["X-Custom"]; strings.Join(custom, " ") != "a b" || got.Header.Get("Authorization") != "" || got.Header.Get("Content-Encoding") != "" {
		t.Errorf("with %v", got.Header)
	}
	if got.Host == "hub.example.com" || got.Header.Get("Webhook-Id") != "evt_1" || len(got.Header["Webhook-Signature"]) != 1 {
		t.Errorf("with %v for %s", got.Header, got.Host)
	}
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(l.options.Secret.Reveal(), "whsec_"))
	mac := hmac.New(sha256.New, key)
	_, _ = io.WriteString(mac, "evt_1."+got.Header.Get("Webhook-Timestamp")+".as it is")
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); got.Header.Get("Webhook-Signature") != want {
		t.Errorf("it is signed %s, not %s", got.Header.Get("Webhook-Signature"), want)
	}
	l.say(p, "302", 12345*time.Microsecond)
	if line := out.String(); !strings.Contains(line, "stripe ") || !strings.Contains(line, "order.created ") || !strings.Contains(line, "evt_1  302  12ms\n") {
		t.Errorf("it prints %q", line)
	}
}

func TestAForwardWithoutAnAnswerSaysWhy(t *testing.T) {
	t.Parallel()
	stuck := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	t.Cleanup(stuck.Close)
	l := newListener(Options{Secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", Out: io.Discard})
	t.Cleanup(l.local.CloseIdleConnections)
	for _, c := range []struct {
		url, want string
		within    time.Duration
	}{{stuck.URL, "deadline", 50 * time.Millisecond}, {"http://127.0.0.1:1/", "refused", 30 * time.Second}} {
		l.options.Timeout = c.within
		status, took, err := l.send(t.Context(), c.url, &parcel{id: "evt_1"})
		if err == nil || status != 0 || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "http://") || took > 10*time.Second {
			t.Errorf("%s: %d %s %v", c.url, status, took, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := l.send(ctx, stuck.URL, &parcel{}); err == nil {
		t.Error("it was sent after the end")
	}
}
