package graph_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/hookgraph/hookgraph/graph"
	"github.com/hookgraph/hookgraph/graph/document"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// everywhere sends the members of a request over every transport that takes
// queries, and returns what each answers.
func (b *bundle) everywhere(t testing.TB, members map[string]any) map[string]string {
	t.Helper()
	body, err := json.Marshal(members)
	must(t, err)
	values := url.Values{}
	for name, value := range members {
		text, isText := value.(string)
		if !isText {
			encoded, err := json.Marshal(value)
			must(t, err)
			text = string(encoded)
		}
		values.Set(name, text)
	}
	key := []string{"Authorization", "Bearer " + operatorKey}
	posted := append(slices.Clone(key), "Content-Type", "application/json")
	s := b.dial(t, key...)
	s.init()
	s.send(fmt.Sprintf(`{"type":"subscribe","id":"1","payload":%s}`, body))
	m, err := s.read()
	must(t, err)
	return map[string]string{
		"POST":           b.send(http.MethodPost, "", string(body), posted...).Raw,
		"POST, new type": b.send(http.MethodPost, "", string(body), append(slices.Clone(posted), "Accept", "application/graphql-response+json")...).Raw,
		"GET":            b.send(http.MethodGet, "?"+values.Encode(), "", key...).Raw,
		"SSE":            b.send(http.MethodPost, "", string(body), append(slices.Clone(posted), "Accept", "text/event-stream")...).Raw,
		"SSE by GET":     b.send(http.MethodGet, "?"+values.Encode(), "", append(slices.Clone(key), "Accept", "text/event-stream")...).Raw,
		"WebSocket":      string(m.Payload),
	}
}

// persisted are the members by which Apollo's and urql's clients ask by hash.
func persisted(hash string, query ...string) map[string]any {
	members := map[string]any{"extensions": map[string]any{
		"persistedQuery": map[string]any{"version": 1, "sha256Hash": strings.TrimPrefix(hash, "sha256:")},
	}}
	if len(query) > 0 {
		members["query"] = query[0]
	}
	return members
}

// expect fails the test where an answer over any transport lacks a text.
func (b *bundle) expect(t testing.TB, what string, members map[string]any, want string) {
	t.Helper()
	for transport, got := range b.everywhere(t, members) {
		if !strings.Contains(got, want) {
			t.Errorf("%s over %s: got %s, want %s", what, transport, got, want)
		}
	}
}

const (
	roleQuery = "query Role { viewer { role } }"
	roleIs    = `"data":{"viewer":{"role":"OPERATOR"}}`
)

// register registers a document and returns its ID.
func (b *bundle) register(t testing.TB, name, text string) string {
	t.Helper()
	var got struct {
		RegisterDocument struct {
			Document   *struct{ ID string }
			UserErrors []json.RawMessage
		}
	}
	b.ask(`mutation ($input: RegisterDocumentInput!) { registerDocument(input: $input) { document { id } userErrors { message } } }`,
		"input", map[string]any{"name": name, "document": text}).into(t, &got)
	if got.RegisterDocument.Document == nil {
		t.Fatalf("not registered: %s", got.RegisterDocument.UserErrors)
	}
	return got.RegisterDocument.Document.ID
}

