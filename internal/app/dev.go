package app

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/httpapi"
	"github.com/hookgraph/hookgraph/internal/observe"
)

type devCommand struct {
	config.Server
}

func (c *devCommand) Run(ctx context.Context, con *console) error {
	if !config.Loopback(c.Addr) {
		return fmt.Errorf("--addr (HOOKGRAPH_ADDR) is %q: dev listens on loopback alone, such as 127.0.0.1:8080; use serve for all else", c.Addr)
	}
	if err := c.Database.Validate(); err != nil {
		return err
	}
	dir := c.dir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of the database: %w", err)
	}
	secret := c.SecretKey
	if secret == "" && c.SecretKeyFile == "" {
		made, err := keep(filepath.Join(dir, "secret.key"), base64.StdEncoding.EncodeToString)
		if err != nil {
			return err
		}
		secret = made
	} else {
		given, err := c.Text()
		if err != nil {
			return err
		}
		secret = given
	}
	if c.OperatorKey == "" {
		made, err := keep(filepath.Join(dir, "operator.key"), hex.EncodeToString)
		if err != nil {
			return err
		}
		c.OperatorKey = made
	}
	logger := observe.NewLogger(con.err, c.LogLevel, c.LogFormat)
	return serve(ctx, c.Server, secret, logger, func(url string) error {
		return welcome.Execute(con.out, map[string]string{"URL": url, "Key": c.OperatorKey, "Receiver": url + httpapi.ReceiverPath})
	})
}

// dir is where a hub in development keeps its files.
func (c *devCommand) dir() string {
	if path, ok := strings.CutPrefix(c.DatabaseURL, "sqlite:"); ok {
		return filepath.Dir(path)
	}
	return ".hookgraph"
}

// keep returns the key in the file, or makes one of 32 random bytes and keeps it
// there, readable by its owner alone.
func keep(path string, encode func([]byte) string) (string, error) {
	raw, err := os.ReadFile(path)
	if err == nil {
		if key := strings.TrimSpace(string(raw)); key != "" {
			return key, nil
		}
		return "", fmt.Errorf("%s is empty: delete it, and a new key is made", path)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read a key: %w", err)
	}
	random := make([]byte, 32)
	_, _ = rand.Read(random) // documented never to fail
	key := encode(random)
	if err := os.WriteFile(path, []byte(key+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keep a key: %w", err)
	}
	return key, nil
}

// receiver takes deliveries in development and says so in the log.
func receiver(logger *slog.Logger) http.Handler {
	const most = 64 << 10
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
		if err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		logger.InfoContext(r.Context(), "the development receiver got a delivery",
			slog.String("webhook_id", r.Header.Get("webhook-id")), slog.Int("bytes", len(body)))
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"received":true}` + "\n")) // the sender is gone if this fails
	})
}

// welcome is what dev prints once it serves. Its commands are run by a test as
// they are printed.
var welcome = template.Must(template.New("welcome").Parse(`Hookgraph serves at {{.URL}}

  GraphQL       {{.URL}}/graphql
  GraphiQL      {{.URL}}/graphiql
  Operator key  {{.Key}}

A first event. Paste this into another terminal:

HUB={{.URL}}
KEY={{.Key}}

# 1. A source: requests to $HUB/in/shop that carry an API key become events.
curl -sSw '\n' $HUB/graphql -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -d '{
  "query": "mutation { createSource(input: {name: \"Shop\", slug: \"shop\", secrets: [\"first-secret\"], verification: {apiKey: {}}}) { source { id url } userErrors { field message } } }"}'

# 2. An endpoint: here a receiver that this hub runs in development.
ENDPOINT=$(curl -sSw '\n' $HUB/graphql -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -d '{
  "query": "mutation { createEndpoint(input: {name: \"Receiver\", url: \"{{.Receiver}}\"}) { endpoint { id } signingSecret userErrors { field message } } }"}' | tee /dev/stderr | grep -o 'end_[0-9a-z]*' | head -n 1)

# 3. A subscription: which events the endpoint gets.
curl -sSw '\n' $HUB/graphql -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -d '{
  "query": "mutation ($endpoint: ID!) { createSubscription(input: {name: \"Large orders\", endpointId: $endpoint, eventTypes: [\"order.*\"], filter: \"body.total > 10\"}) { subscription { id } userErrors { field message } } }",
  "variables": {"endpoint": "'$ENDPOINT'"}}'

# 4. The first event, as a shop would send it.
curl -sSw '\n' $HUB/in/shop -H 'X-API-Key: first-secret' -H 'Content-Type: application/json' -d '{"type": "order.created", "id": 1, "total": 42}'

# 5. Its delivery, a moment later.
sleep 1
curl -sSw '\n' $HUB/graphql -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -d '{
  "query": "{ deliveries(first: 1) { nodes { id status event { id type total: payload(path: \"$.total\") } endpoint { name url } attempts { nodes { number outcome statusCode duration } } } } }"}'

`))
