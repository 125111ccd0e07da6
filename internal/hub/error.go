package hub

import (
	"errors"
	"strings"
	"time"
)

// Code is the stable name of what went wrong. Each protocol turns it into its
// own form: GraphQL into extensions.code, HTTP into a status and the code of a
// problem document.
type Code string

// The codes of the public contract.
const (
	CodeBadUserInput         Code = "BAD_USER_INPUT"
	CodeUnauthenticated      Code = "UNAUTHENTICATED"
	CodeForbidden            Code = "FORBIDDEN"
	CodeNotFound             Code = "NOT_FOUND"
	CodeConflict             Code = "CONFLICT"
	CodeParseFailed          Code = "GRAPHQL_PARSE_FAILED"
	CodeValidationFailed     Code = "GRAPHQL_VALIDATION_FAILED"
	CodeCostLimitExceeded    Code = "COST_LIMIT_EXCEEDED"
	CodeDepthLimitExceeded   Code = "DEPTH_LIMIT_EXCEEDED"
	CodeRateLimited          Code = "RATE_LIMITED"
	CodeCursorExpired        Code = "CURSOR_EXPIRED"
	CodeIntrospectionOff     Code = "INTROSPECTION_DISABLED"
	CodeOperationNotAllowed  Code = "OPERATION_NOT_ALLOWED"
	CodeDocumentNotFound     Code = "PERSISTED_QUERY_NOT_FOUND"
	CodeDocumentsOff         Code = "PERSISTED_QUERY_NOT_SUPPORTED"
	CodeTimeout              Code = "TIMEOUT"
	CodePayloadTooLarge      Code = "PAYLOAD_TOO_LARGE"
	CodeSignatureInvalid     Code = "SIGNATURE_INVALID"
	CodeSourcePaused         Code = "SOURCE_PAUSED"
	CodeMethodNotAllowed     Code = "METHOD_NOT_ALLOWED"
	CodeUnsupportedMediaType Code = "UNSUPPORTED_MEDIA_TYPE"
	CodeNotAcceptable        Code = "NOT_ACCEPTABLE"
	CodeUnavailable          Code = "UNAVAILABLE"
	CodeInternal             Code = "INTERNAL"
)

// Error is a failure that may be shown to the one who asked. Everything that is
// not an Error is internal: it is logged and shown as CodeInternal.
type Error struct {
	Code    Code
	Message string // a sentence for the one who asked: what was wrong, what to do
	// RetryAfter says when asking again makes sense; zero where it does not.
	RetryAfter time.Duration
	// Err is the cause, for the log alone.
	Err error
}

// NewError makes an Error that has no cause of its own.
func NewError(code Code, message string) *Error { return &Error{Code: code, Message: message} }

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of the first Error in err's chain, CodeInternal if
// there is none, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// ErrNotFound is returned where an ID or a name leads to nothing.
var ErrNotFound = NewError(CodeNotFound, "nothing was found under this ID")

// InputCode says what is wrong with one field of an input.
type InputCode string

// The codes of the contract's ErrorCode enum.
const (
	InputRequired      InputCode = "REQUIRED"
	InputInvalid       InputCode = "INVALID"
	InputNotFound      InputCode = "NOT_FOUND"
	InputConflict      InputCode = "CONFLICT"
	InputForbidden     InputCode = "FORBIDDEN"
	InputLimitExceeded InputCode = "LIMIT_EXCEEDED"
	InputUnreachable   InputCode = "UNREACHABLE"
)

// UserError says what is wrong with one field of an input and what to do.
type UserError struct {
	Code    InputCode
	Message string
	Field   []string // the path into the arguments, such as input, url
	// Line and Column point into an expression, from 1; zero where it is not about one.
	Line, Column int
}

// UserErrors is everything wrong with an input, found in one pass. It is an
// error so that it can be returned as one; a nil or empty list means all is well.
type UserErrors []UserError

func (e UserErrors) Error() string {
	parts := make([]string, len(e))
	for i, one := range e {
		parts[i] = strings.Join(one.Field, ".") + ": " + one.Message
	}
	return strings.Join(parts, "; ")
}

// Add appends what is wrong with the field at the given path.
func (e *UserErrors) Add(code InputCode, message string, field ...string) {
	*e = append(*e, UserError{Code: code, Message: message, Field: field})
}

// OrNil returns the list as an error, or nil if it is empty.
func (e UserErrors) OrNil() error {
	if len(e) == 0 {
		return nil
	}
	return e
}
