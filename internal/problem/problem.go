// Package problem writes RFC 9457 problem details, the form of every error that
// leaves over plain HTTP.
package problem

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Details is a problem document. It says the stable code and the HTTP status,
// and nothing that a stranger has no right to know.
type Details struct {
	Type   string   `json:"type"`
	Title  string   `json:"title"`
	Status int      `json:"status"`
	Code   hub.Code `json:"code"`
	// Detail is for callers that have proved who they are; empty for all others.
	Detail string `json:"detail,omitempty"`
}

// Write answers with a problem document. A positive retryAfter is rounded up to
// whole seconds and sent as Retry-After.
func Write(w http.ResponseWriter, status int, code hub.Code, detail string, retryAfter time.Duration) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if retryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((retryAfter+time.Second-1)/time.Second), 10))
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Details{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail,
	}) // the client is gone if this fails
}
