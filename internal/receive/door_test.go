package receive_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/receive"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

func TestAcknowledgement(t *testing.T) {
	t.Parallel()
	t.Run("tells the event's ID, and of a duplicate the first one's", func(t *testing.T) {
		t.Parallel()
		store := newStore(open())
		url := serve(t, store) + "/in/open"
		header := headers("Webhook-Id", "a")
		first := send(t, http.MethodPost, url, header, []byte(`{"type":"a.b"}`))
		event := store.last(t)
		if want := fmt.Sprintf(`{"id":%q,"duplicate":false}`, event.ID); first.status != 200 || first.body != want || first.header.Get("Content-Type") != "application/json" {
			t.Fatalf("%d %s, want %s", first.status, first.body, want)
		}
		if hub.IDPrefix(event.ID) != hub.EventPrefix || !event.ReceivedAt.Equal(now) || event.SourceID != "src_open" {
			t.Fatalf("stored %+v", event)
		}
		again := send(t, http.MethodPost, url, header, []byte(`{"type":"a.b"}`))
		if want := fmt.Sprintf(`{"id":%q,"duplicate":true}`, event.ID); again.status != 200 || again.body != want {
			t.Fatalf("%d %s, want %s", again.status, again.body, want)
		}
	})
	for _, c := range []struct {
		name string
		own  hub.SourceResponse
		want response
		kind string
	}{
		{"is the source's own", hub.SourceResponse{Status: 202, ContentType: "text/plain", Body: "[accepted]"}, response{status: 202, body: "[accepted]"}, "text/plain"},
		{"is empty where the source's own is", hub.SourceResponse{Status: 200, ContentType: "application/json"}, response{status: 200}, ""},
		{"has no body where none may be", hub.SourceResponse{Status: 204, Body: "x"}, response{status: 204}, ""},
		{"is never a failure", hub.SourceResponse{Status: 500, Body: "{}"}, response{status: 200, body: "{}"}, "application/json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			source := open()
			source.Response = c.own
			got := send(t, http.MethodPost, serve(t, newStore(source))+"/in/open", nil, []byte("x"))
			if got.status != c.want.status || got.body != c.want.body || got.header.Get("Content-Type") != c.kind {
				t.Fatalf("%d %q %q", got.status, got.header.Get("Content-Type"), got.body)
			}
		})
	}
}

func TestPathsAndMethods(t *testing.T) {
	t.Parallel()
	api := &hub.Source{ID: "src_api", Slug: hub.BuiltInAPISlug, Kind: hub.SourceAPI, State: hub.SourceActive}
	for _, c := range []struct {
		method, path string
		status       int
		code         hub.Code
	}{
		{"POST", "/in/open", 200, ""},
		{"PUT", "/in/open", 200, ""},
		{"PATCH", "/in/open", 200, ""},
		{"POST", "/in/open/", 200, ""},
		{"POST", "/in/open/more/segments?and=query", 200, ""},
		{"POST", "/in/open//in/x", 200, ""},
		{"GET", "/in/open", 405, hub.CodeMethodNotAllowed},
		{"OPTIONS", "/in/open", 405, hub.CodeMethodNotAllowed},
		{"DELETE", "/in/open", 405, hub.CodeMethodNotAllowed},
		{"MKCOL", "/in/open", 405, hub.CodeMethodNotAllowed},
		{"POST", "/in/unknown", 404, hub.CodeNotFound},
		{"POST", "/in/OPEN", 404, hub.CodeNotFound},
		{"POST", "/in/", 404, hub.CodeNotFound},
		{"POST", "/in", 404, hub.CodeNotFound},
		{"POST", "/in/open%2Fx", 200, ""},
		{"POST", "/in/open%00", 404, hub.CodeNotFound},
		{"POST", "/in/api", 404, hub.CodeNotFound},
		{"GET", "/in/api", 404, hub.CodeNotFound},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			t.Parallel()
			store := newStore(open(), api)
			got := send(t, c.method, serve(t, store)+c.path, nil, []byte("{}"))
			events, rejections := store.counts()
			if c.code == "" {
				if got.status != c.status || events != 1 {
					t.Fatalf("%d %s", got.status, got.body)
				}
				return
			}
			wantBare(t, got, c.status, c.code)
			if events != 0 || rejections != 0 && c.status == 404 {
				t.Errorf("stored %d events and %d rejections", events, rejections)
			}
			if c.status == 405 && (got.header.Get("Allow") != "POST, PUT, PATCH" || store.refusal(t).Reason != hub.RejectedMethod || store.refusal(t).Method != c.method) {
				t.Errorf("Allow %q, rejection %+v", got.header.Get("Allow"), store.refusal(t))
			}
		})
	}
}

