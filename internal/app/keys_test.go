package app_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// apiKey is an API key as GraphQL shows it.
type apiKey struct {
	ID, Name, Role, Prefix           string
	Scopes                           []string
	CreatedAt                        time.Time
	ExpiresAt, LastUsedAt, RevokedAt *time.Time
}

const keyFields = ` id name role scopes prefix createdAt expiresAt lastUsedAt revokedAt `

// keyPayload is the answer of a mutation of an API key.
type keyPayload struct {
	APIKey     *apiKey
	Key        *string
	UserErrors []struct {
		Code, Message string
		Field         []string
	}
}

// createKey makes a key; input is that of the mutation, as GraphQL.
func (c *client) createKey(input string) keyPayload {
	c.t.Helper()
	var made struct{ CreateAPIKey keyPayload }
	c.do(&made, `mutation { createApiKey(input: {`+input+`}) { apiKey {`+keyFields+`} key userErrors { code message field } } }`, nil)
	if made.CreateAPIKey.APIKey == nil || made.CreateAPIKey.Key == nil {
		c.t.Fatalf("made %+v", made)
	}
	return made.CreateAPIKey
}

// as is the same hub with another key.
func (c *client) as(key string) *client {
	other := *c
	other.key = key
	return &other
}

// refusal is the code of the error that an operation is answered with.
func (c *client) refusal(query string) string {
	c.t.Helper()
	a := c.ask(query, nil)
	if len(a.Errors) != 1 {
		return fmt.Sprintf("%s %+v", a.Data, a.Errors)
	}
	return fmt.Sprint(a.Errors[0].Extensions["code"])
}

// wrong is what createApiKey answers to an input that it refuses.
func (c *client) wrong(input string) string {
	c.t.Helper()
	a := c.ask(`mutation { createApiKey(input: {`+input+`}) { apiKey { id } key userErrors { code field } } }`, nil)
	return fmt.Sprintf("%s%v", a.Data, a.Errors)
}

func refused(problems string) string {
	return `{"createApiKey":{"apiKey":null,"key":null,"userErrors":[` + problems + `]}}[]`
}

func TestAnAPIKeyFromItsMakingToItsEnd(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		expires := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
		made := c.createKey(fmt.Sprintf(`name: "dashboard", role: VIEWER, expiresAt: %q`, expires.Format(time.RFC3339)))
		key := made.APIKey
		if key.Name != "dashboard" || key.Role != "VIEWER" || fmt.Sprint(key.Scopes) != "[EVENTS_READ PAYLOADS_READ]" || key.Prefix == "" ||
			!strings.HasPrefix(*made.Key, key.Prefix) || key.ExpiresAt == nil || !key.ExpiresAt.Equal(expires) || key.LastUsedAt != nil || key.RevokedAt != nil {
			t.Errorf("made %+v", key)
		}

		viewer := c.as(*made.Key)
		if a := viewer.ask(`{ viewer { role scopes } sources { totalCount } }`, nil); len(a.Errors) > 0 {
			t.Errorf("the key was answered %s %+v", a.Data, a.Errors)
		}
		for _, query := range []string{
			`{ apiKeys { totalCount } }`,
			`mutation { createApiKey(input: {name: "x", role: VIEWER}) { key } }`,
			`mutation { revokeApiKey(id: "` + key.ID + `") { apiKey { id } } }`,
		} {
			if code := viewer.refusal(query); code != "FORBIDDEN" {
				t.Errorf("%s by a viewer was answered %s", query, code)
			}
		}
		node := `{ node(id: "` + key.ID + `") { __typename id ... on ApiKey { name } } }`
		if a := viewer.ask(node, nil); string(a.Data) != `{"node":null}` {
			t.Errorf("a viewer sees the key: %s", a.Data)
		}
		if a := c.ask(node, nil); string(a.Data) != `{"node":{"__typename":"ApiKey","id":"`+key.ID+`","name":"dashboard"}}` {
			t.Errorf("the operator was answered %s %+v", a.Data, a.Errors)
		}

		second := c.createKey(`name: "second", role: OPERATOR, scopes: [ADMIN, EVENTS_READ]`)
		var listed struct {
			APIKeys struct {
				TotalCount int
				PageInfo   struct {
					HasNextPage bool
					EndCursor   string
				}
				Nodes []apiKey
			}
		}
		const list = `query ($after: String) { apiKeys(first: 1, after: $after) { totalCount pageInfo { hasNextPage endCursor } nodes {` + keyFields + `} } }`
		c.do(&listed, list, nil)
		if got := listed.APIKeys; got.TotalCount != 2 || !got.PageInfo.HasNextPage || len(got.Nodes) != 1 || got.Nodes[0].ID != second.APIKey.ID {
			t.Errorf("the first page is %+v", got)
		}
		after := map[string]any{"after": listed.APIKeys.PageInfo.EndCursor}
		c.do(&listed, list, after)
		if got := listed.APIKeys; got.PageInfo.HasNextPage || len(got.Nodes) != 1 || got.Nodes[0].ID != key.ID || got.Nodes[0].LastUsedAt == nil {
			t.Errorf("the second page is %+v", got)
		}
		if a := c.ask(list, after); strings.Contains(string(a.Data), *made.Key) || !strings.Contains(string(a.Data), key.Prefix) {
			t.Errorf("listed: %s", a.Data)
		}

		var revoked [2]struct{ RevokeAPIKey keyPayload }
		for i := range revoked {
			c.do(&revoked[i], `mutation { revokeApiKey(id: "`+key.ID+`") { apiKey {`+keyFields+`} key userErrors { code field } } }`, nil)
		}
		first, again := revoked[0].RevokeAPIKey, revoked[1].RevokeAPIKey
		if first.Key != nil || first.APIKey.RevokedAt == nil || !first.APIKey.RevokedAt.Equal(*again.APIKey.RevokedAt) {
			t.Errorf("revoked %+v, then %+v", first, again)
		}
		testkit.Eventually(t, "the revoked key stops working", func() bool { return viewer.refusal(`{ viewer { role } }`) == "UNAUTHENTICATED" })
		a := c.ask(`mutation { revokeApiKey(id: "key_none") { apiKey { id } userErrors { code field } } }`, nil)
		if string(a.Data) != `{"revokeApiKey":{"apiKey":null,"userErrors":[{"code":"NOT_FOUND","field":["id"]}]}}` {
			t.Errorf("an unknown ID was answered %s %+v", a.Data, a.Errors)
		}
	})
}

