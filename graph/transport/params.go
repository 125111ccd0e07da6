package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// request is what a client sends to have an operation executed.
type request struct {
	graphql.RawParams
	documentID string // of a persisted document, instead of a query
	size       int    // in bytes, as it was sent
}

type documentIDKey struct{}

// DocumentID returns the parameter documentId of the request whose operation is being
// prepared, "" where there is none.
func DocumentID(ctx context.Context) string {
	id, _ := ctx.Value(documentIDKey{}).(string)
	return id
}

// Size returns how many bytes the request has whose operation is being prepared.
func Size(ctx context.Context) int {
	size, _ := ctx.Value(sizeKey{}).(int)
	return size
}

type sizeKey struct{}

// prepare makes a request executable, in a turn where its document is not known.
func (h *Handler) prepare(ctx context.Context, params *request, turn *turn) (*graphql.OperationContext, gqlerror.List) {
	if params.Query != "" && !h.cfg.Executor.Known(params.Query) {
		if refused, told := turn.take(ctx, hub.ViewerFromContext(ctx)); refused != nil {
			operation, errs := &graphql.OperationContext{}, errorList(refused)
			for name, value := range told {
				operation.Stats.SetExtension(name, value)
				errs[0].Extensions[name] = value // an error message of a WebSocket has no other place for it
			}
			return operation, errs
		}
	}
	defer turn.end()
	ctx = context.WithValue(context.WithValue(ctx, documentIDKey{}, params.documentID), sizeKey{}, params.size)
	return h.cfg.Executor.CreateOperationContext(ctx, &params.RawParams)
}

// refusal is why a request is not executed.
type refusal struct {
	*hub.Error
	status int
	size   int            // bytes that had to be read to know
	told   map[string]any // by the answer in its extensions; nil where that is to be found out by its size
}

// readParams reads the operation of a request, a large one in a turn.
func (h *Handler) readParams(w http.ResponseWriter, r *http.Request, viewer *hub.Viewer, turn *turn) (*request, *refusal) {
	size := len(r.URL.RawQuery)
	var body *bytes.Buffer
	if r.Method != http.MethodGet {
		if r.ContentLength < 0 || r.ContentLength >= largeBytes { // what is large waits unread
			if refused, told := turn.await(r.Context(), viewer); refused != nil {
				return nil, &refusal{refused, statusOf(refused.Code), 0, told}
			}
		}
		body, _ = bodies.Get().(*bytes.Buffer)
		defer func() {
			if body.Cap() <= maxPooledBody {
				body.Reset()
				bodies.Put(body)
			}
		}()
		if status, refused := h.readBody(w, r, body); refused != nil {
			return nil, &refusal{refused, status, body.Len(), nil}
		}
		size = body.Len()
	}
	if size >= largeBytes {
		if refused, told := turn.take(r.Context(), viewer); refused != nil {
			return nil, &refusal{refused, statusOf(refused.Code), size, told}
		}
	}
	var params *request
	var refused *hub.Error
	if r.Method == http.MethodGet {
		params, refused = fromQuery(r.URL.RawQuery)
	} else {
		params, refused = fromBody(body.Bytes())
	}
	if refused != nil {
		return nil, &refusal{refused, http.StatusBadRequest, size, nil}
	}
	params.size = size
	return params, nil
}

// bodies are buffers for the bodies of requests, of which nothing is kept.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxPooledBody is the largest buffer that is kept for another body: of the largest body
// that is read, with room for reading to its end.
const maxPooledBody = 2<<20 + 2*bytes.MinRead

func fromQuery(query string) (*request, *hub.Error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, hub.NewError(hub.CodeBadUserInput, "the query string is malformed")
	}
	members := make(map[string]json.RawMessage)
	for _, name := range []string{"query", "documentId", "operationName"} {
		if values.Has(name) {
			members[name], _ = json.Marshal(values.Get(name))
		}
	}
	for _, name := range []string{"variables", "extensions"} {
		if value := values.Get(name); value != "" {
			members[name] = json.RawMessage(value)
		}
	}
	return paramsOf(members)
}

