// Package graphiql serves GraphiQL, an explorer of the GraphQL schema, from the
// binary: the page asks for nothing from outside. Whether it is served at all is
// decided where handlers are wired; it holds no key of its own, so it shows no
// more than its user's key does.
package graphiql

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
)

//go:embed assets/*.gz examples index.html explorer.js explorer.css
var files embed.FS

// policy lets the page load from and talk to its own hub alone. GraphiQL sets
// styles on elements and carries its fonts in its style sheet.
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src data:; " +
	"img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// asset is a file in the forms it is served in.
type asset struct {
	media       string
	plain, gzip []byte // gzip is nil for small files
}

// Handler serves the explorer under /graphiql.
type Handler struct {
	assets map[string]asset
}

// New makes the handler.
func New() (*Handler, error) {
	h := &Handler{assets: make(map[string]asset)}
	for name, media := range map[string]string{
		"index.html": "text/html", "explorer.js": "text/javascript", "explorer.css": "text/css",
		"graphiql.js": "text/javascript", "graphiql.css": "text/css", "react.js": "text/javascript", "react-dom.js": "text/javascript",
	} {
		one, err := load(name, media+"; charset=utf-8")
		if err != nil {
			return nil, fmt.Errorf("load %s: %w", name, err)
		}
		h.assets[name] = one
	}
	examples, err := Examples()
	if err != nil {
		return nil, fmt.Errorf("load examples: %w", err)
	}
	text, err := json.Marshal(examples)
	if err != nil {
		return nil, fmt.Errorf("load examples: %w", err)
	}
	h.assets["examples.json"] = asset{media: "application/json; charset=utf-8", plain: text}
	return h, nil
}

// Example is an operation that the page offers.
type Example struct {
	File      string `json:"file"` // that holds the query
	Query     string `json:"query"`
	Variables any    `json:"variables"`
	// Remember are paths into the answer, by the names under which the examples after
	// this one have what lies there in their variables: as <name>.
	Remember map[string][]string `json:"remember,omitempty"`
}

// Examples returns the operations that the page offers, in the order in which they
// are executed. Besides what they remember, <hub> stands for the URL of the hub.
func Examples() ([]Example, error) {
	var examples []Example
	text, err := files.ReadFile("examples/examples.json")
	if err == nil {
		err = json.Unmarshal(text, &examples)
	}
	for i := range examples {
		if err == nil {
			text, err = files.ReadFile("examples/" + examples[i].File)
			examples[i].Query = string(text)
		}
	}
	return examples, err
}

// load reads an embedded file, which may be stored compressed.
func load(name, media string) (asset, error) {
	if plain, err := files.ReadFile(name); err == nil {
		return asset{media: media, plain: plain}, nil
	}
	packed, err := files.ReadFile("assets/" + name + ".gz")
	if err != nil {
		return asset{}, err
	}
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return asset{}, err
	}
	plain, err := io.ReadAll(reader)
	return asset{media: media, plain: plain, gzip: packed}, err
}

// ServeHTTP serves the page and what it loads.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	name := path.Base(r.URL.Path)
	if trimmed := strings.TrimSuffix(r.URL.Path, "/"); trimmed == "/graphiql" || trimmed == "" {
		name = "index.html"
	}
	one, found := h.assets[name]
	if !found {
		http.NotFound(w, r)
		return
	}
	header := w.Header()
	header.Set("Content-Type", one.media)
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-cache")
	body := one.plain
	if one.gzip != nil {
		header.Set("Vary", "Accept-Encoding")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			header.Set("Content-Encoding", "gzip")
			body = one.gzip
		}
	}
	if r.Method == http.MethodHead {
		return
	}
	_, _ = w.Write(body) // the browser is gone if this fails
}
