package receive

import (
	"net/http"
	"strconv"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

const (
	problemType = "application/problem+json"
	jsonType    = "application/json"

	allowedMethods = "POST, PUT, PATCH"
	basicChallenge = `Basic realm="hookgraph", charset="UTF-8"`
)

// answer is what a sender gets.
type answer struct {
	status      int
	contentType string
	body        []byte
	retryAfter  time.Duration // 0: not said
	allow       string        // "": not said
	challenge   string        // "": not said
}

func (a answer) write(w http.ResponseWriter) {
	h := w.Header()
	if a.contentType != "" {
		h.Set("Content-Type", a.contentType)
	}
	if a.retryAfter > 0 {
		seconds := (a.retryAfter + time.Second - 1) / time.Second
		h.Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	if a.allow != "" {
		h.Set("Allow", a.allow)
	}
	if a.challenge != "" {
		h.Set("WWW-Authenticate", a.challenge)
	}
	w.WriteHeader(a.status)
	if len(a.body) > 0 {
		_, _ = w.Write(a.body) // whoever has hung up does not hear it
	}
}

func (a answer) after(wait time.Duration) answer {
	a.retryAfter = wait
	return a
}

// statuses are the HTTP statuses of the codes that senders meet.
var statuses = map[hub.Code]int{
	hub.CodeSignatureInvalid: http.StatusUnauthorized,
	hub.CodeUnauthenticated:  http.StatusUnauthorized,
	hub.CodeForbidden:        http.StatusForbidden,
	hub.CodeNotFound:         http.StatusNotFound,
	hub.CodeMethodNotAllowed: http.StatusMethodNotAllowed,
	hub.CodeTimeout:          http.StatusRequestTimeout,
	hub.CodePayloadTooLarge:  http.StatusRequestEntityTooLarge,
	hub.CodeBadUserInput:     http.StatusUnprocessableEntity,
	hub.CodeSourcePaused:     http.StatusServiceUnavailable,
	hub.CodeUnavailable:      http.StatusServiceUnavailable,
}

// codes are what senders are told of the reasons for which they are refused.
var codes = map[hub.RejectionReason]hub.Code{
	hub.RejectedSignatureMissing:   hub.CodeSignatureInvalid,
	hub.RejectedSignatureInvalid:   hub.CodeSignatureInvalid,
	hub.RejectedTimestamp:          hub.CodeSignatureInvalid,
	hub.RejectedCredentialsInvalid: hub.CodeUnauthenticated,
	hub.RejectedNetwork:            hub.CodeForbidden,
	hub.RejectedBodyTooLarge:       hub.CodePayloadTooLarge,
	hub.RejectedBodyInvalid:        hub.CodeBadUserInput,
	hub.RejectedExtraction:         hub.CodeBadUserInput,
	hub.RejectedSourcePaused:       hub.CodeSourcePaused,
	hub.RejectedMethod:             hub.CodeMethodNotAllowed,
}

// refused is the answer to a request refused for a reason.
func refused(src *hub.Source, reason hub.RejectionReason) answer {
	a := problem(codes[reason])
	switch reason {
	case hub.RejectedMethod:
		a.allow = allowedMethods
	case hub.RejectedSourcePaused:
		a.retryAfter = pausedRetryAfter
	case hub.RejectedCredentialsInvalid:
		if src.Verification != nil && src.Verification.Basic != nil {
			a.challenge = basicChallenge // some senders give credentials only when asked
		}
	case hub.RejectedSignatureMissing, hub.RejectedSignatureInvalid, hub.RejectedTimestamp, hub.RejectedNetwork,
		hub.RejectedBodyTooLarge, hub.RejectedBodyInvalid, hub.RejectedExtraction:
	}
	return a
}

// problem is the RFC 9457 document of a code, and nothing more: which check a
// request failed is for the operator to know.
func problem(code hub.Code) answer {
	status := statuses[code]
	body := make([]byte, 0, 96)
	body = append(body, `{"status":`...)
	body = strconv.AppendInt(body, int64(status), 10)
	body = append(body, `,"title":"`...)
	body = append(body, http.StatusText(status)...)
	body = append(body, `","code":"`...)
	body = append(body, code...)
	body = append(body, `"}`...)
	return answer{status: status, contentType: problemType, body: body}
}

// acknowledge is the answer to a request whose event is stored.
func acknowledge(src *hub.Source, receipt hub.Receipt) answer {
	if own := src.Response; own != (hub.SourceResponse{}) {
		status := own.Status
		if status < 200 || status > 299 { // anything else would make the sender repeat what is stored
			status = http.StatusOK
		}
		if own.Body == "" || status == http.StatusNoContent || status == http.StatusResetContent {
			return answer{status: status}
		}
		contentType := own.ContentType
		if contentType == "" {
			contentType = jsonType
		}
		return answer{status: status, contentType: contentType, body: []byte(own.Body)}
	}
	body := make([]byte, 0, 64)
	body = append(body, `{"id":"`...)
	body = append(body, receipt.EventID...)
	body = append(body, `","duplicate":`...)
	body = strconv.AppendBool(body, receipt.Duplicate)
	body = append(body, '}')
	return answer{status: http.StatusOK, contentType: jsonType, body: body}
}

// answerHandshake is the answer to a provider that asks whether this is ours.
func answerHandshake(h webhook.Answer) answer {
	return answer{status: h.Status, contentType: h.ContentType, body: h.Body}
}
