package webhook_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
	"github.com/hookgraph/hookgraph/internal/receive"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

// memory is a store that keeps what it is given.
type memory struct {
	configuration *hub.Configuration

	mu         sync.Mutex // guards what follows
	events     []*hub.Event
	rejections []*hub.Rejection
}

func (m *memory) Configuration() *hub.Configuration { return m.configuration }
func (m *memory) Refresh(context.Context) error     { return nil }

func (m *memory) Append(_ context.Context, events []*hub.Event) ([]hub.Receipt, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	receipts := make([]hub.Receipt, len(events))
	for i, event := range events {
		m.events = append(m.events, event)
		receipts[i] = hub.Receipt{EventID: event.ID, Sequence: hub.Sequence(len(m.events))}
	}
	return receipts, nil
}

func (m *memory) Reject(_ context.Context, rejection *hub.Rejection) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rejections = append(m.rejections, rejection)
	return nil
}

func (m *memory) Capture(context.Context, *hub.Rejection) (bool, error) { return false, nil }

func (m *memory) EventsByID(context.Context, []string) (map[string]*hub.Event, error) {
	return nil, nil
}

// counts tells how many events and rejections there are, and why the last of these.
func (m *memory) counts() (events, rejections int, why string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.rejections); n > 0 {
		why = string(m.rejections[n-1].Reason) + ": " + m.rejections[n-1].Detail
	}
	return len(m.events), len(m.rejections), why
}

type clock struct{ at time.Time }

func (c clock) Now() time.Time { return c.at }

// entrance is a real door behind a real server, for one source.
type entrance struct {
	*memory
	addr string
}

func newEntrance(t testing.TB, src *hub.Source) *entrance {
	t.Helper()
	matcher, err := match.New()
	if err != nil {
		t.Fatal(err)
	}
	src.State = hub.SourceActive
	store := &memory{configuration: hub.NewConfiguration(1, []*hub.Source{src}, nil, nil)}
	server := httptest.NewServer(receive.New(receive.Config{Store: store, Expressions: matcher, Clock: clock{now}, PublicURL: publicURL}))
	t.Cleanup(server.Close)
	return &entrance{memory: store, addr: server.Listener.Addr().String()}
}

// send writes a request byte for byte, which no client of the standard library
// would do with hostile ones, and returns the status and body of the answer.
func (e *entrance) send(t testing.TB, r *webhook.Request) (status int, body string) {
	t.Helper()
	connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n", r.Method, r.Target)
	for name, values := range r.Header {
		for _, value := range values {
			b.WriteString(name + ": " + value + "\r\n")
		}
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n", len(r.Body))
	b.Write(r.Body)
	go func() { _, _ = b.WriteTo(connection) }() // the server may answer before it has read all
	answer, err := http.ReadResponse(bufio.NewReader(connection), &http.Request{Method: r.Method})
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.Target, err)
	}
	defer func() { _ = answer.Body.Close() }()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(raw)
}

