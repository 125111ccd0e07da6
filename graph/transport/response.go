package transport

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// The errors of one answer are bounded: a document of unknown fields would
// otherwise be answered by a multiple of its size, and a long value be repeated.
const (
	maxErrors       = 5
	maxMessageBytes = 1000
)

// encode returns an answer as it is sent.
func encode(response *graphql.Response) []byte {
	var b bytes.Buffer
	encodeTo(&b, response)
	return b.Bytes()
}

// encodeTo writes an answer. A request that was refused before execution has no
// data at all, not even null (GraphQL specification, 7.1).
func encodeTo(b *bytes.Buffer, response *graphql.Response) {
	b.Grow(len(response.Data) + 256)
	encoder := json.NewEncoder(b)
	encoder.SetEscapeHTML(false)
	separator := byte('{')
	member := func(name string, value any) {
		b.WriteByte(separator)
		separator = ','
		b.WriteString(name)
		_ = encoder.Encode(value) // errors and extensions are made of strings, numbers, maps and lists
		b.Truncate(b.Len() - 1)   // the encoder's newline
	}
	if len(response.Errors) > 0 {
		member(`"errors":`, capped(response.Errors))
	}
	if len(response.Data) > 0 {
		b.WriteByte(separator)
		separator = ','
		b.WriteString(`"data":`)
		b.Write(response.Data)
	}
	if len(response.Extensions) > 0 {
		member(`"extensions":`, response.Extensions)
	}
	if separator == '{' {
		b.WriteByte('{')
	}
	b.WriteByte('}')
}

// capped returns the first errors, with messages of bounded length.
func capped(errs gqlerror.List) gqlerror.List {
	out := make(gqlerror.List, 0, maxErrors)
	for _, err := range errs[:min(len(errs), maxErrors)] {
		if len(err.Message) > maxMessageBytes {
			shorter := *err
			shorter.Message = strings.ToValidUTF8(err.Message[:maxMessageBytes], "") + " …"
			err = &shorter
		}
		out = append(out, err)
	}
	return out
}

// errorList shows a hub.Error as GraphQL does.
func errorList(err *hub.Error) gqlerror.List {
	extensions := map[string]any{"code": string(err.Code)}
	if err.RetryAfter > 0 {
		extensions["retryAfter"] = retryAfter(err)
	}
	return gqlerror.List{{Message: err.Message, Extensions: extensions}}
}

// retryAfter is in whole seconds, at least one.
func retryAfter(err *hub.Error) int { return int(math.Ceil(max(err.RetryAfter.Seconds(), 1))) }

// refuse answers a request that is not executed.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, media string, status int, err *hub.Error) {
	h.refuseTelling(w, r, media, status, err, nil)
}

func (h *Handler) refuseTelling(
	w http.ResponseWriter, r *http.Request, media string, status int, err *hub.Error, extensions map[string]any,
) {
	if err.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter(err)))
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="hookgraph"`)
	}
	h.write(w, r, media, status, &graphql.Response{Errors: errorList(err), Extensions: extensions})
}

// refuseOperation answers an operation that has been charged and does not run. The answer
// tells what it cost.
func (h *Handler) refuseOperation(
	w http.ResponseWriter, r *http.Request, operation *graphql.OperationContext, media string, status int, err *hub.Error,
) {
	told := h.cfg.Executor.DispatchError(graphql.WithOperationContext(r.Context(), operation), nil)
	h.refuseTelling(w, r, media, status, err, told.Extensions)
}

// write sends a single answer.
func (h *Handler) write(w http.ResponseWriter, r *http.Request, media string, status int, response *graphql.Response) {
	if media != mediaGraphQL {
		media = mediaJSON
	}
	b := frames.Get().(*bytes.Buffer)
	defer keep(b)
	b.Reset()
	encodeTo(b, response)
	body := b.Bytes()
	w.Header().Set("Content-Type", media+"; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client is gone if this fails
	}
}

// statusOf maps the codes with which a request is refused to HTTP statuses.
func statusOf(code hub.Code) int {
	switch code {
	case hub.CodeUnauthenticated:
		return http.StatusUnauthorized
	case hub.CodeForbidden:
		return http.StatusForbidden
	case hub.CodeRateLimited:
		return http.StatusTooManyRequests
	case hub.CodeUnavailable:
		return http.StatusServiceUnavailable
	case hub.CodeInternal:
		return http.StatusInternalServerError
	default:
		return http.StatusBadRequest
	}
}

// list encodes errors as the payload of an error message.
func list(errs gqlerror.List) json.RawMessage {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(capped(errs)) // strings, numbers, maps and lists alone
	return bytes.TrimSpace(b.Bytes())
}

// asList makes any error one that the executor's presenter is asked to show.
func asList(err error) gqlerror.List {
	return gqlerror.List{gqlerror.Wrap(err)}
}
