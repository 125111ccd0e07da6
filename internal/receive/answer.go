package receive

import (
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/problem"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

const (
	jsonType = "application/json"

	allowedMethods = "POST, PUT, PATCH"
	basicChallenge = `Basic realm="hookgraph", charset="UTF-8"`
)

// What an observer is told of requests that are not refused; of those that are, it
// is told the rejection's reason, or the code where there is no rejection.
const (
	resultAccepted  = "ACCEPTED"
	resultDuplicate = "DUPLICATE"
	resultHandshake = "HANDSHAKE"
	resultCaptured  = "CAPTURED"
)

// answer is what a sender gets.
type answer struct {
	status      int
	contentType string
	header      http.Header // what a handshake needs besides
	body        []byte
	retryAfter  time.Duration // 0: not said
	allow       string        // "": not said
	challenge   string        // "": not said
	result      string        // what became of the request, for the observer
}

func (a answer) write(w http.ResponseWriter) {
	h := w.Header()
	maps.Copy(h, a.header)
	if a.contentType != "" {
		h.Set("Content-Type", a.contentType)
	}
	if a.retryAfter > 0 {
		h.Set("Retry-After", problem.RetryAfter(a.retryAfter))
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
	hub.CodeRateLimited:      http.StatusTooManyRequests,
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
	hub.RejectedSchema:             hub.CodeBadUserInput,
	hub.RejectedSourcePaused:       hub.CodeSourcePaused,
	hub.RejectedMethod:             hub.CodeMethodNotAllowed,
}

// refused is the answer to a request refused for a reason.
func refused(src *hub.Source, reason hub.RejectionReason) answer {
	a := problemOf(codes[reason])
	a.result = string(reason)
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
		hub.RejectedBodyTooLarge, hub.RejectedBodyInvalid, hub.RejectedExtraction, hub.RejectedSchema, hub.RejectedRate, hub.RejectedCaptured:
	}
	return a
}

// problemOf is the RFC 9457 document of a code, and nothing more: which check a
// request failed is for the operator to know.
func problemOf(code hub.Code) answer {
	status := statuses[code]
	return answer{status: status, contentType: problem.MediaType, body: problem.Document(status, code, ""), result: string(code)}
}

// acknowledge is the answer to a request whose event is stored.
func acknowledge(src *hub.Source, receipt hub.Receipt) answer {
	result := resultAccepted
	if receipt.Duplicate {
		result = resultDuplicate
	}
	if a, own := ownAnswer(src, result); own {
		return a
	}
	body := make([]byte, 0, 64)
	body = append(body, `{"id":"`...)
	body = append(body, receipt.EventID...)
	body = append(body, `","duplicate":`...)
	body = strconv.AppendBool(body, receipt.Duplicate)
	body = append(body, '}')
	return answer{status: http.StatusOK, contentType: jsonType, body: body, result: result}
}

// acknowledgeCapture is the answer to a request that is captured.
func acknowledgeCapture(src *hub.Source) answer {
	if a, own := ownAnswer(src, resultCaptured); own {
		return a
	}
	return answer{status: http.StatusOK, contentType: jsonType, body: []byte(`{"captured":true}`), result: resultCaptured}
}

// ownAnswer is the answer that a source has of its own, if it has.
func ownAnswer(src *hub.Source, result string) (answer, bool) {
	if own := src.Response; own != (hub.SourceResponse{}) {
		status := own.Status
		if status < 200 || status > 299 { // anything else would make the sender repeat what is stored
			status = http.StatusOK
		}
		if own.Body == "" || status == http.StatusNoContent || status == http.StatusResetContent {
			return answer{status: status, result: result}, true
		}
		contentType := own.ContentType
		if contentType == "" {
			contentType = jsonType
		}
		return answer{status: status, contentType: contentType, body: []byte(own.Body), result: result}, true
	}
	return answer{}, false
}

// answerHandshake is the answer to a provider that asks whether this is ours.
func answerHandshake(h webhook.Answer) answer {
	return answer{status: h.Status, contentType: h.ContentType, header: h.Header, body: h.Body, result: resultHandshake}
}
