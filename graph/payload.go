package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/theory/jsonpath"

	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Bounds of a path. A path visits each value of a body as often as its
// descendant segments and its lists of selectors multiply.
const (
	maxPathLength    = 1000
	maxPathDescents  = 1
	maxPathFilters   = 2
	maxPathSelectors = 16 // the product over all segments
	cachedPaths      = 512
)

// payloadOf returns what an event carries, nil where it is not stored any more.
func payloadOf(ctx context.Context, e *model.Event) (*hub.Payload, error) {
	if carried := e.Payload; carried != nil {
		return carried, nil // streams read events with their payloads
	}
	return loader.FromContext(ctx).Payload(ctx, e.Siblings, e.ID)
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
	if !modest(path) {
		return nil, hub.NewError(hub.CodeBadUserInput,
			"the path visits too much: use .. once and outside of filters, ? twice and without $, and few selectors in brackets")
	}
	r.paths.Add(*text, path)
	return path, nil
}

// modest reports whether a path visits each value of a body a bounded number of
// times: once for each of its few descents and lists of selectors, and not again
// for every value that a filter looks at.
func modest(path *jsonpath.Path) bool {
	selectors := 1
	for _, segment := range path.Query().Segments() {
		if selectors *= max(1, len(segment.Selectors())); selectors > maxPathSelectors {
			return false
		}
	}
	bare := withoutStrings(path.String())
	outside, inside, _ := strings.Cut(bare, "?")
	return strings.Count(outside, "..") <= maxPathDescents && strings.Count(bare, "?") <= maxPathFilters &&
		!strings.Contains(inside, "..") && !strings.Contains(inside, "$")
}

// withoutStrings drops string literals and quoted names.
func withoutStrings(text string) string {
	var bare strings.Builder
	var quote byte
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0 && c == '\\':
			i++ // whatever is escaped is part of the string
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		default:
			bare.WriteByte(c)
		}
	}
	return bare.String()
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
func selected(body []byte, path *jsonpath.Path) (model.JSON, error) {
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
	whole, ok := decoded(body)
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
