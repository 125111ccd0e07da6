package deliver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hookgraph/hookgraph/internal/credential"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/outbound"
)

// errStopping is the cause with which running attempts are cut off.
var errStopping = errors.New("the hub is stopping")

// answered classifies a status. What the body does afterwards changes nothing.
func answered(status int) (hub.AttemptOutcome, string) {
	if status >= 200 && status <= 299 {
		return hub.AttemptSucceeded, ""
	}
	text := "the endpoint answered " + strconv.Itoa(status)
	if name := http.StatusText(status); name != "" {
		text += " " + name
	}
	switch {
	case status >= 300 && status <= 399:
		text += "; redirects are not followed"
	case status == http.StatusGone:
		text += ", which disables it"
	}
	return hub.AttemptRefused, text
}

// failed classifies an attempt that had no answer. base is the context that all
// attempts share, ctx the attempt's own. The text is for people: it names what
// they can act on and neither addresses nor the hub's insides.
func failed(base, ctx context.Context, err error, timeout time.Duration) (hub.AttemptOutcome, string) {
	var blocked *outbound.BlockedError
	switch {
	case base.Err() != nil:
		return hub.AttemptInterrupted, "the hub stopped before an answer came; the attempt is repeated"
	case ctx.Err() != nil:
		return hub.AttemptTimedOut, "no answer came within " + timeout.String()
	case errors.As(err, &blocked):
		return hub.AttemptAddressBlocked, blocked.Error()
	}
	if text, ok := tlsFailure(err); ok {
		return hub.AttemptTLSFailed, text
	}
	var timed net.Error
	if errors.As(err, &timed) && timed.Timeout() {
		return hub.AttemptTimedOut, "no connection could be made in time"
	}
	return hub.AttemptConnectionFailed, connectionFailure(err)
}

// unauthorized classifies an attempt that had no credential to be made with.
func unauthorized(base, ctx context.Context, err error, timeout time.Duration) (hub.AttemptOutcome, string) {
	var of *credential.Error
	switch {
	case base.Err() != nil:
		return failed(base, ctx, err, timeout)
	case !errors.As(err, &of):
		return hub.AttemptConnectionFailed, "the endpoint's credential cannot be used"
	case of.Blocked:
		return hub.AttemptAddressBlocked, of.Message
	case of.Timeout:
		return hub.AttemptTimedOut, of.Message
	}
	return hub.AttemptConnectionFailed, of.Message
}

// aboutOurs are what an endpoint can say about the certificate that it was shown or was
// not, by the names of its alerts, for which there are no types.
var aboutOurs = map[string]string{
	"tls: unknown certificate authority": "the endpoint does not know the authority that signed the client certificate it was shown",
	"tls: expired certificate":           "the endpoint refused the client certificate it was shown: it has expired or is not valid yet",
	"tls: revoked certificate":           "the endpoint refused the client certificate it was shown: it was revoked",
	"tls: certificate required":          "the endpoint wants to be shown a client certificate: give the endpoint one as auth.mtls",
	"tls: bad certificate":               "the endpoint refused the client certificate it was shown, or wants to be shown one",
	"tls: unsupported certificate":       "the endpoint refused the client certificate it was shown: it does not support its kind",
	"tls: unknown certificate":           "the endpoint refused the client certificate it was shown",
	"tls: handshake failure":             "no secure connection could be agreed on; TLS 1.2 or later is required, and perhaps a client certificate",
	"tls: access denied":                 "the endpoint refused whoever the client certificate names",
}

func tlsFailure(err error) (string, bool) {
	var (
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		op        *net.OpError
	)
	switch {
	case errors.As(err, &host):
		return "the endpoint's certificate is for another host name", true
	case errors.As(err, &authority):
		return "the endpoint's certificate is signed by an unknown authority", true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the endpoint's certificate has expired or is not valid yet", true
	case errors.As(err, &invalid), errors.As(err, &verify):
		return "the endpoint's certificate is not valid", true
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "the endpoint does not speak TLS; is its URL meant to be http:// ?", true
	case errors.As(err, &op) && op.Op == "remote error" && aboutOurs[op.Err.Error()] != "":
		return aboutOurs[op.Err.Error()], true
	case errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"), strings.HasPrefix(err.Error(), "tls: "):
		return "no secure connection could be agreed on; TLS 1.2 or later is required", true
	}
	return "", false
}

func connectionFailure(err error) string {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "the host name does not exist"
	case errors.As(err, &dns):
		return "the host name could not be resolved"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "the host is unreachable"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "the hub has no free sockets"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the connection was reset before an answer came"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed before an answer came"
	}
	// The transport has no types for these.
	text := err.Error()
	switch {
	case strings.Contains(text, "response headers exceeded"), strings.Contains(text, "header list larger"):
		return "the answer's headers are larger than 64 KiB"
	case strings.Contains(text, "received from peer"), strings.Contains(text, "GOAWAY"):
		return "the endpoint broke the exchange off before an answer came"
	case strings.Contains(text, "stream error: "), strings.Contains(text, "connection error: "):
		return "the answer was not valid HTTP/2, or its headers are larger than 64 KiB"
	case strings.Contains(text, "malformed"), strings.Contains(text, "transfer encoding"), strings.Contains(text, "Content-Length"):
		return "the answer was not valid HTTP"
	case strings.Contains(text, "server closed idle connection"):
		return "the connection was closed before an answer came"
	case strings.Contains(text, "invalid header field"):
		return "one of the endpoint's headers cannot be sent"
	}
	return "no answer could be had"
}
