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

// MediaType is the media type of a problem document.
const MediaType = "application/problem+json"

// details is a problem document: the stable code and the HTTP status, and nothing
// that a stranger has no right to know. Its type is about:blank, which RFC 9457
// lets a document leave out.
type details struct {
	Title  string   `json:"title"`
	Status int      `json:"status"`
	Code   hub.Code `json:"code"`
	Detail string   `json:"detail,omitempty"`
}

// Document returns a problem document. Detail is a sentence on what was wrong;
// it is left out where it is empty.
func Document(status int, code hub.Code, detail string) []byte {
	text, err := json.Marshal(details{Title: http.StatusText(status), Status: status, Code: code, Detail: detail})
	if err != nil { // text and a number always encode
		return nil
	}
	return text
}

// Write answers with a problem document. A positive retryAfter is rounded up to
// whole seconds and sent as Retry-After.
func Write(w http.ResponseWriter, status int, code hub.Code, detail string, retryAfter time.Duration) {
	h := w.Header()
	h.Set("Content-Type", MediaType)
	h.Set("Cache-Control", "no-store")
	if retryAfter > 0 {
		h.Set("Retry-After", RetryAfter(retryAfter))
	}
	w.WriteHeader(status)
	_, _ = w.Write(Document(status, code, detail)) // whoever has hung up does not hear it
}

// RetryAfter returns a wait as the header Retry-After states it, in whole seconds
// and never too few.
func RetryAfter(wait time.Duration) string {
	return strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10)
}
