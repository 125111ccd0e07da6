package jsonpick_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/jsonpick"
)

func TestWhatAPathFindsIsAsItWasWritten(t *testing.T) {
	t.Parallel()
	const document = `{"a": [ {"n": 1.50, "big":12345678901234567890,"s":"\u00e4"}, {"z":1, "a" : 2 } ], "it's": {"x":[[1,2],[3]]}, "twice": 1, "twice": 2}`
	for path, want := range map[string][]string{
		"$.a[*]":           {`{"n": 1.50, "big":12345678901234567890,"s":"\u00e4"}`, `{"z":1, "a" : 2 }`},
		"$.a[0].n":         {"1.50"},
		"$.a[-1].z":        {"1"},
		`$["it's"].x[*]`:   {"[1,2]", "[3]"},
		`$["it's"].x[0,1]`: {"[1,2]", "[3]"},
		"$.a[?@.z==1].a":   {"2"},
		"$.twice":          {"2"},
		"$..big":           {"12345678901234567890"},
		"$.none":           {},
		"$":                {document},
	} {
		p, err := jsonpick.Parse(path)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		d, ok := jsonpick.Read([]byte(document))
		if !ok {
			t.Fatal("the document is JSON")
		}
		got := d.Pick(p)
		if fmt.Sprintf("%s", got) != fmt.Sprintf("%s", want) {
			t.Errorf("%s finds %s, not %s", path, got, want)
		}
	}
	for _, bad := range []string{"{", "", "{} x", `{"a":}`} {
		if _, ok := jsonpick.Read([]byte(bad)); ok {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestPathsThatVisitTooMuchAreRefused(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"a.b": "not an RFC 9535 path", "": "not an RFC 9535 path", "$..a..b": "visits too much", "$[?@..a]": "visits too much",
		"$[?@.a == $.b]": "visits too much", "$" + strings.Repeat(".a", 501): "at most", "$[0,1,2,3,4][0,1,2,3,4]": "visits too much",
	} {
		if _, err := jsonpick.Parse(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, not %q", path, err, want)
		}
	}
	if _, err := jsonpick.Parse(`$["a..b..c?$"]`); err != nil {
		t.Errorf("quoted names count for nothing: %v", err)
	}
}

func TestALongListIsTakenApartOnce(t *testing.T) {
	t.Parallel()
	const many = 200_000
	document := []byte(`{"items":[` + strings.TrimSuffix(strings.Repeat(`{"id":1},`, many), ",") + `]}`)
	path, err := jsonpick.Parse("$.items[*]")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	d, _ := jsonpick.Read(document)
	if got := d.Pick(path); len(got) != many {
		t.Fatalf("%d found", len(got))
	}
	if took := time.Since(began); took > time.Minute { // each by itself, it would be hours
		t.Errorf("it took %s", took)
	}
}
