package hub

import "time"

// RejectionReason names the check that an inbound request failed.
type RejectionReason string

// The reasons for which a request is refused.
const (
	RejectedSignatureMissing   RejectionReason = "SIGNATURE_MISSING"
	RejectedSignatureInvalid   RejectionReason = "SIGNATURE_INVALID"
	RejectedTimestamp          RejectionReason = "TIMESTAMP_OUT_OF_TOLERANCE"
	RejectedCredentialsInvalid RejectionReason = "CREDENTIALS_INVALID"
	RejectedNetwork            RejectionReason = "NETWORK_NOT_ALLOWED"
	RejectedBodyTooLarge       RejectionReason = "BODY_TOO_LARGE"
	RejectedBodyInvalid        RejectionReason = "BODY_INVALID"
	RejectedExtraction         RejectionReason = "EXTRACTION_FAILED"
	RejectedSourcePaused       RejectionReason = "SOURCE_PAUSED"
	RejectedMethod             RejectionReason = "METHOD_NOT_ALLOWED"
	RejectedSchema             RejectionReason = "SCHEMA_MISMATCH"
	RejectedRate               RejectionReason = "RATE_LIMITED"
	RejectedCaptured           RejectionReason = "CAPTURED" // not refused: kept so that its structure can be learned
)

// What is kept of refused requests, for each source; the oldest go first.
const (
	MaxRejections         = 1000
	MaxRejectionBytes     = 16 << 20
	MaxRejectionBodyBytes = 64 << 10
)

// Rejection is an inbound request that was refused.
type Rejection struct {
	ID       string
	SourceID string
	Reason   RejectionReason
	Detail   string // which check failed and what to do about it
	Method   string
	Headers  []Header // redacted
	Body     []byte   // the first MaxRejectionBodyBytes of what was read
	// ReceivedAt is when the request came in.
	ReceivedAt time.Time
	// Requests is by how many the statistics go up; 0 stands for one. What is rejected
	// again under its ID is told anew, so that one rejection can stand for a flood.
	Requests int
}