func TestNobodyGivesAwayWhatTheyDoNotHold(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Environment = config.Production
	c := start(t, o)
	const beyond = `{"code":"FORBIDDEN","field":["input","scopes"]}`
	admin := c.as(*c.createKey(`name: "admin", role: VIEWER, scopes: [ADMIN, EVENTS_READ]`).Key)
	for input, want := range map[string]string{
		`name: "x", role: VIEWER`:                                                     beyond, // PAYLOADS_READ
		`name: "x", role: OPERATOR`:                                                   beyond,
		`name: "x", role: OPERATOR, scopes: [SOURCES_WRITE]`:                          beyond,
		`name: "x", role: OPERATOR, scopes: [ADMIN, SCHEMA_READ]`:                     beyond,
		`name: " ", role: VIEWER, scopes: [ADMIN]`:                                    `{"code":"REQUIRED","field":["input","name"]}`,
		`name: "x", role: VIEWER, scopes: []`:                                         `{"code":"INVALID","field":["input","scopes"]}`,
		`name: "x", role: VIEWER, scopes: [ADMIN], expiresAt: "2001-01-01T00:00:00Z"`: `{"code":"INVALID","field":["input","expiresAt"]}`,
	} {
		if got := admin.wrong(input); got != refused(want) {
			t.Errorf("{%s} was answered %s", input, got)
		}
	}
	reader := c.as(*c.createKey(`name: "codegen", role: VIEWER, scopes: [EVENTS_READ, SCHEMA_READ]`).Key) // which no role holds
	if a := reader.ask(`{ __schema { queryType { name } } }`, nil); string(a.Data) != `{"__schema":{"queryType":{"name":"Query"}}}` {
		t.Errorf("a reader of the schema was answered %s %+v", a.Data, a.Errors)
	}
	if got := c.refusal(`{ __schema { queryType { name } } }`); got != "INTROSPECTION_DISABLED" {
		t.Errorf("the operator was answered %s", got)
	}
	heir := c.as(*admin.createKey(`name: "heir", role: VIEWER, scopes: [EVENTS_READ]`).Key)
	if a := heir.ask(`{ viewer { scopes } }`, nil); string(a.Data) != `{"viewer":{"scopes":["EVENTS_READ"]}}` {
		t.Errorf("the heir is %s %+v", a.Data, a.Errors)
	}
}

func TestAnAPIKeyIsKeptHashedAlone(t *testing.T) {
	t.Parallel()
	o := options(t)
	c := start(t, o)
	made := c.createKey(`name: "dashboard", role: VIEWER`)
	if a := c.as(*made.Key).ask(`{ viewer { role } }`, nil); len(a.Errors) > 0 {
		t.Fatalf("the key was answered %+v", a.Errors)
	}
	c.stop()
	files, err := filepath.Glob(strings.TrimPrefix(o.DatabaseURL, "sqlite:") + "*")
	if err != nil || len(files) == 0 {
		t.Fatalf("the database is in %v, %v", files, err)
	}
	var all strings.Builder
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(content)
	}
	_, random, _ := strings.Cut(strings.TrimPrefix(*made.Key, "hgk_"), "_")
	sum := sha256.Sum256([]byte(*made.Key))
	if len(random) < 40 || strings.Contains(all.String(), random) || !strings.Contains(all.String(), string(sum[:])) {
		t.Error("the database holds the key itself, or not its hash")
	}
}