func TestTrustedDocumentsAreAskedForByNameAndHash(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hash := hub.HashDocument(roleQuery)
	b.expect(t, "before", map[string]any{"documentId": hash}, `"code":"PERSISTED_QUERY_NOT_FOUND"`)
	id := b.register(t, "role.v1", roleQuery)
	b.expect(t, "by name", map[string]any{"documentId": "role.v1"}, roleIs)
	b.expect(t, "by hash", map[string]any{"documentId": hash}, roleIs)
	b.expect(t, "as Apollo asks", persisted(hash), roleIs)
	b.expect(t, "with variables and a name", map[string]any{
		"documentId": "role.v1", "operationName": "Role", "variables": map[string]any{},
	}, roleIs)
	b.expect(t, "both", map[string]any{"documentId": "role.v1", "query": roleQuery}, `"code":"BAD_USER_INPUT"`)
	b.expect(t, "an unknown prefix", map[string]any{"documentId": "x-mine:1"}, `"code":"PERSISTED_QUERY_NOT_FOUND"`)

	if again := b.register(t, "role.v1", roleQuery); again != id {
		t.Errorf("registered again it is %s, not %s", again, id)
	}
	var listed struct {
		Documents struct {
			Nodes      []struct{ ID, Name, Hash, Text string }
			TotalCount int
		}
		Node struct{ Name string }
	}
	b.ask(`query ($id: ID!) { documents { nodes { id name hash text } totalCount } node(id: $id) { ... on Document { name } } }`, "id", id).into(t, &listed)
	if len(listed.Documents.Nodes) != 1 || listed.Documents.Nodes[0].Hash != hash || listed.Documents.Nodes[0].Text != roleQuery || listed.Node.Name != "role.v1" {
		t.Errorf("listed %+v", listed)
	}
	if answer := b.askAs(b.key(hub.ScopeEventsRead), `query ($id: ID!) { node(id: $id) { id } }`, "id", id); !strings.Contains(answer.Raw, `"node":null`) {
		t.Errorf("who may not administer sees %s", answer.Raw)
	}

	b.ask(`mutation ($id: ID!) { removeDocument(input: {id: $id}) { deletedId userErrors { code } } }`, "id", id).into(t, &struct{}{})
	b.expect(t, "removed", map[string]any{"documentId": "role.v1"}, `"code":"PERSISTED_QUERY_NOT_FOUND"`)
	b.expect(t, "removed", persisted(hash), `"message":"PersistedQueryNotFound"`)
}

func TestMutationsAndStreamsAreAskedForByNameToo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "publish", `mutation ($type: String!) { publishEvent(input: {type: $type, payload: {}}) { event { type } } }`)
	b.register(t, "watch", `subscription { eventStream(from: EARLIEST) { events { type } } }`)
	key := []string{"Authorization", "Bearer " + operatorKey}
	answer := b.send(http.MethodPost, "", `{"documentId":"publish","variables":{"type":"by.name"}}`, append(key, "Content-Type", "application/json")...)
	if !strings.Contains(answer.Raw, `"type":"by.name"`) {
		t.Errorf("got %s", answer.Raw)
	}
	if answer := b.send(http.MethodGet, "?documentId=publish&variables=%7B%22type%22:%22x%22%7D", "", key...); answer.Status != http.StatusMethodNotAllowed {
		t.Errorf("a mutation by GET: %d %s", answer.Status, answer.Raw)
	}
	s := b.dial(t, key...)
	s.init()
	s.send(`{"type":"subscribe","id":"1","payload":{"documentId":"watch"}}`)
	for {
		if m := s.expect("next"); strings.Contains(string(m.Payload), "by.name") {
			break
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+"?documentId=watch", nil)
	must(t, err)
	request.Header.Set("Authorization", key[1])
	request.Header.Set("Accept", "text/event-stream")
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	for !strings.Contains(lines.Text(), "by.name") {
		if !lines.Scan() {
			t.Fatalf("the stream ended: %v", lines.Err())
		}
	}
}

