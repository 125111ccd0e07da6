package poll

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/yosida95/uritemplate/v3"
)

// variables are what a page is asked for by.
type variables struct {
	since  time.Time // zero: from the beginning
	cursor string    // "": the first page
	page   int
	offset int
}

// The names of variables in templates.
const (
	varSince     = "since"
	varSinceUnix = "sinceUnix"
	varCursor    = "cursor"
	varPage      = "page"
	varOffset    = "offset"
)

var varNames = []string{varSince, varSinceUnix, varCursor, varPage, varOffset}

// parseTemplate reads a URL template. Its errors are sentences for people.
func parseTemplate(text string) (*uritemplate.Template, error) {
	template, err := uritemplate.New(text)
	if err != nil {
		return nil, templateError(err)
	}
	for _, name := range template.Varnames() {
		if !slices.Contains(varNames, name) {
			return nil, fmt.Errorf("there is no variable %.64q; there are %s", name, strings.Join(varNames, ", "))
		}
	}
	// What an answer says must not choose where credentials are sent to.
	literal, _, found := strings.Cut(text, "{")
	if found {
		_, rest, absolute := strings.Cut(literal, "://")
		if !absolute || !strings.ContainsAny(rest, "/?") {
			return nil, errors.New("variables come after the host, as in https://api.example.com/items{?since}")
		}
	}
	return template, nil
}

// templateError says where in a template something is wrong.
func templateError(err error) error {
	const advice = "the URL is no template of RFC 6570, such as https://api.example.com/items{?since,page}"
	// The library writes uritemplate:POSITION:WHAT.
	parts := strings.SplitN(err.Error(), ":", 3)
	if len(parts) == 3 {
		if at, err := strconv.Atoi(parts[1]); err == nil && at >= 0 {
			return &placedError{advice + ": " + parts[2], at + 1}
		}
	}
	return errors.New(advice)
}

// placedError is what is wrong at a place of a text, counted from 1.
type placedError struct {
	message string
	column  int
}

func (e *placedError) Error() string { return e.message }

// expand makes the URL of a page. Variables without a value are left out, as the
// template's operators say.
func expand(template *uritemplate.Template, v variables) (string, error) {
	values := uritemplate.Values{}
	set := func(name, value string) { values.Set(name, uritemplate.String(octets(value))) }
	if !v.since.IsZero() {
		set(varSince, v.since.UTC().Truncate(time.Second).Format(time.RFC3339))
		set(varSinceUnix, strconv.FormatInt(v.since.Unix(), 10))
	}
	if v.cursor != "" {
		set(varCursor, v.cursor)
	}
	if v.page > 0 {
		set(varPage, strconv.Itoa(v.page))
	}
	set(varOffset, strconv.Itoa(v.offset))
	return template.Expand(values)
}

// octets has a character for each byte: the library encodes characters by their number,
// where RFC 6570 (section 1.6) means their bytes in UTF-8.
func octets(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return r >= 0x80 }) {
		return text
	}
	characters := make([]rune, len(text))
	for i := range len(text) {
		characters[i] = rune(text[i])
	}
	return string(characters)
}

// sameOrigin reports whether what is sent to one URL may be sent to the other.
func sameOrigin(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
}

func portOf(u *url.URL) string {
	switch port := u.Port(); {
	case port != "":
		return port
	case strings.EqualFold(u.Scheme, "https"):
		return "443"
	}
	return "80"
}