// readBody reads the body of a POST. The error comes with its status.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request, body *bytes.Buffer) (int, *hub.Error) {
	media, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset, ok := parameters["charset"]
	if err != nil || media != mediaJSON || ok && !strings.EqualFold(charset, "utf-8") {
		return http.StatusUnsupportedMediaType,
			hub.NewError(hub.CodeUnsupportedMediaType, "the Content-Type must be application/json in UTF-8")
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return http.StatusUnsupportedMediaType,
			hub.NewError(hub.CodeUnsupportedMediaType, "the body must not be compressed")
	}
	if r.ContentLength > h.cfg.MaxBodyBytes {
		return http.StatusRequestEntityTooLarge, h.tooLarge()
	}
	body.Grow(int(min(max(r.ContentLength, 0), 64<<10)) + bytes.MinRead) // more once more has come
	if _, err = body.ReadFrom(http.MaxBytesReader(w, r.Body, h.cfg.MaxBodyBytes)); err != nil {
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			return http.StatusRequestEntityTooLarge, h.tooLarge()
		}
		return http.StatusBadRequest, hub.NewError(hub.CodeBadUserInput, "the body could not be read to its end")
	}
	return 0, nil
}

func (h *Handler) tooLarge() *hub.Error {
	return hub.NewError(hub.CodePayloadTooLarge, fmt.Sprintf("the body is larger than %d bytes", h.cfg.MaxBodyBytes))
}

func fromBody(body []byte) (*request, *hub.Error) {
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '[' {
		return nil,
			hub.NewError(hub.CodeBadUserInput, "batches are not supported: send one operation per request")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return nil, hub.NewError(hub.CodeBadUserInput, "the body must be a JSON object")
	}
	return paramsOf(members)
}

// decode reads a member. Numbers in variables keep every digit, and nothing may follow.
func decode(value []byte, target any) error {
	if _, text := target.(**string); text {
		return json.Unmarshal(value, target)
	}
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.UseNumber()
	if err := decoder.Decode(target); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the value")
	}
	return nil
}

// maxValues bounds the JSON values in one member of a request. Each of them takes many
// times the memory and time that its few bytes suggest.
const maxValues = 100_000

// countValues counts the values in JSON, and what stands between them in text that is
// none, without decoding it.
func countValues(text []byte) int {
	count, quoted := 1, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == '[' || c == '{'):
			count++
		}
	}
	return count
}

// paramsOf reads the members of a request by the rules of GraphQL over HTTP.
// Messages never repeat what was sent.
func paramsOf(members map[string]json.RawMessage) (*request, *hub.Error) {
	params := &request{}
	var query, documentID, operationName *string
	for name, target := range map[string]any{
		"query": &query, "documentId": &documentID, "operationName": &operationName,
		"variables": &params.Variables, "extensions": &params.Extensions,
	} {
		value, given := members[name]
		if !given {
			continue
		}
		if values := countValues(value); values > maxValues {
			return nil, hub.NewError(hub.CodeBadUserInput,
				fmt.Sprintf("%s holds about %d JSON values: send at most %d in one request", name, values, maxValues))
		}
		if decode(value, target) != nil {
			kind := "a string"
			if name == "variables" || name == "extensions" {
				kind = "a JSON object"
			}
			return nil, hub.NewError(hub.CodeBadUserInput, name+" must be "+kind)
		}
	}
	if query != nil {
		params.Query = *query
	}
	if documentID != nil {
		params.documentID = *documentID
	}
	if params.Query == "" && params.documentID == "" && params.Extensions["persistedQuery"] == nil {
		return nil, hub.NewError(hub.CodeBadUserInput, "query is missing")
	}
	if operationName != nil {
		params.OperationName = *operationName
	}
	if params.Variables == nil {
		params.Variables = map[string]any{}
	}
	return params, nil
}