func TestWhatIsStored(t *testing.T) {
	t.Parallel()
	store := newStore(open())
	target := serve(t, store) + "/in/open?a=1&token=x&b=%20\xff"
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, serve(t, store)+"/in/open", strings.NewReader("<a/>"))
	request.URL.RawQuery = strings.SplitN(target, "?", 2)[1]
	request.Host = "hooks.example"
	request.Header = http.Header{
		"Content-Type": {"text/xml; charset=\xe4"}, "Authorization": {"Bearer geheim"}, "Cookie": {"a=geheim"}, "X-My-Secret-Thing": {"geheim"},
		"Stripe-Signature": {"t=1,v1=ab"}, "X-Two": {"first", "second"}, "Idempotency-Key": {"k-1"}, "X-Latin": {"\xe4\xf6"},
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	event := store.last(t)
	want := []hub.Header{
		{Name: "Host", Value: "hooks.example"},
		{Name: "Accept-Encoding", Value: "gzip"},
		{Name: "Authorization", Value: "[redacted]"},
		{Name: "Content-Length", Value: "4"},
		{Name: "Content-Type", Value: "text/xml; charset=\uFFFD"},
		{Name: "Cookie", Value: "[redacted]"},
		{Name: "Idempotency-Key", Value: "k-1"},
		{Name: "Stripe-Signature", Value: "t=1,v1=ab"},
		{Name: "User-Agent", Value: "Go-http-client/1.1"},
		{Name: "X-Latin", Value: "\uFFFD"},
		{Name: "X-My-Secret-Thing", Value: "[redacted]"},
		{Name: "X-Two", Value: "first"},
		{Name: "X-Two", Value: "second"},
	}
	if !slices.Equal(event.Payload.Headers, want) {
		t.Errorf("headers %q", event.Payload.Headers)
	}
	if event.Payload.Query != "a=1&token=x&b=%20%FF" || event.ContentType != "text/xml; charset=\uFFFD" || event.DedupeKey != "k-1" || event.Type != "open" {
		t.Errorf("stored %+v with query %q", event, event.Payload.Query)
	}
}

func TestHangUpBeforeTheCommit(t *testing.T) {
	t.Parallel()
	store := newStore(open())
	begun, goOn := make(chan struct{}), make(chan struct{})
	store.appended = func() { close(begun); <-goOn }
	conn, _ := wire(t, serve(t, store), "POST /in/open HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
	<-begun
	_ = conn.Close()
	close(goOn)
	eventually(t, func() bool { n, _ := store.counts(); return n == 1 })
}

func TestTrouble(t *testing.T) {
	t.Parallel()
	paused := open()
	paused.State = hub.SourcePaused
	for _, c := range []struct {
		name   string
		source *hub.Source
		err    error
		status int
		code   hub.Code
		wait   string
	}{
		{"the store is down", open(), errors.New("disk full: /secret/path"), 503, hub.CodeUnavailable, "5"},
		{"the store says when to come back", open(), &hub.Error{Code: hub.CodeUnavailable, RetryAfter: 1500 * time.Millisecond}, 503, hub.CodeUnavailable, "2"},
		{"the commit takes too long", open(), context.DeadlineExceeded, 503, hub.CodeUnavailable, "5"},
		{"the source is gone meanwhile", open(), fmt.Errorf("append: %w", hub.ErrNotFound), 404, hub.CodeNotFound, ""},
		{"the source is paused", paused, nil, 503, hub.CodeSourcePaused, "60"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			store := newStore(c.source)
			store.err = c.err
			got := send(t, http.MethodPost, serve(t, store)+"/in/open", nil, []byte("{}"))
			wantBare(t, got, c.status, c.code)
			if got.header.Get("Retry-After") != c.wait {
				t.Errorf("Retry-After %q, want %q", got.header.Get("Retry-After"), c.wait)
			}
			if _, n := store.counts(); n == 1 != (c.code == hub.CodeSourcePaused) {
				t.Errorf("%d rejections", n)
			}
		})
	}
	t.Run("a rejection that cannot be stored changes no answer", func(t *testing.T) {
		t.Parallel()
		store := newStore(paused)
		store.rejectErr = errors.New("disk full")
		wantBare(t, send(t, http.MethodPost, serve(t, store)+"/in/open", nil, []byte("{}")), 503, hub.CodeSourcePaused)
	})
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		networks []string
		status   int
	}{
		{[]string{"10.0.0.0/8", "127.0.0.0/8"}, 200},
		{[]string{"127.0.0.1"}, 200},
		{[]string{"10.0.0.0/8", "::/0"}, 403},
		{[]string{"nonsense"}, 403},
	} {
		source := open()
		source.AllowUnverified = false
		source.Verification = &hub.Verification{AllowNetworks: c.networks}
		store := newStore(source)
		got := send(t, http.MethodPost, serve(t, store)+"/in/open", nil, []byte("{}"))
		if got.status != c.status {
			t.Errorf("%v: %d %s", c.networks, got.status, store.why())
		}
		if c.status == 403 {
			wantBare(t, got, 403, hub.CodeForbidden)
			if r := store.refusal(t); r.Reason != hub.RejectedNetwork || !strings.Contains(r.Detail, "127.0.0.1") {
				t.Errorf("%+v", r)
			}
		}
	}
}

