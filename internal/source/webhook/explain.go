package webhook

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// maxExplained bounds the bodies of which causes are looked for.
const maxExplained = 64 << 10

// covered says what of a request a signature covers byte by byte.
type covered struct{ body, url bool }

// explained adds to the refusal of a wrong signature what it would have been right for,
// where that is one of the usual mistakes: the body changed on its way, another URL, or
// the secret read in another way. The request is refused all the same. Right reports
// whether the signatures are right under the secrets, nil for the source's own, and for
// a request that differs in body or URL.
func explained(verdict Verdict, r *Request, src *hub.Source, covers covered, right func(secrets [][]byte, r *Request) bool) Verdict {
	if len(r.Body) <= maxExplained {
		if cause := causeOf(r, src, covers, right); cause != "" {
			verdict.Detail += " " + cause
			return verdict
		}
	}
	if covers.url {
		path, _, _ := strings.Cut(r.publicURL(), "?")
		verdict.Detail += fmt.Sprintf(" The URL is signed as well, and taken to be %.256q with the query that came: check that the sender has it letter for letter, and HOOKGRAPH_PUBLIC_URL.", path)
	}
	if encoding := r.Header.Get("Content-Encoding"); covers.body && encoding != "" && !strings.EqualFold(encoding, "identity") {
		verdict.Detail += " The body came compressed (Content-Encoding), and is checked as it came: perhaps the sender has signed it before."
	}
	return verdict
}

// causeOf finds the mistake without which a signature were right, "" where it is none of
// the usual ones.
func causeOf(r *Request, src *hub.Source, covers covered, right func(secrets [][]byte, r *Request) bool) string {
	if covers.body {
		if cause := changedBody(r, right); cause != "" {
			return cause
		}
	}
	if covers.url {
		if cause := otherURL(r, right); cause != "" {
			return cause
		}
	}
	return otherReading(r, src, right)
}

// but is a request with other contents.
func (r *Request) but(publicURL, target string, body []byte) *Request {
	return &Request{
		Method: r.Method, Target: target, PublicURL: publicURL, RawQuery: r.RawQuery, Host: r.Host, Header: r.Header,
		Body: body, Peer: r.Peer, ReceivedAt: r.ReceivedAt,
	}
}

func changedBody(r *Request, right func(secrets [][]byte, r *Request) bool) string {
	for _, c := range []struct {
		body []byte
		says string
	}{
		{bytes.TrimSpace(r.Body), "Without the blanks or line breaks around the body it is right: something on the way has added them."},
		{append(bytes.Clone(r.Body), '\n'), "With a line break after the body it is right: something on the way has taken it off."},
		{bytes.ReplaceAll(r.Body, []byte("\r\n"), []byte("\n")), "With line breaks of one character it is right: something on the way has changed them."},
		{nil, "For an empty body it is right: the sender has not signed the body."},
		{compacted(r.Body), "Without the blanks within the JSON it is right: something on the way has written it anew."},
	} {
		if !bytes.Equal(c.body, r.Body) && right(nil, r.but(r.PublicURL, r.Target, c.body)) {
			return c.says
		}
	}
	return ""
}

// otherURL tries the name that the request asked for, which is trusted in nothing but to
// tell what to look at, and the usual differences of paths.
func otherURL(r *Request, right func(secrets [][]byte, r *Request) bool) string {
	for _, base := range []string{"https://" + r.Host, "http://" + r.Host} {
		if r.Host != "" && base != r.PublicURL && right(nil, r.but(base, r.Target, r.Body)) {
			return fmt.Sprintf("For a URL that begins with %.256q it is right, and the hub takes its own to begin with %q: set HOOKGRAPH_PUBLIC_URL to what senders are given.", base, r.PublicURL)
		}
	}
	path, query, asked := strings.Cut(r.Target, "?")
	if asked {
		query = "?" + query
		if right(nil, r.but(r.PublicURL, path, r.Body)) {
			return "For the URL without its query it is right: something on the way has added that, or the sender leaves it out."
		}
	}
	other, without := strings.CutSuffix(path, "/")
	says := "For the URL without the slash at the end of its path it is right: something on the way has added that."
	if !without {
		other, says = path+"/", "For the URL with a slash at the end of its path it is right: something on the way has taken that off."
	}
	if right(nil, r.but(r.PublicURL, other+query, r.Body)) {
		return says
	}
	return ""
}

// otherReading tries other ways in which the sender may read the secret.
func otherReading(r *Request, src *hub.Source, right func(secrets [][]byte, r *Request) bool) string {
	for _, c := range []struct {
		read func(string) ([]byte, error)
		says string
	}{
		{func(text string) ([]byte, error) { return []byte(text), nil }, "Under the secret as it is written it is right: the sender does not decode it."},
		{base64.StdEncoding.DecodeString, "Under the secret decoded from base64 it is right: the sender uses the bytes that it stands for."},
		{hex.DecodeString, "Under the secret decoded from hex it is right: the sender uses the bytes that it stands for."},
		{func(text string) ([]byte, error) {
			_, text, _ = strings.Cut(text, "_")
			return []byte(text), nil
		}, "Under the secret without its prefix it is right."},
	} {
		secrets := make([][]byte, 0, len(src.Secrets))
		for _, secret := range src.Secrets {
			if key, err := c.read(secret.Reveal()); err == nil && len(key) > 0 {
				secrets = append(secrets, key)
			}
		}
		if len(secrets) > 0 && right(secrets, r) {
			return c.says
		}
	}
	return ""
}

// compacted is a JSON document without blanks between its parts, nil of what is none.
func compacted(body []byte) []byte {
	var out bytes.Buffer
	if json.Compact(&out, body) != nil {
		return nil
	}
	return out.Bytes()
}
