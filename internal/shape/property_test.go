package shape_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/shape"
)

// words are few, so that documents have keys in common.
var words = []string{"id", "name", "amount", "lines", "meta", "at", "x"}

// documents draws one, with values among which some have formats.
func documents(canary string) *rapid.Generator[any] {
	text := rapid.SampledFrom([]string{
		"", "plain", "2026-03-01", "2026-03-01T17:04:05Z", "https://a.example/b", "a@b.example", "10.0.0.1", "::1", "17:04:05Z", "4b0ea6d0-1ab7-4d1b-9b1e-1f9d0ac1a8f0", canary,
	})
	scalar := rapid.OneOf(
		rapid.Just(any(nil)), rapid.Map(rapid.Bool(), func(b bool) any { return b }),
		rapid.Map(rapid.Int64(), func(i int64) any { return i }), rapid.Map(rapid.Int16(), func(i int16) any { return i }),
		rapid.Map(rapid.Float64Range(-1e6, 1e6), func(f float64) any { return f }),
		rapid.Map(text, func(s string) any { return s }),
		rapid.Map(rapid.String(), func(s string) any { return s }),
	)
	keys := rapid.OneOf(rapid.SampledFrom(words), rapid.SampledFrom([]string{"bob@" + canary + ".example", "404", "2026-03-01"}))
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		if depth == 0 {
			return scalar
		}
		inner := rapid.Deferred(func() *rapid.Generator[any] { return value(depth - 1) })
		return rapid.OneOf(
			scalar,
			rapid.Map(rapid.MapOfN(keys, inner, 0, 6), func(m map[string]any) any { return m }),
			rapid.Map(rapid.SliceOfN(inner, 0, 4), func(s []any) any { return s }),
		)
	}
	return value(3)
}

func drawn(t *rapid.T, canary string) []string {
	docs := make([]string, rapid.IntRange(1, 6).Draw(t, "n"))
	for i := range docs {
		doc, err := json.Marshal(documents(canary).Draw(t, "doc"))
		if err != nil {
			t.Fatal(err)
		}
		docs[i] = string(doc)
	}
	return docs
}

func stored(t *rapid.T, s *shape.Shape) string {
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func learn(t *rapid.T, docs []string) *shape.Shape {
	s := &shape.Shape{}
	for _, doc := range docs {
		before := stored(t, s)
		changed, drift, err := s.Learn([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		if counts := regexp.MustCompile(`"(samples|objects|count)":\d+,?`); !changed && counts.ReplaceAllString(before, "") != counts.ReplaceAllString(stored(t, s), "") {
			t.Fatalf("it knows more without a word\n%s", doc)
		}
		if len(drift) > 0 && !changed {
			t.Fatalf("drift without a change: %v", drift)
		}
	}
	return s
}

// The order of samples, and how they are spread over shapes, makes no difference.
func TestOrderMakesNoDifference(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		docs := drawn(t, "canary")
		whole := learn(t, docs)
		if got := stored(t, learn(t, rapid.Permutation(docs).Draw(t, "order"))); got != stored(t, whole) {
			t.Fatalf("got\n%s\nthen\n%s", stored(t, whole), got)
		}
		cut := rapid.IntRange(0, len(docs)).Draw(t, "cut")
		left, right := learn(t, docs[:cut]), learn(t, docs[cut:])
		before := stored(t, right)
		merged, other := learn(t, docs[:cut]), learn(t, docs[cut:])
		merged.Merge(right)
		other.Merge(left)
		if got := stored(t, merged); got != stored(t, whole) || stored(t, other) != got {
			t.Fatalf("whole\n%s\nleft with right\n%s\nright with left\n%s", stored(t, whole), got, stored(t, other))
		}
		if stored(t, right) != before {
			t.Fatal("what is merged changes")
		}
		schema := whole.JSONSchema("", "")
		if changed, drift := whole.Merge(merged); changed || drift != nil || !bytes.Equal(schema, whole.JSONSchema("", "")) {
			t.Fatalf("merging the same again changes something: %v", drift)
		}
		var back shape.Shape
		if err := json.Unmarshal([]byte(stored(t, merged)), &back); err != nil || stored(t, &back) != stored(t, merged) {
			t.Fatalf("stored and read: %v\n%s\n%s", err, stored(t, merged), stored(t, &back))
		}
	})
}

// Maps come about in any order, too, also inside what becomes a map.
func TestOrderMakesNoDifferenceToMaps(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		docs := make([]string, rapid.IntRange(2, 3).Draw(t, "n"))
		for i := range docs {
			prefix := rapid.SampledFrom([]string{"name", "other", "third"})
			inner := strings.ReplaceAll(wide(rapid.IntRange(0, 66).Draw(t, "inner"), `"%s":1`), "name", prefix.Draw(t, "inner prefix"))
			docs[i] = strings.ReplaceAll(wide(rapid.IntRange(0, 40).Draw(t, "outer"), `"%s":`+rapid.SampledFrom([]string{"1", `"x"`, inner}).Draw(t, "value")), "name", prefix.Draw(t, "prefix"))
			docs[i] = `{"a":` + docs[i] + `}`
		}
		one, other := learn(t, docs), learn(t, rapid.Permutation(docs).Draw(t, "order"))
		whole := `"depth":` + strconv.Itoa(shape.MaxDepth)
		if got, then := stored(t, one), stored(t, other); got != then && strings.Contains(got, whole) && strings.Contains(then, whole) {
			t.Fatalf("got\n%s\nthen\n%s", got, then)
		}
		valid(t, one.JSONSchema("", ""), docs[0])
	})
}