func TestOnlyTrustedDocumentsAreAccepted(t *testing.T) {
	t.Parallel()
	b := setup(t, func(cfg *graph.Config) {
		cfg.Development = true
		cfg.Documents = document.Options{Mode: document.Only, Files: []document.File{
			{Path: "role.graphql", Name: "role", Text: roleQuery + "\n"},
			{Path: "watch.graphql", Name: "watch", Text: "subscription { eventStream { cursor } }"},
		}}
	})
	refused := `"code":"OPERATION_NOT_ALLOWED"`
	for what, query := range map[string]string{
		"a query": "{ viewer { role } }", "introspection": "{ __schema { queryType { name } } }", "the type name": "{ __typename }",
		"a stream": "subscription { eventStream { events { id } } }", "a mutation": `mutation { createSource(input: {name: "x"}) { source { id } } }`,
		"no GraphQL": "{",
	} {
		b.expect(t, what, map[string]any{"query": query}, refused)
		b.expect(t, what+" with its hash", persisted(hub.HashDocument(query), query), refused)
		b.expect(t, what+" by hash", persisted(hub.HashDocument(query)), `"message":"PersistedQueryNotFound"`)
	}
	if n := len(b.store.Configuration().Sources); n != 2 { // the built-in ones
		t.Errorf("there are %d sources", n)
	}
	for _, id := range []string{"role", hub.HashDocument(roleQuery), hub.HashDocument(roleQuery + "\n")} {
		b.expect(t, id, map[string]any{"documentId": id}, roleIs)
	}
	b.expect(t, "the text of one", map[string]any{"query": roleQuery}, roleIs)

	s := b.dial(t, "Authorization", "Bearer "+operatorKey)
	s.init()
	s.send(`{"type":"subscribe","id":"1","payload":{"documentId":"watch"}}`)
	s.expect("next")

	// The hub's own documents register more.
	send := func(body string) *answer {
		return b.send(http.MethodPost, "", body, "Authorization", "Bearer "+operatorKey, "Content-Type", "application/json")
	}
	answer := send(`{"documentId":"hookgraph.RegisterDocument","variables":{"input":{"name":"scopes","document":"{ viewer { scopes } }"}}}`)
	if !strings.Contains(answer.Raw, `"name":"scopes"`) {
		t.Errorf("got %s", answer.Raw)
	}
	b.expect(t, "registered", map[string]any{"documentId": "scopes"}, `"ADMIN"`)
	if answer := send(`{"documentId":"hookgraph.Documents"}`); !strings.Contains(answer.Raw, `"totalCount":1`) {
		t.Errorf("got %s", answer.Raw)
	}
}

func TestTrustedDocumentsCanBeTurnedOff(t *testing.T) {
	t.Parallel()
	b := setup(t, func(cfg *graph.Config) { cfg.Documents.Mode = document.Off })
	b.register(t, "role", roleQuery)
	b.expect(t, "by name", map[string]any{"documentId": "role"}, `"code":"PERSISTED_QUERY_NOT_SUPPORTED"`)
	b.expect(t, "by hash", persisted(hub.HashDocument(roleQuery)), `"message":"PersistedQueryNotSupported"`)
	b.expect(t, "by text", map[string]any{"query": roleQuery}, roleIs)
}

func TestAutomaticPersistedQueries(t *testing.T) {
	t.Parallel()
	b := setup(t, func(cfg *graph.Config) { cfg.Documents.PersistedQueries = 2 })
	text := func(n int) string { return fmt.Sprintf("query Q%d { viewer { role } }", n) }
	hash := func(n int) string { return hub.HashDocument(text(n)) }
	b.expect(t, "unknown", persisted(hash(1)), `"extensions":{"code":"PERSISTED_QUERY_NOT_FOUND"}`)
	b.expect(t, "sent", persisted(hash(1), text(1)), roleIs)
	b.expect(t, "kept", persisted(hash(1)), roleIs)
	b.expect(t, "another hash", persisted(hash(2), text(1)), `"code":"BAD_USER_INPUT"`)
	b.expect(t, "not kept under it", persisted(hash(2)), `"message":"PersistedQueryNotFound"`)
	b.expect(t, "invalid", persisted(hub.HashDocument("{ nothing }"), "{ nothing }"), `"code":"GRAPHQL_VALIDATION_FAILED"`)
	b.expect(t, "not kept", persisted(hub.HashDocument("{ nothing }")), `"message":"PersistedQueryNotFound"`)
	b.expect(t, "another version", map[string]any{"extensions": map[string]any{"persistedQuery": map[string]any{"version": 2, "sha256Hash": hash(1)}}}, `"code":"BAD_USER_INPUT"`)
	b.expect(t, "no object", map[string]any{"extensions": map[string]any{"persistedQuery": true}}, `"code":"BAD_USER_INPUT"`)
	b.expect(t, "the second", persisted(hash(2), text(2)), roleIs)
	b.expect(t, "the third", persisted(hash(3), text(3)), roleIs)
	b.expect(t, "the first is forgotten", persisted(hash(1)), `"message":"PersistedQueryNotFound"`)
	b.expect(t, "the second is not", persisted(hash(2)), roleIs)

	large := func(n int) string {
		return fmt.Sprintf("query Q%d { viewer { role } } #%s", n, strings.Repeat("x", 64<<10))
	}
	header := []string{"Authorization", "Bearer " + operatorKey, "Content-Type", "application/json"}
	body, err := json.Marshal(persisted(hub.HashDocument(large(1)), large(1)))
	must(t, err)
	if answer := b.send(http.MethodPost, "", string(body), header...); !strings.Contains(answer.Raw, roleIs) {
		t.Errorf("got %s", answer.Raw)
	}
	b.expect(t, "too large to be kept", persisted(hub.HashDocument(large(1))), `"message":"PersistedQueryNotFound"`)
}

