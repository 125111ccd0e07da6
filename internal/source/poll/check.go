package poll

import (
	"errors"
	"slices"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/jsonpick"
)

// Problem says what is wrong with what is to be polled, by its path within the source's
// input, and where in an expression.
type Problem struct {
	Code    hub.InputCode
	Message string
	Field   []string
	Column  int // from 1; 0: not about a place
}

// Check returns everything that is wrong with what a source polls. Its provider's own
// settings are for those to check who know the providers; CheckURL says what is wrong with a URL that the hub is to call.
func Check(src *hub.Source, checkURL func(string) (hub.InputCode, error)) []Problem {
	c := &checker{src: src}
	if src.Provider != "" {
		c.preset(checkURL)
		return c.problems
	}
	c.template(checkURL)
	c.path(src.Poll.Items, "items")
	c.pagination()
	return c.problems
}

type checker struct {
	src      *hub.Source
	names    []string // the template's variables
	problems []Problem
}

func (c *checker) add(code hub.InputCode, message string, field ...string) {
	c.problems = append(c.problems, Problem{Code: code, Message: message, Field: append([]string{"poll"}, field...)})
}

// invalid notes an error, which may know its place.
func (c *checker) invalid(err error, field ...string) {
	c.add(hub.InputInvalid, err.Error(), field...)
	var placed *placedError
	var path *jsonpick.Error
	switch last := &c.problems[len(c.problems)-1]; {
	case errors.As(err, &placed):
		last.Column = placed.column
	case errors.As(err, &path):
		last.Column = path.Column
	}
}

// sample has a value for every variable.
var sample = variables{since: time.Unix(1_700_000_000, 0), cursor: "c", page: 1}

func (c *checker) template(checkURL func(string) (hub.InputCode, error)) {
	if c.src.Poll.URL == "" {
		c.add(hub.InputRequired, "say what is polled, as https://api.example.com/items{?since}, or name a provider", "url")
		return
	}
	template, err := parseTemplate(c.src.Poll.URL)
	if err != nil {
		c.invalid(err, "url")
		return
	}
	c.names = template.Varnames()
	url, err := expand(template, sample)
	if err != nil {
		c.invalid(errors.New("the URL template cannot be expanded"), "url")
		return
	}
	if code, err := checkURL(url); err != nil {
		c.add(code, err.Error(), "url")
	}
}

func (c *checker) path(text string, field ...string) {
	if _, err := jsonpick.Parse(text); err != nil {
		c.invalid(err, field...)
	}
}

func (c *checker) pagination() {
	p := c.src.Poll.Pagination
	if p == nil {
		return
	}
	ways := 0
	for _, way := range []struct {
		given    bool
		path     string
		field    string
		variable string
	}{
		{p.LinkHeader, "", "linkHeader", ""},
		{p.NextURL != "", p.NextURL, "nextUrl", ""},
		{p.Cursor != "", p.Cursor, "cursor", varCursor},
		{p.Page, "", "page", varPage},
		{p.Offset, "", "offset", varOffset},
	} {
		if !way.given {
			continue
		}
		ways++
		if way.path != "" {
			c.path(way.path, "pagination", way.field)
		}
		if way.variable != "" && c.names != nil && !slices.Contains(c.names, way.variable) {
			c.add(hub.InputInvalid, "the URL has to say where this goes, as in https://api.example.com/items{?"+way.variable+"}", "pagination", way.field)
		}
	}
	if ways != 1 {
		c.add(hub.InputConflict, "give one of linkHeader, nextUrl, cursor, page and offset", "pagination")
	}
	if p.KeepCursor && p.Cursor == "" {
		c.add(hub.InputInvalid, "only a cursor can be kept", "pagination", "keepCursor")
	}
}

func (c *checker) preset(checkURL func(string) (hub.InputCode, error)) {
	if c.src.Poll.URL != "" {
		c.add(hub.InputConflict, "the provider says what is polled; leave this out", "url")
	}
	if c.src.Poll.Pagination != nil {
		c.add(hub.InputConflict, "the provider says how its pages are found; leave this out", "pagination")
	}
	p, err := presetOf(c.src)
	if err != nil {
		return // the providers' to say
	}
	url, err := p.url(sample)
	if err != nil {
		return
	}
	if code, err := checkURL(url); err != nil {
		c.problems = append(c.problems, Problem{Code: code, Message: err.Error(), Field: []string{"providerConfig", "baseUrl"}})
	}
}