// Every sample is valid under what was learned, and nothing of any value is in it.
func TestSamplesAreValidAndForgotten(t *testing.T) {
	t.Parallel()
	const canary = "canary7Xq"
	rapid.Check(t, func(t *rapid.T) {
		docs := drawn(t, canary)
		s := &shape.Shape{}
		var told []shape.Change
		for _, doc := range docs {
			_, drift, err := s.Learn([]byte(doc))
			if err != nil {
				t.Fatal(err)
			}
			told = append(told, drift...)
		}
		schema := s.JSONSchema("", "")
		for _, doc := range docs {
			valid(t, schema, doc)
		}
		for name, text := range map[string]string{"the schema": string(schema), "the stored shape": stored(t, s), "the drift": fmt.Sprint(told)} {
			if strings.Contains(text, canary) {
				t.Fatalf("%s tells a value: %s", name, text)
			}
		}
	})
}

// What has a fingerprint that was seen before teaches nothing.
func TestFingerprintsTellWhatIsNew(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		docs := drawn(t, "canary")
		known := map[uint64]string{}
		s := &shape.Shape{}
		for _, doc := range docs {
			print := shape.Fingerprint([]byte(doc))
			changed, _, err := s.Learn([]byte(doc))
			if err != nil || print == 0 {
				t.Fatal(print, err)
			}
			if before, ok := known[print]; ok && changed {
				t.Fatalf("the same fingerprint:\n%s\n%s", before, doc)
			}
			known[print] = doc
		}
		// The same in another order, indented, with other keys that are data.
		var value any
		if err := json.Unmarshal([]byte(docs[0]), &value); err != nil {
			t.Fatal(err)
		}
		if again, err := json.MarshalIndent(value, " ", "\t"); err == nil && !strings.ContainsAny(docs[0], "0123456789") {
			if shape.Fingerprint(again) != shape.Fingerprint([]byte(docs[0])) {
				t.Fatalf("spaces make a difference to %s", docs[0])
			}
		}
	})
}

// Whatever is sent: it is learned within bounds or refused, in agreement with
// encoding/json, and valid under what was learned.
func FuzzLearn(f *testing.F) {
	for _, doc := range []string{
		push, invoicePaid, message, "", "null", `"\\"`, `"\\\""`, `{"a":1,"a":{}}`, "[1e999999999,-0,0.0]", "\"\xff\"", `{"\ud800":"\udc00"}`, `{"":{"":[{}]}}`,
		strings.Repeat("[", 40) + strings.Repeat("]", 40), strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40), `[[],{},"",{"404":[]}]`, " [ ] ", `{"a" : [ 1 , {"b" : "]"} ] }`,
	} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		s := &shape.Shape{}
		_, _, err := s.Learn(doc)
		print := shape.Fingerprint(doc)
		if ok := json.Valid(doc); (err == nil) != (ok && len(doc) <= shape.MaxDocumentBytes) || (print != 0) != ok {
			t.Fatalf("valid: %v, learn: %v, fingerprint %d", ok, err, print)
		}
		if err != nil {
			return
		}
		changed, drift, err := s.Learn(doc)
		if changed || drift != nil || err != nil {
			t.Fatalf("again: %v, %v, %v", changed, drift, err)
		}
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back shape.Shape
		if err := json.Unmarshal(data, &back); err != nil || !reflect.DeepEqual(back.JSONSchema("", ""), s.JSONSchema("", "")) {
			t.Fatalf("stored and read: %v", err)
		}
		v, err := shape.Compile(s.JSONSchema("x", "y"))
		if err != nil {
			t.Fatalf("its schema: %v", err)
		}
		var mismatch *shape.Mismatch
		if err := v.Validate(doc); err != nil && (!errors.As(err, &mismatch) || !strings.Contains(err.Error(), "a number has at most")) {
			t.Fatalf("the sample is not valid: %v", err)
		}
	})
}