func TestPersistedQueriesAreNotKeptUnlessEnabled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.expect(t, "sent", persisted(hub.HashDocument(roleQuery), roleQuery), roleIs)
	b.expect(t, "not kept", persisted(hub.HashDocument(roleQuery)), `"message":"PersistedQueryNotFound"`)
}

func TestWhatIsWrongWithADocumentIsToldAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "taken", roleQuery)
	type problem struct {
		Code         string
		Message      string
		Field        []string
		Line, Column int
	}
	for name, c := range map[string]struct {
		input map[string]any
		want  []string // code, field, line and column
	}{
		"unknown fields": {map[string]any{"name": "a b", "document": "{\n  nothing\n  viewer { none }\n}"},
			[]string{"INVALID input.name 0:0", "INVALID input.document 2:3", "INVALID input.document 3:12"}},
		"no GraphQL":        {map[string]any{"document": "{\n viewer {"}, []string{"INVALID input.document 2:10"}},
		"nothing":           {map[string]any{"document": " \n"}, []string{"REQUIRED input.document 0:0"}},
		"a null character":  {map[string]any{"document": "{ viewer { role } } #\x00"}, []string{"INVALID input.document 0:0"}},
		"a taken name":      {map[string]any{"name": "taken", "document": "{ viewer { role } }"}, []string{"CONFLICT input.name 0:0"}},
		"a name of the hub": {map[string]any{"name": "hookgraph.Documents", "document": roleQuery}, []string{"CONFLICT input.name 0:0"}},
		"too costly": {map[string]any{"document": "query A { viewer { role } }\nquery B($n: Int = 100) { events(first: $n) { nodes { deliveries(first: $n) { nodes { id } } } } }"},
			[]string{"LIMIT_EXCEEDED input.document 2:1"}},
		"too large": {map[string]any{"document": roleQuery + " #" + strings.Repeat("x", 64<<10)}, []string{"LIMIT_EXCEEDED input.document 0:0"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got struct {
				RegisterDocument struct{ UserErrors []problem }
			}
			b.ask(`mutation ($input: RegisterDocumentInput!) { registerDocument(input: $input) { userErrors { code message field line column } } }`,
				"input", c.input).into(t, &got)
			var told []string
			for _, p := range got.RegisterDocument.UserErrors {
				told = append(told, fmt.Sprintf("%s %s %d:%d", p.Code, strings.Join(p.Field, "."), p.Line, p.Column))
			}
			if !slices.Equal(told, c.want) {
				t.Errorf("told %q, want %q: %+v", told, c.want, got.RegisterDocument.UserErrors)
			}
		})
	}
	if answer := b.askAs(b.key(hub.ScopeEventsRead), `mutation { registerDocument(input: {document: "{ viewer { role } }"}) { document { id } } }`); answer.code() != "FORBIDDEN" {
		t.Errorf("got %s", answer.Raw)
	}
}

func TestATrustedDocumentOpensNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "schema", "{ __schema { queryType { name } } }")
	b.register(t, "costly", "query ($n: Int!) { events(first: $n) { nodes { deliveries(first: $n) { nodes { id } } } } }")
	b.expect(t, "introspection", map[string]any{"documentId": "schema"}, `"code":"INTROSPECTION_DISABLED"`)
	b.expect(t, "costs", map[string]any{"documentId": "costly", "variables": map[string]any{"n": 100}}, `"code":"COST_LIMIT_EXCEEDED"`)
}
