package poll

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hookgraph/hookgraph/internal/credential"
	"github.com/hookgraph/hookgraph/internal/deliver/policy"
	"github.com/hookgraph/hookgraph/internal/outbound"
)

const (
	// deadline bounds one request from the connection to the last byte of the answer.
	deadline = time.Minute
	// maxAnswerBytes bounds the body of one answer.
	maxAnswerBytes = 16 << 20
	maxValidator   = 1024 // bytes of an ETag or a date that are kept
)

// problem is why an API could not be asked, in a sentence for people that has no secrets.
type problem struct {
	message string
	// restart says that the place in the list that was reached does not hold any more.
	restart bool
	// patience says that nothing is wrong but that the API wants to be asked later.
	patience bool
}

func (p *problem) Error() string { return p.message }

// reply is what an API answered.
type reply struct {
	header http.Header
	body   []byte // nil where nothing has changed
}

// get asks for a URL, with the validators of what is known of it. The answer is 200 with
// its body, or 304; anything else is a *problem.
func (w *work) get(ctx context.Context, target string, known *page) (*reply, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, &problem{message: "the URL of the next page cannot be read", restart: true}
	}
	if err := w.checkURL(target); err != nil {
		return nil, &problem{message: "the hub may not ask this URL: " + err.Error(), restart: true}
	}
	if !sameOrigin(u, w.origin) {
		return nil, &problem{message: "the API leads to another host, which the hub does not show the source's credentials to", restart: true}
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	access := w.book.Of(w.feed.Source.ID, w.feed.Source.Auth)
	pass, err := access.Issue(ctx)
	if err != nil {
		return nil, unauthorized(err)
	}
	response, err := w.exchange(ctx, access, pass, target, known)
	if err == nil && response.StatusCode == http.StatusUnauthorized {
		if next, renewed := pass.Renew(ctx); renewed {
			_ = response.Body.Close()
			response, err = w.exchange(ctx, access, next, target, known)
		}
	}
	if err != nil {
		return nil, unreachable(err)
	}
	defer func() { _ = response.Body.Close() }()
	w.obey(response)
	switch {
	case response.StatusCode == http.StatusNotModified && known != nil:
		return &reply{header: response.Header}, nil
	case response.StatusCode < 200 || response.StatusCode > 299:
		return nil, w.refused(response, u)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	if err != nil {
		return nil, unreachable(err)
	}
	if len(body) > maxAnswerBytes {
		return nil, &problem{message: fmt.Sprintf("the answer is larger than %d MiB; ask for smaller pages", maxAnswerBytes>>20)}
	}
	if response.StatusCode == http.StatusNoContent {
		body = []byte("[]")
	}
	return &reply{header: response.Header, body: body}, nil
}

// exchange sends one request. A bare round trip follows no redirect and keeps no cookies.
func (w *work) exchange(ctx context.Context, access *credential.Credential, pass credential.Pass, target string, known *page) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", w.agent)
	for name, values := range w.plan.header {
		request.Header[name] = values
	}
	for _, h := range w.feed.Source.Poll.Headers {
		request.Header.Set(h.Name, h.Value)
	}
	if known != nil {
		if known.ETag != "" {
			request.Header.Set("If-None-Match", known.ETag)
		}
		if known.Modified != "" {
			request.Header.Set("If-Modified-Since", known.Modified)
		}
	}
	if pass.Header != "" {
		request.Header.Set(pass.Header, pass.Value)
	}
	return access.Transport.RoundTrip(request)
}

// obey notes what an answer asks of its callers.
func (w *work) obey(response *http.Response) {
	now := w.clock.Now()
	pacing := policy.ReadPacing(response.Header, response.StatusCode, now)
	if pacing.NotBefore.After(w.progress.NotBefore) {
		w.progress.NotBefore = pacing.NotBefore
	}
	w.quota = pacing.Quota
	if every, err := strconv.Atoi(response.Header.Get("X-Poll-Interval")); err == nil && every >= 0 {
		w.progress.Every = time.Duration(min(every, int(maxEvery/time.Second))) * time.Second
	}
}

