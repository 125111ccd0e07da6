package poll

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/receive"
)

// The presets. What they need of providerConfig, and by which rules their items become
// events, is declared beside the providers of webhooks.
const (
	githubDeliveries = "github-deliveries"
	githubEvents     = "github-events"
	stripeEvents     = "stripe-events"
)

// Where the APIs are unless baseUrl says otherwise.
const (
	githubAPI = "https://api.github.com"
	stripeAPI = "https://api.stripe.com"
)

// presetOf makes the plan of a source that names a preset.
func presetOf(src *hub.Source) (*plan, error) {
	setting := func(name string) string {
		text, _ := src.ProviderConfig[name].(string)
		return url.PathEscape(text)
	}
	base, _ := src.ProviderConfig["baseUrl"].(string)
	base = strings.TrimRight(base, "/")
	switch src.Provider {
	case githubDeliveries:
		of := "/orgs/" + setting("owner")
		if repo := setting("repo"); repo != "" {
			of = "/repos/" + setting("owner") + "/" + repo
		}
		list := cmp.Or(base, githubAPI) + of + "/hooks/" + setting("hookId") + "/deliveries"
		p := github(list)
		p.open, p.closed = openDelivery(list), closedDelivery
		return p, nil
	case githubEvents:
		of := "/orgs/" + setting("owner")
		if repo := setting("repo"); repo != "" {
			of = "/repos/" + setting("owner") + "/" + repo
		}
		return github(cmp.Or(base, githubAPI) + of + "/events"), nil
	case stripeEvents:
		return stripe(cmp.Or(base, stripeAPI) + "/v1/events"), nil
	}
	return nil, fmt.Errorf("there is no preset %.64q to poll", src.Provider)
}

// github lists newest first, with Link headers.
// https://docs.github.com/en/rest/using-the-rest-api/using-pagination-in-the-rest-api
func github(list string) *plan {
	return &plan{
		url:         func(variables) (string, error) { return list + "?per_page=100", nil },
		items:       everyElement,
		list:        true,
		pagination:  hub.PollPagination{LinkHeader: true},
		header:      http.Header{"Accept": {"application/vnd.github+json"}, "X-Github-Api-Version": {"2022-11-28"}},
		newestFirst: true,
	}
}

// openDelivery fetches what GitHub sent, or tried to send, as a webhook.
// https://docs.github.com/en/rest/repos/webhooks#get-a-delivery-for-a-repository-webhook
func openDelivery(list string) func(context.Context, *work, *item) (receive.Item, error) {
	return func(ctx context.Context, w *work, i *item) (receive.Item, error) {
		id := i.raw.Get("id").Raw
		if _, err := strconv.ParseUint(id, 10, 64); err != nil {
			return receive.Item{}, errGone
		}
		answer, err := w.get(ctx, list+"/"+id, nil)
		if err != nil {
			var p *problem
			if errors.As(err, &p) && p.restart { // it is not kept any more
				return receive.Item{}, errGone
			}
			return receive.Item{}, err
		}
		d, err := read(answer.header, answer.body)
		if err != nil {
			return receive.Item{}, &problem{message: err.Error()}
		}
		payload := d.first(requestPayload)
		if !payload.IsObject() {
			return receive.Item{}, errGone
		}
		header := http.Header{}
		d.first(requestHeaders).ForEach(func(name, value gjson.Result) bool {
			if hub.IsHeaderName(name.String()) && value.Type == gjson.String {
				header.Set(name.String(), value.String())
			}
			return true
		})
		// Older answers leave out headers that the list tells as well.
		for name, values := range closedDelivery(i).Header {
			if header.Get(name) == "" {
				header[name] = values
			}
		}
		return receive.Item{Body: []byte(payload.Raw), Header: header}, nil
	}
}

// closedDelivery is what the list tells of a delivery.
func closedDelivery(i *item) receive.Item {
	header := http.Header{}
	for name, field := range map[string]string{"X-GitHub-Event": "event", "X-GitHub-Delivery": "guid"} {
		if text := i.raw.Get(field).String(); text != "" {
			header.Set(name, text)
		}
	}
	return receive.Item{Body: []byte("{}"), Header: header}
}

// stripe lists newest first, from a moment on.
// https://docs.stripe.com/api/events/list, https://docs.stripe.com/api/pagination
func stripe(list string) *plan {
	return &plan{
		url: func(v variables) (string, error) {
			query := url.Values{"limit": {"100"}}
			if !v.since.IsZero() {
				query.Set("created[gte]", strconv.FormatInt(v.since.Unix(), 10))
			}
			if v.cursor != "" {
				query.Set("starting_after", v.cursor)
			}
			return list + "?" + query.Encode(), nil
		},
		items: everyDatum,
		after: func(d document, items []gjson.Result) string {
			if len(items) == 0 || !d.first(hasMore).Bool() {
				return ""
			}
			return items[len(items)-1].Get("id").String()
		},
		timed: true,
	}
}
