package poll

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/jsonpick"
)

// maxItems bounds the items of one answer.
const maxItems = 10_000

// document is an answer in which places are looked up.
type document struct{ *jsonpick.Document }

// read reads an answer. What is wrong with one that is not JSON is told by its headers
// and its length, without anything of the body.
func read(header http.Header, body []byte) (document, error) {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	if d, ok := jsonpick.Read(body); ok {
		return document{d}, nil
	}
	if encoding := header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return document{}, errors.New("the answer is compressed or encoded otherwise (Content-Encoding), although the hub asks for it plain")
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return document{}, errors.New("the answer is empty; one without items is [] or has the status 204")
	}
	var syntax *json.SyntaxError
	if errors.As(json.Unmarshal(body, new(json.RawMessage)), &syntax) && syntax.Offset >= int64(len(body)) {
		return document{}, fmt.Errorf("the answer is not JSON: it breaks off after %d bytes", len(body))
	}
	if kind, _, err := mime.ParseMediaType(header.Get("Content-Type")); err == nil && len(kind) <= maxMediaType && !strings.HasSuffix(kind, "json") {
		return document{}, errors.New("the answer is not JSON, but says that it is " + kind)
	}
	return document{}, errors.New("the answer is not JSON")
}

// maxMediaType is how much of what an answer says of itself is told, in bytes.
const maxMediaType = 100

// errNoList is what is wrong with an answer whose elements are the items because nobody has
// said where the items are.
var errNoList = errors.New("the answer is no list; say with items where the items are, as in $.data[*], or $.* for the values of an object")

// items returns the items that a path selects, each as it is written.
func (d document) items(path *jsonpick.Path) ([]gjson.Result, error) {
	found := d.Pick(path)
	if len(found) > maxItems {
		return nil, fmt.Errorf("the answer has %d items; at most %d are read at once: ask for smaller pages", len(found), maxItems)
	}
	items := make([]gjson.Result, len(found))
	for i, raw := range found {
		items[i] = gjson.ParseBytes(raw)
	}
	return items, nil
}

// first returns the first value that a path selects; one that does not exist where there
// is none.
func (d document) first(path *jsonpick.Path) gjson.Result {
	if found := d.Pick(path); len(found) > 0 {
		return gjson.ParseBytes(found[0])
	}
	return gjson.Result{}
}

// text returns the first string or number that a path selects, "" where that is null,
// false or not there.
func (d document) text(path *jsonpick.Path) string {
	switch value := d.first(path); value.Type {
	case gjson.String:
		return value.Str
	case gjson.Number:
		return value.Raw
	case gjson.Null, gjson.False, gjson.True, gjson.JSON:
	}
	return ""
}

// The paths of the hub's own.
var (
	everyElement   = jsonpick.MustParse(hub.DefaultPollItems)
	everyDatum     = jsonpick.MustParse("$.data[*]")
	hasMore        = jsonpick.MustParse("$.has_more")
	requestPayload = jsonpick.MustParse("$.request.payload")
	requestHeaders = jsonpick.MustParse("$.request.headers")
)
