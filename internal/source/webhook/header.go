package webhook

import (
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// listHeaders turns the headers of net/http into a list.
func listHeaders(host string, header http.Header) []hub.Header {
	list := make([]hub.Header, 0, len(header)+1)
	for name, values := range header {
		for _, value := range values {
			list = append(list, hub.Header{Name: name, Value: validText(value)})
		}
	}
	slices.SortStableFunc(list, func(a, b hub.Header) int { return strings.Compare(a.Name, b.Name) })
	if host != "" {
		list = slices.Insert(list, 0, hub.Header{Name: "Host", Value: validText(host)})
	}
	return list
}

func validText(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// validHeaderName reports whether a text is a header's name by RFC 9110.
func validHeaderName(name string) bool {
	if name == "" || len(name) > maxHeaderNameLength {
		return false
	}
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return true
}

const maxHeaderNameLength = 128
