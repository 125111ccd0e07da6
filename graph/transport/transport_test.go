package transport_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/hookgraph/hookgraph/graph/transport"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// executor stands for what prepares and executes operations: it answers with what it was
// given, and holds back whatever is not known until it is let go.
type executor struct {
	known map[string]bool
	goOn  chan struct{} // nil to hold nothing back

	mu    sync.Mutex
	taken []string // unknown documents, by key
}

func (e *executor) begun() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.taken)
}

func (e *executor) CreateOperationContext(ctx context.Context, params *graphql.RawParams) (*graphql.OperationContext, gqlerror.List) {
	if e.goOn != nil && !e.known[params.Query] {
		e.mu.Lock()
		e.taken = append(e.taken, hub.ViewerFromContext(ctx).KeyID+" "+params.Query)
		e.mu.Unlock()
		<-e.goOn
	}
	given, err := json.Marshal(map[string]any{
		"query": params.Query, "documentId": transport.DocumentID(ctx), "operationName": params.OperationName,
		"variables": params.Variables, "extensions": params.Extensions,
	})
	if err != nil {
		return &graphql.OperationContext{}, gqlerror.List{gqlerror.Wrap(err)}
	}
	return &graphql.OperationContext{RawQuery: string(given), Operation: &ast.OperationDefinition{Operation: ast.Query}}, nil
}

func (e *executor) DispatchOperation(ctx context.Context, operation *graphql.OperationContext) (graphql.ResponseHandler, context.Context) {
	return graphql.OneShot(&graphql.Response{Data: []byte(operation.RawQuery)}), ctx
}

func (e *executor) DispatchError(_ context.Context, errs gqlerror.List) *graphql.Response {
	return &graphql.Response{Errors: errs}
}

func (e *executor) Known(query string) bool { return e.known[query] }

func (e *executor) Owes(*hub.Viewer) (*hub.Error, map[string]any) { return nil, nil }

func (e *executor) Refused(*hub.Viewer, int) map[string]any { return nil }

func handler(e *executor) *transport.Handler {
	return transport.New(transport.Config{
		Executor: e,
		Authenticate: func(_ context.Context, token string) (*hub.Viewer, error) {
			return &hub.Viewer{Role: hub.RoleViewer, KeyID: token}, nil
		},
	})
}

func request(method, key, query, body, accept string) *http.Request {
	r := httptest.NewRequest(method, "/graphql"+query, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Content-Type", "application/json")
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	return r
}

func ask(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// However many unknown documents wait, a known one waits for none of them, an unknown one
// of somebody else for one of each key, and one whose sender is gone is not looked at.
func TestKnownDocumentsWaitForNobodyAndKeysTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &executor{known: map[string]bool{"known": true}, goOn: make(chan struct{})}
		h := handler(e)
		atOnce := max(runtime.GOMAXPROCS(0)/2, 1)
		send := func(key, query string) {
			go ask(h, request(http.MethodPost, key, "", `{"query":"`+query+`"}`, ""))
			synctest.Wait()
		}
		for range atOnce + 5 {
			send("attacker", "unknown")
		}
		send("somebody", "new")
		send("another", "new")
		if n := len(e.begun()); n != atOnce {
			t.Fatalf("%d are taken apart at once, want %d", n, atOnce)
		}
		if w := ask(h, request(http.MethodPost, "somebody", "", `{"query":"known"}`, "")); w.Code != http.StatusOK {
			t.Errorf("known: got %d %s", w.Code, w.Body)
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		for _, body := range []string{`{"query":"gone"}`, `{"query":"known","variables":{"v":"` + strings.Repeat("x", 8<<10) + `"}}`} {
			if w := ask(h, request(http.MethodPost, "gone", "", body, "application/graphql-response+json").WithContext(gone)); w.Code == http.StatusOK {
				t.Errorf("whose sender is gone: got %d %s", w.Code, w.Body)
			}
		}
		for range 7 {
			e.goOn <- struct{}{}
			synctest.Wait()
		}
		want := []string{"attacker unknown", "somebody new", "another new", "attacker unknown", "attacker unknown", "attacker unknown", "attacker unknown"}
		if got := e.begun()[atOnce:]; !slices.Equal(got, want) {
			t.Errorf("in turn: %q, want %q", got, want)
		}
		close(e.goOn)
	})
}

