package receive

import (
	"net/url"
	"testing"
	"unicode/utf8"
)

// FuzzValidQuery states that a query can be stored as text and still means the same.
func FuzzValidQuery(f *testing.F) {
	for _, seed := range []string{"", "a=1&b=2", "a=\xff", "\xc3\x28=%zz", "ä=ö", "ä=\xff&%C3%A4=1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		got := validQuery(query)
		if !utf8.ValidString(got) {
			t.Fatalf("%q is not UTF-8", got)
		}
		before, _ := url.ParseQuery(query)
		after, _ := url.ParseQuery(got)
		if before.Encode() != after.Encode() {
			t.Fatalf("%q means %q, %q means %q", query, before.Encode(), got, after.Encode())
		}
	})
}
