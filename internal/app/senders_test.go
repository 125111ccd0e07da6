package app_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// keyServer is a sender that signs tokens, and publishes its keys.
type keyServer struct {
	*httptest.Server
	t *testing.T

	// mu guards what follows.
	mu    sync.Mutex
	keys  []jose.JSONWebKey // that are published
	loads int
}

func serveKeys(t *testing.T) *keyServer {
	t.Helper()
	s := &keyServer{t: t}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.loads++
		set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
		for _, key := range s.keys {
			set.Keys = append(set.Keys, key.Public())
		}
		_ = json.NewEncoder(w).Encode(set)
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

// publish makes the given keys the ones that it shows.
func (s *keyServer) publish(keys ...jose.JSONWebKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = keys
}

func (s *keyServer) loaded() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loads
}

func newTokenKey(t *testing.T, id string) jose.JSONWebKey {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: private, KeyID: id, Algorithm: "ES256", Use: "sig"}
}

// senderToken is a token for the hub, with other claims than usual where said has them.
func senderToken(t *testing.T, algorithm jose.SignatureAlgorithm, key any, said map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{"iss": "https://sender.example", "aud": []string{"hub", "shop"}, "exp": time.Now().Add(time.Hour).Unix()}
	for name, value := range said {
		all[name] = value
	}
	text, err := jwt.Signed(signer).Claims(all).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// rejected returns the newest rejection of a source.
func (c *client) rejected(id string) (reason, detail string) {
	c.t.Helper()
	var got struct {
		Source struct {
			Rejections struct {
				Nodes []struct{ Reason, Detail string }
			}
		}
	}
	c.do(&got, `query ($id: ID!) { source(id: $id) { rejections(first: 1) { nodes { reason detail } } } }`, map[string]any{"id": id})
	if len(got.Source.Rejections.Nodes) == 0 {
		c.t.Fatal("nothing was rejected")
	}
	return got.Source.Rejections.Nodes[0].Reason, got.Source.Rejections.Nodes[0].Detail
}

func TestSendersWithTokensAreKnownByTheirKeySet(t *testing.T) {
	t.Parallel()
	keys := serveKeys(t)
	first, second, foreign := newTokenKey(t, "first"), newTokenKey(t, "second"), newTokenKey(t, "first")
	keys.publish(first)
	c := start(t, options(t))
	began := time.Now()
	id := c.sourceOf("tokens", fmt.Sprintf(`verification: {jwt: {jwksUrl: %q, issuer: "https://sender.example", audience: "hub"}}`, keys.URL+"/keys"))
	post := func(token string) int {
		t.Helper()
		status, _ := c.send(http.MethodPost, "/in/tokens", http.Header{"Authorization": {"Bearer " + token}}, []byte(`{"type":"a"}`))
		return status
	}
	if status := post(senderToken(t, jose.ES256, first, nil)); status != http.StatusOK {
		reason, detail := c.rejected(id)
		t.Fatalf("a right token is answered %d: %s %s", status, reason, detail)
	}
	public := first.Public()
	public.Algorithm = ""
	raw, err := json.Marshal(public)
	if err != nil {
		t.Fatal(err)
	}
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"first"}`)) + "." +
		base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"iss":"https://sender.example","aud":"hub","exp":%d}`, time.Now().Add(time.Hour).Unix())) + "."
	for name, one := range map[string]struct{ token, reason, says string }{
		"for another audience":       {senderToken(t, jose.ES256, first, map[string]any{"aud": "shop"}), "CREDENTIALS_INVALID", `"shop" (aud); the source takes "hub"`},
		"of another issuer":          {senderToken(t, jose.ES256, first, map[string]any{"iss": "https://other.example"}), "CREDENTIALS_INVALID", "issuer (iss)"},
		"that has expired":           {senderToken(t, jose.ES256, first, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}), "TIMESTAMP_OUT_OF_TOLERANCE", "expired (exp)"},
		"that never expires":         {senderToken(t, jose.ES256, first, map[string]any{"exp": nil}), "TIMESTAMP_OUT_OF_TOLERANCE", "no expiry"},
		"signed by nobody":           {none, "SIGNATURE_INVALID", `signed by "none"`},
		"signed by the public key":   {senderToken(t, jose.HS256, raw, nil), "SIGNATURE_INVALID", `signed by "HS256"`},
		"of a key of the same name":  {senderToken(t, jose.ES256, foreign, nil), "SIGNATURE_INVALID", "none of the 1 keys"},
		"of a key that is not known": {senderToken(t, jose.ES256, second, nil), "SIGNATURE_INVALID", `names the key "second"`},
	} {
		if status := post(one.token); status != http.StatusUnauthorized {
			t.Errorf("a token %s is answered %d", name, status)
			continue
		}
		if reason, detail := c.rejected(id); reason != one.reason || !strings.Contains(detail, one.says) || strings.Contains(detail, one.token) || strings.Contains(detail, strings.Split(one.token, ".")[1]) {
			t.Errorf("a token %s is refused for %s: %s", name, reason, detail)
		}
	}
	// However many tokens of unknown keys strangers send, the keys are loaded once in ten seconds.
	if n := keys.loaded(); n < 1 || n > 1+int(time.Since(began)/(10*time.Second)) {
		t.Errorf("the keys were loaded %d times", n)
	}

	// A new key is found by the first token that names it, once the hub may ask again, and
	// the one that is gone is no good any more.
	keys.publish(second)
	testkit.Eventually(t, "the new key is found", func() bool { return post(senderToken(t, jose.ES256, second, nil)) == http.StatusOK })
	if status := post(senderToken(t, jose.ES256, first, nil)); status != http.StatusUnauthorized {
		t.Errorf("the key that was taken back is answered %d", status)
	}
}

