package match

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// maxShapedNesting is as deep as encoding/json reads.
const maxShapedNesting = 10_000

// CheckTransform says what is wrong with a transform: an expression over event,
// headers, query, body and raw that builds any JSON. The error is an *ExpressionError.
func (m *Matcher) CheckTransform(expr string) error {
	p, err := m.environments.compile(filterScope, expr)
	if err != nil {
		return asError(err)
	}
	if p.output.Kind() == types.StructKind || p.output.Kind() == types.TypeKind {
		return &ExpressionError{
			Message: fmt.Sprintf("a transform must build JSON, and this is of type %s; build a map of what is wanted, such as {'id': event.id}",
				cel.FormatCELType(p.output)),
			Line: 1, Column: 1,
		}
	}
	return nil
}

// Transform evaluates a transform over an event with its payload and returns its value
// as JSON, at most hub.MaxShapedBytes. The same event and the same expression always give
// the same bytes: the keys of a map are sorted. An integer of 64 bits keeps its digits,
// every other number is an IEEE double. Bytes become base64, times RFC 3339, durations
// seconds such as 1.5s.
func (m *Matcher) Transform(expr string, ev *hub.Event, sourceSlug string) ([]byte, error) {
	p, err := m.program(filterScope, expr)
	if err != nil {
		return nil, err
	}
	value, err := p.eval(newFacts(ev, sourceSlug))
	if err != nil {
		return nil, err
	}
	var w jsonWriter
	w.strings = json.NewEncoder(&w.out)
	w.strings.SetEscapeHTML(false)
	if err := w.value(value, 0); err != nil {
		return nil, err
	}
	return w.out.Bytes(), nil
}

// jsonWriter writes what expressions yield.
type jsonWriter struct {
	out     bytes.Buffer
	strings *json.Encoder // to out
}

// value writes a value of CEL, or one that decodeJSON has made and CEL has only passed
// through.
func (w *jsonWriter) value(value any, nesting int) error {
	if w.out.Len() > hub.MaxShapedBytes {
		return tooLarge()
	}
	if nesting > maxShapedNesting {
		return errors.New("the body is nested too deeply")
	}
	switch v := value.(type) {
	case nil, types.Null:
		w.out.WriteString("null")
	case bool:
		w.out.WriteString(strconv.FormatBool(v))
	case types.Bool:
		w.out.WriteString(strconv.FormatBool(bool(v)))
	case int64:
		w.integer(v)
	case types.Int:
		w.integer(int64(v))
	case types.Uint:
		w.out.WriteString(strconv.FormatUint(uint64(v), 10))
	case float64:
		return w.double(v)
	case types.Double:
		return w.double(float64(v))
	case string:
		return w.text(v)
	case types.String:
		return w.text(string(v))
	case types.Bytes:
		return w.text(base64.StdEncoding.EncodeToString(v))
	case types.Timestamp:
		return w.text(v.UTC().Format(time.RFC3339Nano))
	case types.Duration:
		return w.text(strconv.FormatFloat(v.Seconds(), 'f', -1, 64) + "s")
	case map[string]any:
		return writeMap(w, slices.Sorted(maps.Keys(v)), func(key string) any { return v[key] }, nesting)
	case []any:
		return writeList(w, len(v), func(i int) any { return v[i] }, nesting)
	case *types.Optional:
		if !v.HasValue() {
			return w.value(nil, nesting)
		}
		return w.value(v.GetValue(), nesting)
	case traits.Mapper:
		return w.celMap(v, nesting)
	case traits.Lister:
		size, ok := v.Size().(types.Int)
		if !ok {
			return errUnusable
		}
		return writeList(w, int(size), func(i int) any { return v.Get(types.Int(i)) }, nesting)
	case ref.Val:
		if err, ok := v.(*types.Err); ok {
			return err
		}
		return fmt.Errorf("a value of type %s is no JSON", v.Type().TypeName())
	default:
		return errUnusable
	}
	return w.bounded()
}

func tooLarge() error {
	return fmt.Errorf("the body is larger than %d bytes", hub.MaxShapedBytes)
}

func (w *jsonWriter) bounded() error {
	if w.out.Len() > hub.MaxShapedBytes {
		return tooLarge()
	}
	return nil
}

func (w *jsonWriter) integer(n int64) { w.out.WriteString(strconv.FormatInt(n, 10)) }

func (w *jsonWriter) double(f float64) error {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return fmt.Errorf("JSON has no number %g", f)
	}
	return w.encoded(f)
}

func (w *jsonWriter) text(s string) error { return w.encoded(s) }

// encoded writes a text or a number as encoding/json does.
func (w *jsonWriter) encoded(v any) error {
	if err := w.strings.Encode(v); err != nil {
		return err
	}
	w.out.Truncate(w.out.Len() - 1) // the line's end
	return w.bounded()
}

// celMap writes a map whose keys may be of any type that CEL allows.
func (w *jsonWriter) celMap(m traits.Mapper, nesting int) error {
	if native, ok := m.Value().(map[string]any); ok {
		return w.value(native, nesting)
	}
	keys := make(map[string]ref.Val)
	for it := m.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name, err := asText(key)
		if err != nil {
			return fmt.Errorf("a key of type %s is no JSON", key.Type().TypeName())
		}
		if _, twice := keys[name]; twice {
			return fmt.Errorf("a map has the key %.40q twice, as different types", name)
		}
		keys[name] = key
	}
	return writeMap(w, slices.Sorted(maps.Keys(keys)), func(name string) any { return m.Get(keys[name]) }, nesting)
}

func writeMap(w *jsonWriter, names []string, get func(string) any, nesting int) error {
	w.out.WriteByte('{')
	for i, name := range names {
		if i > 0 {
			w.out.WriteByte(',')
		}
		if err := w.text(name); err != nil {
			return err
		}
		w.out.WriteByte(':')
		if err := w.value(get(name), nesting+1); err != nil {
			return err
		}
	}
	w.out.WriteByte('}')
	return w.bounded()
}

func writeList(w *jsonWriter, size int, get func(int) any, nesting int) error {
	w.out.WriteByte('[')
	for i := range size {
		if i > 0 {
			w.out.WriteByte(',')
		}
		if err := w.value(get(i), nesting+1); err != nil {
			return err
		}
	}
	w.out.WriteByte(']')
	return w.bounded()
}