func TestUnverified(t *testing.T) {
	t.Parallel()
	mute := open()
	mute.AllowUnverified = false
	store := newStore(mute)
	if got := send(t, http.MethodPost, serve(t, store)+"/in/open", nil, []byte("{}")); got.status != 401 {
		t.Errorf("a source that checks nothing and does not say so accepts: %d", got.status)
	}
	named := open()
	named.Provider = "stripe"
	store = newStore(named)
	if got := send(t, http.MethodPost, serve(t, store)+"/in/open", nil, []byte(`{"id":"evt_9","type":"a"}`)); got.status != 200 || store.last(t).DedupeKey != "evt_9" {
		t.Errorf("a provider for its rules alone: %d %s", got.status, store.why())
	}
	named.Secrets = []hub.Secret{"s"}
	if got := send(t, http.MethodPost, serve(t, newStore(named))+"/in/open", nil, []byte("{}")); got.status != 401 {
		t.Errorf("a source with secrets accepts what is not signed: %d", got.status)
	}
}

func TestBasicIsAskedFor(t *testing.T) {
	t.Parallel()
	source := open()
	source.Verification = &hub.Verification{Basic: &hub.BasicVerification{Username: "u"}}
	source.Secrets = []hub.Secret{"p:with:colons"}
	target := serve(t, newStore(source)) + "/in/open"
	if got := send(t, http.MethodPost, target, nil, nil); got.status != 401 || !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Basic ") {
		t.Errorf("%d, WWW-Authenticate %q", got.status, got.header.Get("WWW-Authenticate"))
	}
	with := strings.Replace(target, "http://", "http://u:p%3Awith%3Acolons@", 1)
	if got := send(t, http.MethodPost, with, nil, nil); got.status != 200 {
		t.Errorf("credentials in the URL: %d", got.status)
	}
}

func TestHandshakes(t *testing.T) {
	t.Parallel()
	table := webhook.NewTable(webhook.Provider{
		Name: "asker",
		Verify: func(_ context.Context, c *webhook.Case) webhook.Verdict {
			if c.Request.Header.Get("X-Ok") == "" {
				return webhook.Verdict{Reason: hub.RejectedSignatureInvalid, Detail: "no"}
			}
			return webhook.Verdict{}
		},
		Handshakes: []webhook.Handshake{
			{Title: "challenge", Answer: func(_ context.Context, c *webhook.Case) (webhook.Answer, bool) {
				return webhook.Answer{Status: 200, ContentType: "text/plain", Body: []byte("echo")}, c.Request.RawQuery == "challenge"
			}},
			{Title: "ping", Signed: true, Answer: func(_ context.Context, c *webhook.Case) (webhook.Answer, bool) {
				return webhook.Answer{Status: 204}, string(c.Request.Body) == "ping"
			}},
		},
	})
	source := open()
	source.AllowUnverified, source.Provider = false, "asker"
	store := newStore(source)
	target := serve(t, store, func(c *receive.Config) { c.Providers = table }) + "/in/open"
	for _, c := range []struct {
		method, query, ok, body string
		status                  int
	}{
		{"GET", "?challenge", "", "", 200},
		{"OPTIONS", "?challenge", "", "", 200},
		{"HEAD", "?challenge", "", "", 200},
		{"POST", "?challenge", "", "", 200},
		{"DELETE", "?challenge", "", "", 405},
		{"GET", "", "yes", "ping", 405},
		{"POST", "", "yes", "ping", 204},
		{"POST", "", "", "ping", 401},
	} {
		if got := send(t, c.method, target+c.query, headers("X-Ok", c.ok), []byte(c.body)); got.status != c.status {
			t.Errorf("%s %s %q: %d, want %d", c.method, c.query, c.body, got.status, c.status)
		}
	}
	if n, _ := store.counts(); n != 0 {
		t.Errorf("handshakes made %d events", n)
	}
	if got := send(t, "POST", target, headers("X-Ok", "yes"), []byte("event")); got.status != 200 {
		t.Errorf("an event: %d", got.status)
	}
}
