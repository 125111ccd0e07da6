package poll

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/jsonpick"
	"github.com/hookgraph/hookgraph/internal/receive"
)

// plan is how an API is asked: what its source says, or the preset that it names.
type plan struct {
	// url makes the URL of a page where the API does not say it.
	url        func(variables) (string, error)
	items      *jsonpick.Path
	list       bool // the items are the elements of a list, since nobody has said otherwise
	pagination hub.PollPagination
	nextURL    *jsonpick.Path
	cursor     *jsonpick.Path
	header     http.Header // besides those of the source
	// timed says that the API is told since when.
	timed bool

	// What presets alone have.

	// newestFirst says that what an API lists goes back in time: a run ends with the first
	// page that lies before its beginning, or that has not changed.
	newestFirst bool
	// after finds the cursor of the next page where no path does.
	after func(d document, items []gjson.Result) string
	// open turns an item of the list into what is to be received.
	open func(ctx context.Context, w *work, i *item) (receive.Item, error)
	// closed is what the list already tells of that, with an empty object as body.
	closed func(i *item) receive.Item
}

// planOf makes the plan of a source. Its settings were checked when they were saved.
func planOf(src *hub.Source) (*plan, error) {
	if src.Provider != "" {
		return presetOf(src)
	}
	template, err := parseTemplate(src.Poll.URL)
	if err != nil {
		return nil, err
	}
	names := template.Varnames()
	p := &plan{
		url:   func(v variables) (string, error) { return expand(template, v) },
		list:  src.Poll.Items == hub.DefaultPollItems,
		timed: slices.Contains(names, varSince) || slices.Contains(names, varSinceUnix),
	}
	if p.items, err = jsonpick.Parse(src.Poll.Items); err != nil {
		return nil, err
	}
	if src.Poll.Pagination != nil {
		p.pagination = *src.Poll.Pagination
	}
	for path, text := range map[**jsonpick.Path]string{&p.nextURL: p.pagination.NextURL, &p.cursor: p.pagination.Cursor} {
		if text == "" {
			continue
		}
		if *path, err = jsonpick.Parse(text); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// URLOf returns what a source polls: its template, or the list of its preset.
func URLOf(src *hub.Source) string {
	if src.Provider == "" {
		return src.Poll.URL
	}
	p, err := presetOf(src)
	if err != nil {
		return ""
	}
	list, err := p.url(variables{})
	if err != nil {
		return ""
	}
	list, _, _ = strings.Cut(list, "?")
	return list
}
