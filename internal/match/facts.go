package match

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/url"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Inbound is a request as a source's expressions see it. Its body is decoded
// when it is first asked for, and only once: it is for one goroutine at a time
// and must not be changed once in use.
type Inbound struct {
	Headers     []hub.Header
	Query       url.Values
	Body        []byte
	ContentType string

	decoded, parsed bool
	value           any
	headers, query  ref.Val
}

// Value is the body as expressions see it: what its JSON holds, with integers
// that fit as int64 and other numbers as float64; the first value of each field
// of a form; nil for everything else.
func (in *Inbound) Value() any {
	if !in.decoded {
		in.value, in.decoded = decodeBody(in.Body, in.ContentType), true
	}
	return in.value
}

// ResolveName gives CEL its variables.
func (in *Inbound) ResolveName(name string) (any, bool) {
	switch name {
	case "body":
		return in.Value(), true
	case "headers":
		if in.headers == nil {
			in.headers = types.NewStringStringMap(types.DefaultTypeAdapter, foldHeaders(in.Headers))
		}
		return in.headers, true
	case "query":
		if in.query == nil {
			in.query = types.NewStringStringMap(types.DefaultTypeAdapter, firstValues(in.Query))
		}
		return in.query, true
	case "raw":
		return types.Bytes(in.Body), true
	}
	return nil, false
}

// Parent makes an Inbound a whole activation by itself.
func (in *Inbound) Parent() cel.Activation { return nil }

// facts is an event as expressions see it.
type facts struct {
	event   *hub.Event
	slug    string
	inbound *Inbound
}

func newFacts(ev *hub.Event, slug string) *facts {
	f := &facts{event: ev, slug: slug, inbound: &Inbound{ContentType: ev.ContentType}}
	if p := ev.Payload; p != nil {
		f.inbound.Headers, f.inbound.Body = p.Headers, p.Body
	}
	return f
}

// ResolveName gives CEL its variables.
func (f *facts) ResolveName(name string) (any, bool) {
	switch name {
	case "event":
		return eventValue{f}, true
	case "query":
		if f.inbound.query == nil && !f.inbound.parsed && f.event.Payload != nil {
			// What cannot be parsed is left out, as net/http does it.
			f.inbound.Query, _ = url.ParseQuery(f.event.Payload.Query)
			f.inbound.parsed = true
		}
	}
	return f.inbound.ResolveName(name)
}

// Parent makes facts a whole activation by themselves.
func (f *facts) Parent() cel.Activation { return nil }

// foldHeaders gives names in lower case and joins repeated values as RFC 9110,
// section 5.3, does.
func foldHeaders(headers []hub.Header) map[string]string {
	out := make(map[string]string, len(headers))
	for _, h := range headers {
		name := strings.ToLower(h.Name)
		if before, repeated := out[name]; repeated {
			out[name] = before + ", " + h.Value
		} else {
			out[name] = h.Value
		}
	}
	return out
}

func firstValues(values url.Values) map[string]string {
	out := make(map[string]string, len(values))
	for name, v := range values {
		if len(v) > 0 {
			out[name] = v[0]
		}
	}
	return out
}

// decodeBody goes by what the body is rather than by what it is called: JSON is
// often sent as text/plain, and curl calls everything a form.
func decodeBody(body []byte, contentType string) any {
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	if len(trimmed) == 0 {
		return nil
	}
	form := isForm(contentType)
	if !form || trimmed[0] == '{' || trimmed[0] == '[' {
		if value, ok := decodeJSON(trimmed); ok {
			return value
		}
	}
	if !form {
		return nil
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil
	}
	out := make(map[string]any, len(values))
	for name, v := range values {
		out[name] = v[0]
	}
	return out
}

func isForm(contentType string) bool {
	if contentType == "application/x-www-form-urlencoded" {
		return true
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && mediaType == "application/x-www-form-urlencoded"
}

func decodeJSON(body []byte) (any, bool) {
	switch body[0] {
	case '{', '[', '"', 't', 'f', 'n', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
	default:
		return nil, false
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return nil, false
	}
	if len(bytes.TrimLeft(body[decoder.InputOffset():], " \t\r\n")) > 0 {
		return nil, false
	}
	return settleNumbers(value), true
}

// settleNumbers turns each number into an int64 if it is an integer that fits,
// else into a float64, infinite where it is beyond even that.
func settleNumbers(value any) any {
	switch v := value.(type) {
	case json.Number:
		if i, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return i
		}
		f, _ := strconv.ParseFloat(string(v), 64)
		return f
	case map[string]any:
		for name, inner := range v {
			switch inner.(type) {
			case json.Number, map[string]any, []any:
				v[name] = settleNumbers(inner)
			}
		}
	case []any:
		for i, inner := range v {
			v[i] = settleNumbers(inner)
		}
	}
	return value
}
