package graph_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/hookgraph/hookgraph/graph"
	"github.com/hookgraph/hookgraph/internal/hub"
)

const (
	mediaJSON    = "application/json; charset=utf-8"
	mediaGraphQL = "application/graphql-response+json; charset=utf-8"
)

// The rules of GraphQL over HTTP, one case each.
func TestGraphQLOverHTTP(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const ok = `{"query":"{ viewer { role } }"}`
	const broken = `{"query":"{"}`
	for name, c := range map[string]struct {
		method, query, body string
		headers             []string
		status              int
		media, code         string
	}{
		"a query":                      {body: ok, status: 200, media: mediaJSON},
		"any media type":               {body: ok, headers: []string{"Accept", "*/*"}, status: 200, media: mediaJSON},
		"the GraphQL media type":       {body: ok, headers: []string{"Accept", "application/graphql-response+json"}, status: 200, media: mediaGraphQL},
		"refused beside a wildcard":    {body: ok, headers: []string{"Accept", "application/json;q=0, */*"}, status: 200, media: mediaGraphQL},
		"named closer than a wildcard": {body: ok, headers: []string{"Accept", "*/*, application/json;q=0.1"}, status: 200, media: mediaGraphQL},
		"a stream is no wildcard's":    {body: ok, headers: []string{"Accept", "application/json;q=0, application/graphql-response+json;q=0, */*"}, status: 406, media: mediaJSON, code: "NOT_ACCEPTABLE"},
		"the first of equals":          {body: ok, headers: []string{"Accept", "application/graphql-response+json, application/json, text/event-stream, multipart/mixed"}, status: 200, media: mediaGraphQL},
		"the highest q":                {body: ok, headers: []string{"Accept", "application/graphql-response+json;q=0.5, application/json;q=0.9"}, status: 200, media: mediaJSON},
		"q of zero":                    {body: ok, headers: []string{"Accept", "application/json;q=0, application/graphql-response+json;q=0.1"}, status: 200, media: mediaGraphQL},
		"a media type with charset":    {body: ok, headers: []string{"Accept", "application/json; charset=utf-8", "Content-Type", "application/json; charset=UTF-8"}, status: 200, media: mediaJSON},
		"nothing acceptable":           {body: ok, headers: []string{"Accept", "text/html"}, status: 406, media: mediaJSON, code: "NOT_ACCEPTABLE"},
		"no content type":              {body: ok, headers: []string{"Content-Type", ""}, status: 415, media: mediaJSON, code: "UNSUPPORTED_MEDIA_TYPE"},
		"a form":                       {body: "query=%7Bviewer%7Brole%7D%7D", headers: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 415, media: mediaJSON, code: "UNSUPPORTED_MEDIA_TYPE"},
		"another charset":              {body: ok, headers: []string{"Content-Type", "application/json; charset=latin1"}, status: 415, media: mediaJSON, code: "UNSUPPORTED_MEDIA_TYPE"},
		"a compressed body":            {body: ok, headers: []string{"Content-Encoding", "gzip"}, status: 415, media: mediaJSON, code: "UNSUPPORTED_MEDIA_TYPE"},
		"malformed JSON":               {body: `{"query":`, status: 400, media: mediaJSON, code: "BAD_USER_INPUT"},
		"JSON and more":                {body: ok + ok, status: 400, media: mediaJSON, code: "BAD_USER_INPUT"},
		"a batch":                      {body: "[" + ok + "]", status: 400, media: mediaJSON, code: "BAD_USER_INPUT"},
		"null":                         {body: "null", status: 400, media: mediaJSON, code: "BAD_USER_INPUT"},
		"no query":                     {body: `{"variables":{}}`, status: 400, media: mediaJSON, code: "BAD_USER_INPUT"},
		"a query that is no string":    {body: `{"query":{"a":1}}`, status: 400, media: mediaJSON, code: "BAD_USER_INPUT"},
		"variables that are a list":    {body: `{"query":"{__typename}","variables":[]}`, status: 400, media: mediaJSON, code: "BAD_USER_INPUT"},
		"variables that are null":      {body: `{"query":"{__typename}","variables":null,"operationName":null,"extensions":null}`, status: 200, media: mediaJSON},
		"extensions that are text":     {body: `{"query":"{__typename}","extensions":"x"}`, status: 400, media: mediaJSON, code: "BAD_USER_INPUT"},
		"a name that is a number":      {body: `{"query":"{__typename}","operationName":7}`, status: 400, media: mediaJSON, code: "BAD_USER_INPUT"},
		"too large":                    {body: `{"query":"` + strings.Repeat(" ", 1<<20) + `{__typename}"}`, status: 413, media: mediaJSON, code: "PAYLOAD_TOO_LARGE"},
		"broken, as JSON":              {body: broken, status: 200, media: mediaJSON, code: "GRAPHQL_PARSE_FAILED"},
		"broken, as GraphQL":           {body: broken, headers: []string{"Accept", "application/graphql-response+json"}, status: 400, media: mediaGraphQL, code: "GRAPHQL_PARSE_FAILED"},
		"invalid, as GraphQL":          {body: `{"query":"{ nothing }"}`, headers: []string{"Accept", "application/graphql-response+json"}, status: 400, media: mediaGraphQL, code: "GRAPHQL_VALIDATION_FAILED"},
		"no such operation":            {body: `{"query":"query A { __typename }","operationName":"B"}`, headers: []string{"Accept", "application/graphql-response+json"}, status: 400, media: mediaGraphQL, code: "GRAPHQL_VALIDATION_FAILED"},
		"which operation":              {body: `{"query":"query A { __typename } query B { __typename }"}`, headers: []string{"Accept", "application/graphql-response+json"}, status: 400, media: mediaGraphQL, code: "GRAPHQL_VALIDATION_FAILED"},
		"a variable missing":           {body: `{"query":"query($id: ID!) { node(id: $id) { id } }"}`, headers: []string{"Accept", "application/graphql-response+json"}, status: 400, media: mediaGraphQL, code: "GRAPHQL_VALIDATION_FAILED"},
		"@defer":                       {body: `{"query":"{ ... @defer { viewer { role } } }"}`, status: 200, media: mediaJSON, code: "GRAPHQL_VALIDATION_FAILED"},
		"a subscription":               {body: `{"query":"subscription { eventStream { cursor } }"}`, status: 400, media: mediaJSON, code: "OPERATION_NOT_ALLOWED"},
		"GET":                          {method: "GET", query: "?query=" + url.QueryEscape(`query A($x: Boolean!) { viewer @include(if: $x) { role } }`) + "&operationName=A&variables=" + url.QueryEscape(`{"x":true}`), status: 200, media: mediaJSON},
		"GET with broken variables":    {method: "GET", query: "?query=%7B__typename%7D&variables=%7B", status: 400, media: mediaJSON, code: "BAD_USER_INPUT"},
		"GET with variables and more":  {method: "GET", query: "?query=%7B__typename%7D&variables=%7B%7D%5D", status: 400, media: mediaJSON, code: "BAD_USER_INPUT"},
		"GET without a query":          {method: "GET", status: 400, media: mediaJSON, code: "BAD_USER_INPUT"},
		"a mutation by GET":            {method: "GET", query: "?query=" + url.QueryEscape(`mutation { publishEvent(input: {type: "x", payload: 1}) { duplicate } }`), status: 405, media: mediaJSON, code: "METHOD_NOT_ALLOWED"},
		"PUT":                          {method: "PUT", body: ok, status: 405, media: mediaJSON, code: "METHOD_NOT_ALLOWED"},
		"no key":                       {body: ok, headers: []string{"Authorization", ""}, status: 401, media: mediaJSON, code: "UNAUTHENTICATED"},
		"a wrong key":                  {body: ok, headers: []string{"Authorization", "Bearer nonsense"}, status: 401, media: mediaJSON, code: "UNAUTHENTICATED"},
		"another scheme":               {body: ok, headers: []string{"Authorization", "Basic eDp5"}, status: 401, media: mediaJSON, code: "UNAUTHENTICATED"},
		"a broken document, no key":    {body: broken, headers: []string{"Authorization", ""}, status: 401, media: mediaJSON, code: "UNAUTHENTICATED"},
	} {
		t.Run(name, func(t *testing.T) {
			method := c.method
			if method == "" {
				method = http.MethodPost
			}
			answer := b.send(method, c.query, c.body, append([]string{
				"Authorization", "Bearer " + operatorKey, "Content-Type", "application/json"}, c.headers...)...)
			if answer.Status != c.status || answer.Header.Get("Content-Type") != c.media || answer.code() != c.code {
				t.Errorf("got %d, %s, %s", answer.Status, answer.Header.Get("Content-Type"), answer.Raw)
			}
			if c.code != "" && strings.Contains(answer.Raw, `"data"`) {
				t.Errorf("a refused request has data: %s", answer.Raw)
			}
			if answer.Status == 405 && answer.Header.Get("Allow") == "" || answer.Status == 401 && answer.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("headers are missing: %v", answer.Header)
			}
		})
	}
}

