package transport

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/99designs/gqlgen/graphql"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// readParams reads the operation of a request. The error carries its status.
func (h *Handler) readParams(w http.ResponseWriter, r *http.Request) (*graphql.RawParams, int, *hub.Error) {
	if r.Method == http.MethodGet {
		values, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return nil, http.StatusBadRequest, hub.NewError(hub.CodeBadUserInput, "the query string is malformed")
		}
		members := make(map[string]json.RawMessage)
		for _, name := range []string{"query", "operationName"} {
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

	media, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset, ok := parameters["charset"]
	if err != nil || media != mediaJSON || ok && !strings.EqualFold(charset, "utf-8") {
		return nil, http.StatusUnsupportedMediaType,
			hub.NewError(hub.CodeUnsupportedMediaType, "the Content-Type must be application/json in UTF-8")
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, http.StatusUnsupportedMediaType,
			hub.NewError(hub.CodeUnsupportedMediaType, "the body must not be compressed")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.cfg.MaxBodyBytes))
	if err != nil {
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			return nil, http.StatusRequestEntityTooLarge, hub.NewError(hub.CodePayloadTooLarge,
				fmt.Sprintf("the body is larger than %d bytes", h.cfg.MaxBodyBytes))
		}
		return nil, http.StatusBadRequest, hub.NewError(hub.CodeBadUserInput, "the body could not be read to its end")
	}
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '[' {
		return nil, http.StatusBadRequest,
			hub.NewError(hub.CodeBadUserInput, "batches are not supported: send one operation per request")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return nil, http.StatusBadRequest, hub.NewError(hub.CodeBadUserInput, "the body must be a JSON object")
	}
	return paramsOf(members)
}

// paramsOf reads the members of a request by the rules of GraphQL over HTTP.
// Messages never repeat what was sent.
func paramsOf(members map[string]json.RawMessage) (*graphql.RawParams, int, *hub.Error) {
	params := &graphql.RawParams{}
	var query, operationName *string
	for name, target := range map[string]any{
		"query": &query, "operationName": &operationName,
		"variables": &params.Variables, "extensions": &params.Extensions,
	} {
		value, given := members[name]
		if !given {
			continue
		}
		decoder := json.NewDecoder(bytes.NewReader(value))
		decoder.UseNumber() // variables keep every digit
		if !json.Valid(value) || decoder.Decode(target) != nil {
			kind := "a string"
			if name == "variables" || name == "extensions" {
				kind = "a JSON object"
			}
			return nil, http.StatusBadRequest, hub.NewError(hub.CodeBadUserInput, name+" must be "+kind)
		}
	}
	if query == nil || *query == "" {
		return nil, http.StatusBadRequest, hub.NewError(hub.CodeBadUserInput, "query is missing")
	}
	params.Query = *query
	if operationName != nil {
		params.OperationName = *operationName
	}
	if params.Variables == nil {
		params.Variables = map[string]any{}
	}
	return params, 0, nil
}