// maxEvery bounds the interval that an API can ask for.
const maxEvery = 24 * time.Hour

// share is how far apart requests are to be so that what is left of a quota lasts.
func share(quota policy.Quota, now time.Time) time.Duration {
	if quota.Until.IsZero() || !quota.Until.After(now) {
		return 0
	}
	return quota.Until.Sub(now) / time.Duration(max(quota.Left, 1))
}

// refused says what an answer means that has no items.
func (w *work) refused(response *http.Response, u *url.URL) *problem {
	status := response.StatusCode
	wait := w.progress.NotBefore.Sub(w.clock.Now())
	told := fmt.Sprintf("the API answers %d", status)
	switch {
	case status == http.StatusTooManyRequests, (status == http.StatusForbidden || status == http.StatusServiceUnavailable) && wait > 0:
		if wait > 0 {
			return &problem{message: told + fmt.Sprintf(": it wants to be asked again in %d s", int(math.Ceil(wait.Seconds()))), patience: true}
		}
		return &problem{message: told + ": it is asked too often"}
	case status == http.StatusUnauthorized && w.feed.Source.Auth == nil:
		return &problem{message: told + ": it wants credentials, and the source has none"}
	case status == http.StatusUnauthorized:
		return &problem{message: told + ": the credentials are refused"}
	case status == http.StatusForbidden:
		return &problem{message: told + ": the credentials are refused, or do not permit this"}
	case status == http.StatusGone:
		return &problem{message: told + ": what is at this URL is gone for good", restart: true}
	case status == http.StatusNotFound:
		return &problem{message: told + ": there is nothing at this URL, or the credentials do not show it", restart: true}
	case status >= 300 && status < 400:
		where := "elsewhere"
		if to, err := u.Parse(response.Header.Get("Location")); err == nil && to.Host != "" {
			where = "to " + to.Scheme + "://" + to.Host
		}
		return &problem{message: told + ": it leads " + where + "; redirects are not followed, so give the URL where it leads", restart: true}
	case status >= 500:
		return &problem{message: told + ": something is wrong there"}
	case status == http.StatusRequestTimeout:
		return &problem{message: told}
	}
	return &problem{message: told + ": it does not take the request", restart: true}
}

func unauthorized(err error) *problem {
	var e *credential.Error
	if errors.As(err, &e) {
		return &problem{message: e.Message}
	}
	return &problem{message: "the credentials could not be made ready"}
}

// unreachable says why there is no answer.
func unreachable(err error) *problem {
	var (
		blocked *outbound.BlockedError
		timed   net.Error
		dns     *net.DNSError
		record  tls.RecordHeaderError
		verify  *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
		why     string
	)
	switch {
	case errors.As(err, &blocked):
		why = blocked.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timed) && timed.Timeout():
		why = "it did not answer in time"
	case errors.As(err, &dns) && dns.IsNotFound:
		why = "the host name does not exist"
	case errors.As(err, &dns):
		why = "the host name could not be resolved"
	case errors.As(err, &verify), errors.As(err, &unknown):
		why = "its certificate is not trusted"
	case errors.As(err, &record):
		why = "it does not speak TLS; is its URL meant to be http:// ?"
	case errors.Is(err, syscall.ECONNREFUSED):
		why = "the connection was refused"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		why = "the connection was closed before the whole answer came"
	case strings.Contains(err.Error(), "malformed"):
		why = "the answer was not valid HTTP"
	default:
		why = "no answer could be had"
	}
	return &problem{message: "the API could not be asked: " + why}
}

// validator bounds what is kept of an answer's validators.
func validator(text string) string {
	if len(text) > maxValidator {
		return ""
	}
	return text
}