func TestErrorsAreBounded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, query := range map[string]string{
		"many": "{ viewer { " + strings.Repeat("nothing more ", 40) + "} }",
		"long": `{ sources(first: "` + strings.Repeat("é", 100_000) + `") { totalCount } }`,
	} {
		answer := b.ask(query)
		if answer.code() != "GRAPHQL_VALIDATION_FAILED" || len(answer.Errors) > 5 || len(answer.Raw) > 3000 {
			t.Errorf("%s: %d errors in %d bytes, %.200s", name, len(answer.Errors), len(answer.Raw), answer.Raw)
		}
	}
}

func TestTheCostIsTold(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for query, want := range map[string]int{
		`{ viewer { role } }`:          1,
		`{ sources { nodes { id } } }`: 21,
		`{ sources(first: 5) { edges { cursor node { id } } pageInfo { hasNextPage } totalCount } }`: 7,
		`query($n: Int = 7) { sources(first: $n) { nodes { id } } }`:                                 8,
		`{ events(first: 2) { nodes { deliveries(first: 3) { nodes { endpoint { id } } } } } }`:      1 + 2*(1+1+3*2),
		`{ nodes(ids: ["a", "b"]) { id } }`:                                                          2,
	} {
		answer := b.ask(query)
		told, _ := answer.Extensions["cost"].(map[string]any)
		if told["requested"] != float64(want) || told["limit"] != 10_000.0 || told["maximumAvailable"] != 20_000_000.0 || told["restoreRate"] != 5_000_000.0 || told["available"] == nil {
			t.Errorf("%s: got %v, want %d", query, told, want)
		}
	}
	answer := b.ask(`{ events(first: 100) { nodes { deliveries(first: 100) { nodes { id } } } } }`)
	if answer.code() != "COST_LIMIT_EXCEEDED" || !strings.Contains(answer.Raw, `"requested":10201`) {
		t.Errorf("got %s", answer.Raw)
	}
}

