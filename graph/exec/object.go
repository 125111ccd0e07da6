package exec

import (
	"bytes"
	"context"
	"io"
	"sync"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql"
)

// Object is an object of the answer in the making.
type Object struct {
	Values   []graphql.Marshaler // in the order of the selection
	Invalids uint32              // how many fields are null and must not be

	selection *Selection
	delayed   []delayed
	few       [6]graphql.Marshaler // the values of most objects
}

type delayed struct {
	field   int
	resolve func(context.Context) graphql.Marshaler
}

// NewObject makes the object of a selection.
func NewObject(selection *Selection) *Object {
	o := &Object{selection: selection}
	if n := len(selection.Fields); n <= len(o.few) {
		o.Values = o.few[:n]
	} else {
		o.Values = make([]graphql.Marshaler, n)
	}
	return o
}

// Concurrently notes a field that Dispatch resolves.
func (o *Object) Concurrently(field int, resolve func(context.Context) graphql.Marshaler) {
	o.delayed = append(o.delayed, delayed{field, resolve})
}

// Dispatch resolves the noted fields, several at the same time, so that their loaders
// wait together.
func (o *Object) Dispatch(ctx context.Context) {
	if len(o.delayed) == 0 {
		return
	}
	var others sync.WaitGroup
	for _, d := range o.delayed[1:] {
		others.Go(func() { o.Values[d.field] = d.resolve(ctx) })
	}
	first := o.delayed[0]
	o.Values[first.field] = first.resolve(ctx)
	others.Wait()
}

// MarshalGQL writes the object.
func (o *Object) MarshalGQL(w io.Writer) {
	before := "{"
	for i, key := range o.selection.keys {
		if key == "" {
			continue
		}
		write(w, before)
		before = ","
		write(w, key)
		o.Values[i].MarshalGQL(w)
	}
	if before == "{" {
		write(w, before)
	}
	write(w, "}")
}

// buffers are where answers are written, to be copied at their length.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxBuffer is how much of a buffer is kept for the next answer.
const maxBuffer = 1 << 20

// Encode returns the text of an answer.
func Encode(answer graphql.Marshaler) []byte {
	b, _ := buffers.Get().(*bytes.Buffer)
	b.Reset()
	answer.MarshalGQL(b)
	text := bytes.Clone(b.Bytes())
	if b.Cap() <= maxBuffer {
		buffers.Put(b)
	}
	return text
}

// String is a string of the answer.
func String(s string) graphql.Marshaler { return text(s) }

type text string

// MarshalGQL writes the string quoted, as gqlgen does.
func (t text) MarshalGQL(w io.Writer) {
	if !plain(string(t)) {
		graphql.MarshalString(string(t)).MarshalGQL(w)
		return
	}
	write(w, `"`)
	write(w, string(t))
	write(w, `"`)
}

// plain reports whether a string stands for itself between quotes.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// write writes a string, directly where the answer is collected in a buffer.
func write(w io.Writer, s string) {
	if b, ok := w.(*bytes.Buffer); ok {
		b.WriteString(s)
		return
	}
	_, _ = io.WriteString(w, s) // a buffer in the end
}
