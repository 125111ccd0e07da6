package webhook

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// maxParameters bounds how many parameters of a URL are looked at for a credential.
const maxParameters = 64

// token makes the verification of vendors that send a secret in a header, and sign
// nothing.
func token(header string) func(context.Context, *Case) Verdict {
	return func(_ context.Context, c *Case) Verdict {
		return apiKey(&hub.APIKeyVerification{Header: header}, c.Source, c.Request)
	}
}

// tokenOrQuery makes the verification of vendors that send a secret in one of some
// headers, or within the URL that the operator has given them.
func tokenOrQuery(parameters []string, headers ...string) func(context.Context, *Case) Verdict {
	return func(_ context.Context, c *Case) Verdict {
		for _, header := range headers {
			if len(c.Request.Header.Values(header)) > 0 {
				return apiKey(&hub.APIKeyVerification{Header: header}, c.Source, c.Request)
			}
		}
		for _, name := range parameters {
			given := queryOf(c.Request)[name]
			switch {
			case len(given) > 1:
				return refuse(hub.RejectedCredentialsInvalid, fmt.Sprintf(
					"The parameter %s came %d times; it holds the credentials and may come once.", name, len(given)))
			case len(given) == 1 && matchesSecret(given[0], c.Source.Secrets) == 1:
				return Verdict{}
			case len(given) == 1:
				return refuse(hub.RejectedCredentialsInvalid, fmt.Sprintf(
					"The parameter %s (%d bytes) is none of the source's %d secrets.", name, len(given[0]), len(c.Source.Secrets)))
			}
		}
		return refuse(hub.RejectedCredentialsInvalid, fmt.Sprintf(
			"There are no credentials: neither a header (%s) nor a parameter of the URL (%s) holds one of the source's secrets.",
			strings.Join(headers, ", "), strings.Join(parameters, ", ")))
	}
}

// basicFromConfig compares HTTP Basic credentials with those of the configuration;
// the source's secrets count as further passwords.
func basicFromConfig(_ context.Context, c *Case) Verdict {
	return basic(&hub.BasicVerification{Username: setting(c.Source, "username")}, withSecret(c.Source, "password"), c.Request)
}

// headerFromConfig compares the configured header with the configured secret; the
// source's secrets count beside it.
func headerFromConfig(_ context.Context, c *Case) Verdict {
	return apiKey(&hub.APIKeyVerification{Header: authHeader(c.Source)}, withSecret(c.Source, "authSecret"), c.Request)
}

// authHeader is the header that a source of Okta is configured with.
func authHeader(src *hub.Source) string {
	if name := setting(src, "authHeader"); name != "" {
		return name
	}
	return "Authorization"
}

// withSecret returns the source with what its configuration holds under a key as
// the first of its secrets.
func withSecret(src *hub.Source, name string) *hub.Source {
	own := *src
	own.Secrets = nil
	for _, text := range settings(src, name) {
		own.Secrets = append(own.Secrets, hub.Secret(text))
	}
	own.Secrets = append(own.Secrets, src.Secrets...)
	return &own
}

// CredentialHeaders names the headers that hold a source's credentials although
// nothing in their names says so. They are not for storing.
func CredentialHeaders(src *hub.Source) []string {
	var names []string
	if v := src.Verification; v != nil && v.APIKey != nil {
		names = append(names, v.APIKey.Header)
	}
	if v := src.Verification; v != nil && v.JWT != nil {
		names = append(names, v.JWT.Header)
	}
	if name := setting(src, "authHeader"); name != "" {
		names = append(names, name)
	}
	return names
}

// RedactQuery blots out the parameters of a query that hold one of the source's
// secrets, as some vendors have no other place for them.
func RedactQuery(src *hub.Source, query string) string {
	if query == "" || len(src.Secrets) == 0 {
		return query
	}
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		if text, err := url.QueryUnescape(value); i < maxParameters && err == nil && matchesSecret(text, src.Secrets) == 1 {
			pairs[i] = name + "=REDACTED"
		}
	}
	return strings.Join(pairs, "&")
}

// queryOf returns the parameters of the request's URL; what cannot be parsed is
// left out, and so is a query of more than a URL may reasonably have.
func queryOf(r *Request) url.Values {
	if strings.Count(r.RawQuery, "&") >= maxParameters {
		return nil
	}
	query, _ := url.ParseQuery(r.RawQuery)
	return query
}

func isMethod(r *Request, method string) bool { return r.Method == method }

func isGet(r *Request) bool { return isMethod(r, http.MethodGet) }