func TestTheSchemaIsClosedInProduction(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const introspect = `{ __schema { types { name } } }`
	t.Run("introspection is an error", func(t *testing.T) {
		if answer := b.ask(introspect); answer.code() != "INTROSPECTION_DISABLED" || answer.Status != 200 {
			t.Errorf("got %s", answer.Raw)
		}
		if answer := b.ask(`{ __typename __type(name: "Event") { name } }`); answer.code() != "INTROSPECTION_DISABLED" || !strings.Contains(answer.Raw, `"__typename":"Query"`) {
			t.Errorf("got %s", answer.Raw)
		}
	})
	t.Run("nothing is suggested", func(t *testing.T) {
		for _, query := range []string{
			`{ viewe { role } }`, `{ viewer { rol } }`, `{ sources(frist: 1) { totalCount } }`, `query($x: Strin) { viewer { role } }`,
			`{ events(orderBy: NEWEST) { totalCount } }`, `{ events(filter: {type: "x"}) { totalCount } }`, `{ viewer }`,
		} {
			if answer := b.ask(query); answer.code() != "GRAPHQL_VALIDATION_FAILED" || strings.Contains(strings.ToLower(answer.Raw), "did you mean") {
				t.Errorf("%s: %s", query, answer.Raw)
			}
		}
	})
	t.Run("SCHEMA_READ opens it", func(t *testing.T) {
		if answer := b.askAs(b.key(hub.ScopeSchemaRead), introspect); len(answer.Errors) > 0 || strings.Contains(answer.Raw, "defer") {
			t.Errorf("got %s", answer.Raw)
		}
	})
	t.Run("development opens it", func(t *testing.T) {
		open := setup(t, func(c *graph.Config) { c.Development = true })
		if answer := open.ask(introspect); len(answer.Errors) > 0 {
			t.Errorf("got %s", answer.Raw)
		}
		if answer := open.ask(`{ viewe { role } }`); !strings.Contains(answer.Raw, "Did you mean") {
			t.Errorf("got %s", answer.Raw)
		}
	})
}
