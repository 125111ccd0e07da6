package app

import (
	"context"
	"crypto/rand"
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
	"github.com/hookgraph/hookgraph/internal/secret"
)

type devCommand struct {
	config.Server
}

func (c *devCommand) Run(ctx context.Context, con *console) error {
	if !config.Loopback(c.Addr) {
		return fmt.Errorf("--addr (HOOKGRAPH_ADDR) is %q: dev listens on loopback alone, such as 127.0.0.1:8080; use serve for all else", c.Addr)
	}
	if c.Environment != config.Development {
		return fmt.Errorf("--env (HOOKGRAPH_ENV) is %q: dev is for development alone; use serve for all else", c.Environment)
	}
	if err := c.Database.Validate(); err != nil {
		return err
	}
	dir := c.dir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot keep files in %s (%w): make it a folder that can be written, or choose another with --database-url (HOOKGRAPH_DATABASE_URL)", dir, reason(err))
	}
	sealing := c.SecretKey
	if sealing == "" && c.SecretKeyFile == "" {
		made, err := keep(filepath.Join(dir, "secret.key"), secret.GenerateKey)
		if err != nil {
			return err
		}
		sealing = made
	} else {
		given, err := c.Text()
		if err != nil {
			return err
		}
		sealing = given
	}
	if c.OperatorKey == "" {
		made, err := keep(filepath.Join(dir, "operator.key"), newOperatorKey)
		if err != nil {
			return err
		}
		c.OperatorKey = made
	}
	logger := observe.NewLogger(con.err, c.LogLevel, c.LogFormat)
	return serve(ctx, c.Server, sealing, logger, func(url string) error {
		return welcome.Execute(con.out, map[string]string{"URL": url, "Key": c.OperatorKey, "Receiver": url + httpapi.ReceiverPath})
	})
}

// shellWord quotes what a shell would otherwise take apart.
func shellWord(text string) string {
	if strings.IndexFunc(text, func(r rune) bool { return !strings.ContainsRune(plainInShell, r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

const plainInShell = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:/+=@%"

// dir is where a hub in development keeps its files.
func (c *devCommand) dir() string {
	if path, ok := strings.CutPrefix(c.DatabaseURL, "sqlite:"); ok {
		return filepath.Dir(path)
	}
	return ".hookgraph"
}

// newOperatorKey makes a key of 32 random bytes in hexadecimal, which needs no
// quoting in a shell or a link.
func newOperatorKey() string {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // documented never to fail
	return hex.EncodeToString(random)
}

// keep returns the key in the file, or generates one and keeps it there, readable
// by its owner alone.
func keep(path string, generate func() string) (string, error) {
	raw, err := os.ReadFile(path)
	if err == nil {
		if key := strings.TrimSpace(string(raw)); key != "" {
			return key, nil
		}
		return "", fmt.Errorf("%s is empty: delete it, and a new key is made", path)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot read %s (%w): make it readable, or choose another folder with --database-url (HOOKGRAPH_DATABASE_URL)", path, reason(err))
	}
	key := generate()
	if err := os.WriteFile(path, []byte(key+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("cannot write %s (%w): make its folder writable, or choose another with --database-url (HOOKGRAPH_DATABASE_URL)", path, reason(err))
	}
	return key, nil
}

// reason is what the system said of a file, without the path again.
func reason(err error) error {
	var of *fs.PathError
	if errors.As(err, &of) {
		return of.Err
	}
	return err
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
var welcome = template.Must(template.New("welcome").Funcs(template.FuncMap{"word": shellWord}).Parse(`Hookgraph serves at {{.URL}}

  GraphQL       {{.URL}}/graphql
  GraphiQL      {{.URL}}/graphiql#key={{.Key | urlquery}}
  Operator key  {{.Key}}

A first event. Paste this into another terminal:

HUB={{word .URL}}
KEY={{word .Key}}

# 1. A source: requests to $HUB/in/shop that carry an API key become events.
curl -sSw '\n' $HUB/graphql -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -d '{
  "query": "mutation { createSource(input: {name: \"Shop\", slug: \"shop\", secrets: [\"first-secret\"], verification: {apiKey: {}}}) { source { id url } userErrors { field message } } }"}'

# 2. An endpoint: here a receiver that this hub runs in development.
ANSWER=$(curl -sS $HUB/graphql -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -d '{
  "query": "mutation { createEndpoint(input: {name: \"Receiver\", url: \"{{.Receiver}}\"}) { endpoint { id } signingSecret userErrors { field message } } }"}')
echo "$ANSWER"; ENDPOINT=$(echo "$ANSWER" | grep -o 'end_[0-9a-z]*' | head -n 1)

# 3. A subscription: which events the endpoint gets.
curl -sSw '\n' $HUB/graphql -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -d '{
  "query": "mutation { createSubscription(input: {name: \"Large orders\", endpointId: \"'$ENDPOINT'\", eventTypes: [\"order.*\"], filter: \"body.total > 10\"}) { subscription { id } userErrors { field message } } }"}'

# 4. The first event, as a shop would send it.
curl -sSw '\n' $HUB/in/shop -H 'X-API-Key: first-secret' -H 'Content-Type: application/json' -d '{"type": "order.created", "id": 1, "total": 42}'

# 5. Its delivery, a moment later.
sleep 1
curl -sSw '\n' $HUB/graphql -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -d '{
  "query": "{ deliveries(first: 1) { nodes { id status event { id type total: payload(path: \"$.total\") } endpoint { name url } attempts { nodes { number outcome statusCode duration } } } } }"}'

`))