// TestHostileRequestsAtTheDoor sends to a source of each preset what it must refuse
// and the little that looks hostile and is right. Nothing makes the hub fail, and
// nothing that is refused tells the sender why.
func TestHostileRequestsAtTheDoor(t *testing.T) {
	t.Parallel()
	for _, s := range samples() {
		t.Run(s.provider, func(t *testing.T) {
			t.Parallel()
			src := s.source()
			door := newEntrance(t, src)
			sent := func(name string, want int, r *webhook.Request) {
				t.Helper()
				events, rejections, _ := door.counts()
				status, body := door.send(t, r)
				afterwards, refused, why := door.counts()
				if status != want {
					t.Errorf("%s: answered %d %.200s; %s", name, status, body, why)
				}
				if status == http.StatusOK && afterwards != events+1 || status != http.StatusOK && (afterwards != events || refused != rejections+1) {
					t.Errorf("%s: answered %d, with %d events and %d rejections more", name, status, afterwards-events, refused-rejections)
				}
				for _, secret := range src.Secrets {
					if strings.Contains(body, secret.Reveal()) || status == http.StatusUnauthorized && len(why) > 40 && strings.Contains(body, why[len(why)-20:]) {
						t.Errorf("%s: the answer gives too much away: %s", name, body)
					}
				}
			}
			with := func(change func(*webhook.Request)) *webhook.Request {
				r := s.request(false, now, s.body)
				change(r)
				return r
			}
			header := func(name string, values ...string) *webhook.Request {
				return with(func(r *webhook.Request) { r.Header[http.CanonicalHeaderKey(name)] = values })
			}
			right := s.request(false, now, s.body)

			sent("what is right", 200, right)
			sent("a wrong secret", 401, s.request(true, now, s.body))
			if !s.open {
				for _, body := range []string{"", "x" + string(right.Body), string(right.Body[:len(right.Body)-1]), "\xff\xfe\x00\xc3("} {
					sent("a changed body", 401, with(func(r *webhook.Request) { r.Body = []byte(body) }))
				}
			}
			if s.tolerance > 0 {
				for _, offset := range []time.Duration{-s.tolerance - time.Second, s.tolerance + time.Second, -87600 * time.Hour, 87600 * time.Hour} {
					sent("a time off by "+offset.String(), 401, s.request(false, now.Add(offset), s.body))
				}
			}
			names := slices.Clone(s.others)
			if s.header != "" {
				names = append(names, s.header)
			}
			for _, name := range names {
				value := right.Header.Get(name)
				sent(name+" missing", 401, header(name))
				sent(name+" empty", 401, header(name, ""))
				sent(name+" blank", 401, header(name, " "))
				sent(name+" twice", 401, header(name, value, value))
				sent(name+" twice, one empty", 401, header(name, "", value))
				sent(name+" huge", 401, header(name, strings.Repeat(value+",", 1+(64<<10)/len(value))))
				sent(name+" of signs", 401, header(name, `"'%00 ;,=,=`))
				if name == "PAYPAL-CERT-URL" || s.provider == "standard-webhooks-v1a" {
					continue // any address of PayPal's will do where the certificate is pinned, and a list is a list
				}
				sent(name+" as a list", 401, header(name, value+","+value+" x"))
				sent(name+" not UTF-8", 401, header(name, "\xff\xfe"+value))
				sent(name+" cut", 401, header(name, value[:len(value)/2]))
			}
			if s.hex {
				upper := right.Header.Get(s.header)
				at := strings.LastIndexByte(upper, '=') + 1
				if strings.Contains(upper, ",") { // t=…,v1=…,v0=00
					at = strings.Index(upper, "v1=") + len("v1=")
				}
				sent("upper-case hexadecimal", 200, header(s.header, upper[:at]+strings.ToUpper(upper[at:])))
			}
			for name, token := range confusedTokens(s) {
				if strings.TrimSpace(token) != token {
					continue // HTTP takes blanks around a header's value away
				}
				sent("a token: "+name, 401, header("Plaid-Verification", token))
			}
			for _, address := range foreignCertificates[s.provider] {
				if s.provider == "paypal" {
					sent("a certificate at "+address, 401, header("PAYPAL-CERT-URL", address))
				} else {
					sent("a certificate at "+address, 401, s.request(false, now, set(s.body, []string{"SigningCertURL"}, address)))
				}
			}
			for _, target := range []string{"/in/acme?" + strings.Repeat("a=b&", 500), "/in/acme?%zz;%00", "/in/acme/..;/x?bodySHA256=00&code=x&access_token=%ff"} {
				sent("a query of nonsense", 401, with(func(r *webhook.Request) {
					r.Target, r.Header = target, http.Header{}
					r.Body = []byte("{}")
				}))
			}
			// Methods that carry no event.
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodOptions, http.MethodTrace, "BREW", strings.Repeat("X", 100)} {
				status, _ := door.send(t, with(func(r *webhook.Request) { r.Method, r.Body = method, nil }))
				if status != http.StatusMethodNotAllowed && (method != http.MethodHead || s.provider != "trello" && s.provider != "intercom" || status != http.StatusOK) {
					t.Errorf("%s was answered %d", method, status)
				}
			}
		})
	}
}

// TestSignedNonsenseAtTheDoor sends what is signed right and otherwise nothing that
// a vendor would send: it is an event, or refused for what it is.
func TestSignedNonsenseAtTheDoor(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 10_000)
	bodies := []string{
		"", " ", "null", "0", `"x"`, "{", "[]", "[null]", "[[]]", "\xef\xbb\xbf{}", "\xff\xfe\x00\xc3(", "%zz=%&&;", "a=1&a=2&=&payload=%7B",
		strings.Repeat("[", 100_000), strings.Repeat(`{"a":`, 9_000) + "1" + strings.Repeat("}", 9_000),
		`{"id":1e400,"type":1e-400,"created":-1e99,"event_ts":99999999999999999999}`,
		`{"id":"` + long + `","type":"` + long + `","event":"` + long + `","topic":"` + long + `"}`,
		`{"id":"\u0000","type":"\u0000","event":"a\u0000b","event_type":"\ud800"}`,
		`{"id":{},"type":[],"event":{"type":{}},"data":null,"events":[[],{}],"entry":[{"changes":{}}],"notificationItems":[{}]}`,
		`[{"event":"` + long + `","eventType":7,"id":null},[],"x",7]`,
		`{"type":"a","type":"b","id":"1","id":"2"}`,
		`{"type":"hookgraph.endpoint.disabled","event":"hookgraph.delivery.dead"}`,
	}
	for _, s := range samples() {
		t.Run(s.provider, func(t *testing.T) {
			t.Parallel()
			door := newEntrance(t, s.source())
			for _, body := range bodies {
				r := s.request(false, now, body)
				if s.provider == "twilio-json" {
					again := *s
					again.target = twilioJSONTarget(body)
					r = again.request(false, now, body)
				}
				status, answer := door.send(t, r)
				switch _, _, why := door.counts(); status {
				case http.StatusOK, http.StatusNoContent, http.StatusUnprocessableEntity:
				case http.StatusUnauthorized:
					if !s.json && s.provider != "twilio" {
						t.Errorf("%.60q was answered %d; %s", body, status, why)
					}
				default:
					t.Errorf("%.60q was answered %d %s; %s", body, status, answer, why)
				}
			}
			door.mu.Lock()
			defer door.mu.Unlock()
			for _, event := range door.events {
				if hub.IsHubType(event.Type) || webhook.CheckType(event.Type) != "" || webhook.CheckKey(event.DedupeKey) != "" || webhook.CheckKey(event.OrderingKey) != "" || webhook.CheckTime(event.OccurredAt) != "" {
					t.Errorf("stored as %q, %q, %q, %s", event.Type, event.DedupeKey, event.OrderingKey, event.OccurredAt)
				}
			}
		})
	}
}
