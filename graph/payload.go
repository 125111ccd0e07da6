package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/theory/jsonpath"

	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/jsonpick"
)

const (
	maxPathLength = jsonpick.MaxLength
	cachedPaths   = 512
)

// payloadOf returns what an event carries, nil where it is not stored any more.
func payloadOf(ctx context.Context, e *model.Event) (*hub.Payload, error) {
	if carried := e.Payload; carried != nil {
		return carried, nil // streams read events with their payloads
	}
	return loader.FromContext(ctx).Payload(ctx, e.Siblings, e.ID)
}

func newPaths() (*lru.Cache[string, *jsonpath.Path], error) {
	paths, err := lru.New[string, *jsonpath.Path](cachedPaths)
	if err != nil {
		return nil, fmt.Errorf("make path cache: %w", err)
	}
	return paths, nil
}

// path reads an RFC 9535 path, nil for none.
func (r *Resolver) path(text *string) (*jsonpath.Path, error) {
	if text == nil {
		return nil, nil
	}
	if known, ok := r.paths.Get(*text); ok {
		return known, nil
	}
	if len(*text) > maxPathLength {
		return nil, hub.NewError(hub.CodeBadUserInput, fmt.Sprintf("a path has at most %d characters", maxPathLength))
	}
	path, err := jsonpath.Parse(*text)
	if err != nil {
		return nil, hub.NewError(hub.CodeBadUserInput, "the path is not an RFC 9535 path: "+reasonOf(err))
	}
	if !jsonpick.Modest(path) {
		return nil, hub.NewError(hub.CodeBadUserInput,
			"the path visits too much: use .. once and outside of filters, ? twice and without $, and few selectors in brackets")
	}
	r.paths.Add(*text, path)
	return path, nil
}

// reasonOf is what a path's error says without the library's prefix.
func reasonOf(err error) string {
	_, reason, found := strings.Cut(err.Error(), ": ")
	if !found {
		return err.Error()
	}
	return reason
}

// selected returns a body as JSON, or what a path selects in it; nil where the
// body is not JSON.
func selected(body []byte, path *jsonpath.Path, decode func([]byte) (any, bool)) (model.JSON, error) {
	if !utf8.Valid(body) { // RFC 8259, section 8.1
		return nil, nil
	}
	if path == nil {
		var compact bytes.Buffer
		if !json.Valid(body) {
			return nil, nil
		}
		err := json.Compact(&compact, body)
		return model.JSON(compact.Bytes()), err
	}
	whole, ok := decode(body)
	if !ok {
		return nil, nil
	}
	found := path.Select(whole)
	if path.Query().Singular() == nil {
		return model.NewJSON([]any(found))
	}
	if len(found) == 0 {
		return nil, nil
	}
	return model.NewJSON(found[0])
}

// decoded returns a body as a value whose numbers keep their digits, and false
// where it is not JSON.
func decoded(body []byte) (value any, ok bool) {
	if !json.Valid(body) {
		return nil, false
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	err := decoder.Decode(&value)
	return value, err == nil
}
