package webhook

import (
	"net/http"
	"slices"
	"strings"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// listHeaders turns the headers of net/http into a list.
func listHeaders(host string, header http.Header) []hub.Header {
	list := make([]hub.Header, 0, len(header)+1)
	for name, values := range header {
		for _, value := range values {
			list = append(list, hub.Header{Name: name, Value: hub.ValidText(value)})
		}
	}
	slices.SortStableFunc(list, func(a, b hub.Header) int { return strings.Compare(a.Name, b.Name) })
	if host != "" {
		list = slices.Insert(list, 0, hub.Header{Name: "Host", Value: hub.ValidText(host)})
	}
	return list
}