func TestAKeySetThatIsOutOfReachIsToldAtOnce(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	for url, code := range map[string]string{
		"https://169.254.169.254/keys":    "FORBIDDEN",
		"https://10.0.0.7/keys":           "FORBIDDEN",
		"http://sender.example/keys":      "INVALID",
		"https://u:p@sender.example/keys": "INVALID",
		"file:///etc/passwd":              "INVALID",
	} {
		a := c.ask(`mutation ($url: String!) { createSource(input: {name: "T", slug: "t", verification: {jwt: {jwksUrl: $url}}}) { source { id } userErrors { code field message } } }`,
			map[string]any{"url": url})
		var got struct {
			CreateSource struct {
				Source     *struct{}
				UserErrors []struct {
					Code, Message string
					Field         []string
				}
			}
		}
		if err := json.Unmarshal(a.Data, &got); err != nil || len(a.Errors) > 0 {
			t.Fatalf("%s %+v", a.Data, a.Errors)
		}
		wrong := got.CreateSource.UserErrors
		if got.CreateSource.Source != nil || len(wrong) != 1 || wrong[0].Code != code || strings.Join(wrong[0].Field, ".") != "input.verification.jwt.jwksUrl" || wrong[0].Message == "" {
			t.Errorf("%s: %s", url, a.Data)
		}
	}
}

func TestATypeIsLearnedBeforeItsSecretIsKnown(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		id := c.sourceOf("shop", `provider: "github", secrets: ["not known yet"]`)
		var ignored any
		c.do(&ignored, `mutation ($id: ID!) { captureSource(id: $id, count: 1) { userErrors { message } } }`, map[string]any{"id": id})
		body := []byte(`{"ref":"CANARY","commits":[{"id":"c1"}]}`)
		mac := hmac.New(sha256.New, []byte("the secret"))
		mac.Write(body)
		header := http.Header{"X-Github-Event": {"push"}, "X-Github-Delivery": {"d1"}, "X-Hub-Signature-256": {"sha256=" + hex.EncodeToString(mac.Sum(nil))}, "Content-Type": {"application/json"}}
		if status, raw := c.send(http.MethodPost, "/in/shop", header, body); status != http.StatusOK || string(raw) != `{"captured":true}` {
			t.Fatalf("answered %d %s", status, raw)
		}
		testkit.Eventually(t, "the type is learned from what was captured", func() bool { return len(c.types("")) == 1 })
		push := c.types(`nameContains: "push", sourceIds: ["` + id + `"]`)["push"]
		if push.EventCount != 0 || push.SchemaOrigin != "LEARNED" || !strings.Contains(string(push.Schema), `"commits"`) || strings.Contains(string(push.Schema), "CANARY") {
			t.Fatalf("the type is %+v: %s", push, push.Schema)
		}
		if status, _ := c.send(http.MethodPost, "/in/shop", header, body); status != http.StatusUnauthorized {
			t.Fatalf("without the secret it is answered %d", status)
		}
		c.do(&ignored, `mutation ($id: ID!) { updateSource(input: {id: $id, secrets: ["the secret"]}) { userErrors { message } } }`, map[string]any{"id": id})
		c.post("shop", header, body)
		testkit.Eventually(t, "its event counts", func() bool { return c.types("")["push"].EventCount == 1 })
	})
}

func TestWhatIsPolledHasToFitTheGivenSchema(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		a := newAPI(t, func(w http.ResponseWriter, _ *http.Request) {
			write(w, `[{"id":1,"type":"order.paid","total":7},{"id":2,"type":"order.paid","total":"CANARY"},{"id":3,"type":"order.lost","total":"x"}]`)
		})
		c := start(t, o)
		if wrong := c.put(map[string]any{"name": "order.paid", "schema": map[string]any{"properties": map[string]any{"total": map[string]any{"type": "integer"}}}}); wrong != nil {
			t.Fatal(wrong)
		}
		id := c.poll("orders", fmt.Sprintf(`url: %q, interval: "PT1H"`, a.URL), `, validateSchema: true`)
		p := c.until(id, "it is polled", func(p polled) bool { return p.Fetch.LastAt != nil })
		if len(p.Events.Nodes) != 2 || p.Fetch.FetchedCount != 2 || p.Fetch.Error != nil {
			t.Errorf("it has %+v", p)
		}
		reason, detail := c.rejected(id)
		if reason != "SCHEMA_MISMATCH" || !strings.Contains(detail, "/total") || !strings.Contains(detail, "integer") || strings.Contains(detail, "CANARY") {
			t.Errorf("refused for %s: %s", reason, detail)
		}
	})
}
