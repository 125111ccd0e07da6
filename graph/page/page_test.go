package page_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/graph/page"
	"github.com/hookgraph/hookgraph/internal/hub"
)

func pointer[T any](value T) *T { return &value }

func TestArgumentsOutOfBoundsAreRefused(t *testing.T) {
	t.Parallel()
	cursor := page.Sources.Cursor(hub.NewID(hub.SourcePrefix, time.Now()))
	for name, c := range map[string]struct {
		arguments page.Arguments
		want      string
	}{
		"nothing":             {page.Arguments{}, "{20   false} <nil>"},
		"the most":            {page.Arguments{First: pointer(100)}, "{100   false} <nil>"},
		"none":                {page.Arguments{First: pointer(0)}, "{0   false} <nil>"},
		"last":                {page.Arguments{Last: pointer(3)}, "{3   true} <nil>"},
		"too many":            {page.Arguments{First: pointer(101)}, "a page has 0 to 100 items"},
		"too many last":       {page.Arguments{Last: pointer(1000)}, "a page has 0 to 100 items"},
		"fewer than none":     {page.Arguments{First: pointer(-1)}, "a page has 0 to 100 items"},
		"both ends":           {page.Arguments{First: pointer(1), Last: pointer(1)}, "give first or last, not both"},
		"an empty cursor":     {page.Arguments{After: pointer("")}, "after is not a cursor of this list"},
		"a foreign cursor":    {page.Arguments{Before: pointer(page.Events.Cursor(hub.Sequence(1).String()))}, "before is not a cursor of this list"},
		"a padded cursor":     {page.Arguments{After: pointer(cursor + "=")}, "after is not a cursor of this list"},
		"a cursor and more":   {page.Arguments{After: pointer(cursor + "\n")}, "after is not a cursor of this list"},
		"a plain ID":          {page.Arguments{After: pointer(hub.NewID(hub.SourcePrefix, time.Now()))}, "after is not a cursor of this list"},
		"another version":     {page.Arguments{After: pointer(base64.RawURLEncoding.EncodeToString([]byte("2src:src_00000000000000000000000000")))}, "after is not a cursor of this list"},
		"a negative sequence": {page.Arguments{After: pointer(page.Events.Cursor(hub.Sequence(-1).String()))}, "after is not a cursor of this list"},
	} {
		p, err := page.Sources.Page(c.arguments)
		if got := fmt.Sprint(p, err); got != c.want && (err == nil || err.Error() != c.want || hub.CodeOf(err) != hub.CodeBadUserInput) {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

func TestCursorsComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		sequence := hub.Sequence(rapid.Int64Min(0).Draw(rt, "sequence")).String()
		number := page.AttemptKey(rapid.IntRange(1, 1_000_000).Draw(rt, "number"))
		for _, c := range []struct {
			order page.Order
			key   string
		}{{page.Events, sequence}, {page.Attempts, number}} {
			p, err := c.order.Page(page.Arguments{After: pointer(c.order.Cursor(c.key))})
			if err != nil || p.After != c.key {
				rt.Fatalf("%s came back as %+v, %v", c.key, p, err)
			}
		}
	})
}

// A cursor is admitted in exactly one spelling, so that equal places are equal texts.
func FuzzCursorsHaveOneSpelling(f *testing.F) {
	f.Add(page.Deliveries.Cursor(hub.NewID(hub.DeliveryPrefix, time.Now())))
	f.Add(page.Events.Cursor(hub.Sequence(1).String()))
	f.Add("MWRsdjo")
	f.Add("////")
	f.Fuzz(func(t *testing.T, cursor string) {
		for _, order := range []page.Order{page.Deliveries, page.Events, page.Attempts, page.Sources} {
			p, err := order.Page(page.Arguments{Before: &cursor})
			if err != nil {
				if hub.CodeOf(err) != hub.CodeBadUserInput {
					t.Fatalf("%q: %v", cursor, err)
				}
				continue
			}
			if order.Cursor(p.Before) != cursor {
				t.Fatalf("%q is read as %q, which is spelt otherwise", cursor, p.Before)
			}
		}
	})
}

// Whatever the page size, walking a list from either end meets each item once.
func TestCutWalksTheWholeList(t *testing.T) {
	t.Parallel()
	key := func(n int) string { return fmt.Sprintf("%04d", n) }
	rapid.Check(t, func(rt *rapid.T) {
		items := rapid.SliceOfDistinct(rapid.IntRange(0, 999), func(n int) int { return n }).Draw(rt, "items")
		slices.Sort(items)
		slices.Reverse(items)
		size := rapid.IntRange(1, 7).Draw(rt, "size")

		var forward []int
		for p := (hub.Page{Size: size}); ; {
			s := page.Cut(items, key, p)
			forward = append(forward, s.Items...)
			if s.HasPrevious != (p.After != "") {
				rt.Fatalf("hasPrevious is %t after %q", s.HasPrevious, p.After)
			}
			if !s.HasNext {
				break
			}
			p.After = key(s.Items[len(s.Items)-1])
		}
		var backward []int
		for p := (hub.Page{Size: size, Backward: true}); ; {
			s := page.Cut(items, key, p)
			backward = append(slices.Clone(s.Items), backward...)
			if !s.HasPrevious {
				break
			}
			p.Before = key(s.Items[0])
		}
		if !slices.Equal(forward, items) || !slices.Equal(backward, items) {
			rt.Fatalf("items %v, forward %v, backward %v", items, forward, backward)
		}
	})
}

// A cursor of an item that is gone still marks its place.
func TestCutGoesOnWhereAnItemWasDeleted(t *testing.T) {
	t.Parallel()
	items := []string{"9", "7", "5", "3"}
	same := func(s string) string { return s }
	if got := page.Cut(items, same, hub.Page{Size: 2, After: "8"}).Items; !slices.Equal(got, []string{"7", "5"}) {
		t.Errorf("got %v", got)
	}
	if got := page.Cut(items, same, hub.Page{Size: 2, Before: "4", Backward: true}).Items; !slices.Equal(got, []string{"7", "5"}) {
		t.Errorf("got %v", got)
	}
	if got := page.Cut(items, same, hub.Page{Size: 2, After: "3", Before: "9"}).Items; len(got) != 0 {
		t.Errorf("got %v", got)
	}
}