func TestWhichMediaTypeIsAnswered(t *testing.T) {
	t.Parallel()
	h := handler(&executor{})
	const plain, graphQL, stream, none = "application/json; charset=utf-8", "application/graphql-response+json; charset=utf-8", "text/event-stream; charset=utf-8", ""
	for accept, want := range map[string]string{
		"":                                  plain,
		"*/*":                               plain,
		"application/*":                     plain,
		"application/json":                  plain,
		"application/graphql-response+json": graphQL,
		"application/graphql-response+json, application/json;q=0.9":   graphQL,
		"application/json;q=0.9, application/graphql-response+json":   graphQL,
		"application/json, application/graphql-response+json":         plain,
		"application/json;q=0, */*":                                   graphQL,
		"application/json;q=0.1, application/*":                       graphQL,
		"APPLICATION/GraphQL-Response+JSON":                           graphQL,
		"text/event-stream":                                           stream,
		"text/event-stream, application/json":                         stream,
		"text/event-stream;q=0.5, application/json":                   plain,
		"text/*, application/json;q=0.1":                              plain,
		"text/html, */*;q=0.8":                                        plain,
		"application/json; charset=UTF-8":                             plain,
		"application/json; charset=latin1":                            none,
		"application/json;q=2":                                        none,
		"application/json;q=NaN":                                      none,
		"application/json;q=0":                                        none,
		"text/html":                                                   none,
		"text/*":                                                      none,
		"no media type":                                               none,
		",, ,application/graphql-response+json,":                      graphQL,
		"application/graphql-response+json;q=0.3, text/html, text/*;": graphQL,
	} {
		w := ask(h, request(http.MethodPost, "key", "", `{"query":"{ a }"}`, accept))
		got := w.Header().Get("Content-Type")
		switch {
		case want == none && (w.Code != http.StatusNotAcceptable || got != plain):
			t.Errorf("%q: got %d %s", accept, w.Code, got)
		case want != none && (w.Code != http.StatusOK || got != want):
			t.Errorf("%q: got %d %s, want %s", accept, w.Code, got, want)
		}
	}
}

// FuzzParameters sends whatever is made up, as a body and as a query string. It is executed
// or refused with a code; what is executed is what encoding/json reads, digit by digit, and
// both ways of sending it agree.
func FuzzParameters(f *testing.F) {
	for _, body := range []string{
		`{"query":"{ a }"}`,
		`{"query":"{ a }","variables":{"n":12345678901234567890.5,"l":[1,{"a":null}]},"operationName":"A","extensions":{"e":1e400}}`,
		`{"query":null,"documentId":"sha256:00","operationName":null,"variables":null,"extensions":null}`,
		`{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"00"}}}`,
		`{"Query":"{ a }"}`, `{"query":"a","query":"b"}`, `{"query":1}`, `{"query":"a","variables":"{}"}`, `{"query":"a","variables":[]}`,
		`[{"query":"{ a }"}]`, `null`, ``, ` `, `{`, `{"query":"\ud800"}`, "{\"query\":\"\xff\"}", `{"query":"a"} {}`, `{"query":"a","other":{"deep":[[[]]]}}`,
	} {
		f.Add([]byte(body))
	}
	h := handler(&executor{})
	f.Fuzz(func(t *testing.T, body []byte) {
		w := ask(h, request(http.MethodPost, "key", "", string(body), ""))
		var told struct {
			Data   map[string]any
			Errors []struct{ Extensions struct{ Code string } }
		}
		decoder := json.NewDecoder(w.Body)
		decoder.UseNumber()
		if err := decoder.Decode(&told); err != nil {
			t.Fatalf("answered what is no JSON: %v", err)
		}
		if told.Data == nil {
			if w.Code != http.StatusBadRequest || len(told.Errors) != 1 || told.Errors[0].Extensions.Code != "BAD_USER_INPUT" {
				t.Fatalf("%d %+v", w.Code, told)
			}
			return
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(body, &members); err != nil {
			t.Fatalf("executed what is no JSON: %v", err)
		}
		values := url.Values{}
		for _, name := range []string{"query", "documentId", "operationName", "variables", "extensions"} {
			var want any
			if raw, given := members[name]; given {
				decoder := json.NewDecoder(strings.NewReader(string(raw)))
				decoder.UseNumber()
				if err := decoder.Decode(&want); err != nil {
					t.Fatal(err)
				}
				if text, ok := want.(string); ok {
					values.Set(name, text)
				} else if want != nil {
					values.Set(name, string(raw))
				}
			}
			if want == nil && name == "variables" {
				want = map[string]any{}
			} else if want == nil && name != "extensions" {
				want = ""
			}
			if got, _ := json.Marshal(told.Data[name]); string(got) != encoded(t, want) {
				t.Fatalf("%s: got %s, want %s", name, got, encoded(t, want))
			}
		}
		again := ask(h, request(http.MethodGet, "key", "?"+values.Encode(), "", ""))
		var data struct{ Data map[string]any }
		decoder = json.NewDecoder(again.Body)
		decoder.UseNumber()
		if err := decoder.Decode(&data); err != nil || encoded(t, data.Data) != encoded(t, told.Data) {
			t.Fatalf("by GET %s, by POST %s", encoded(t, data.Data), encoded(t, told.Data))
		}
	})
}

func encoded(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
