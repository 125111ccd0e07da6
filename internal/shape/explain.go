package shape

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	failure "github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// explain adds what a failed check consists of.
func explain(failed *jsonschema.ValidationError, found *[]Problem) {
	switch k := failed.ErrorKind.(type) {
	case *failure.Schema, *failure.Group, *failure.Reference, *failure.AllOf:
		for _, cause := range failed.Causes {
			explain(cause, found)
		}
	case *failure.AnyOf, *failure.OneOf:
		if near := nearest(failed); near != nil {
			explain(near, found)
			return
		}
		add(failed, found, alternatives(k, failed))
	default:
		if reason := reasonOf(k); reason != "" {
			add(failed, found, reason)
		}
	}
}

func add(failed *jsonschema.ValidationError, found *[]Problem, reason string) {
	*found = append(*found, Problem{Path: pointer(masked(failed.InstanceLocation)), Reason: reason})
}

// masked hides keys that are data. Places in arrays are numbers, and stay.
func masked(path []string) []string {
	shown := make([]string, len(path))
	for i, name := range path {
		if isData(name) && !isIndex(name) {
			name = anyName
		}
		shown[i] = name
	}
	return shown
}

func isIndex(name string) bool {
	for i := range len(name) {
		if !isDigit(name[i]) {
			return false
		}
	}
	return len(name) > 0 && len(name) < 6
}

// nearest returns the one alternative whose type the value has, if there is
// exactly one: what is wrong with that is what people want to read.
func nearest(failed *jsonschema.ValidationError) *jsonschema.ValidationError {
	var fitting []*jsonschema.ValidationError
	for _, cause := range failed.Causes {
		at := cause
		for len(at.Causes) == 1 {
			if _, ok := at.ErrorKind.(*failure.Reference); !ok {
				break
			}
			at = at.Causes[0]
		}
		if _, ok := at.ErrorKind.(*failure.Type); ok && len(at.InstanceLocation) == len(failed.InstanceLocation) {
			continue
		}
		fitting = append(fitting, at)
	}
	if len(fitting) != 1 {
		return nil
	}
	return fitting[0]
}

func alternatives(k jsonschema.ErrorKind, failed *jsonschema.ValidationError) string {
	if one, ok := k.(*failure.OneOf); ok && len(one.Subschemas) > 0 {
		return "fits more than one alternative of oneOf"
	}
	return fmt.Sprintf("fits none of %d alternatives", len(failed.Causes))
}

// reasonOf says what was wanted, and of what came nothing but its type and size.
func reasonOf(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *failure.Type:
		return "got " + k.Got + ", want " + strings.Join(k.Want, " or ")
	case *failure.Required:
		return "missing " + quotedList(k.Missing)
	case *failure.DependentRequired:
		return "missing " + quotedList(k.Missing) + ", which " + quoted(k.Prop) + " requires"
	case *failure.Dependency:
		return "missing " + quotedList(k.Missing) + ", which " + quoted(k.Prop) + " requires"
	case *failure.AdditionalProperties:
		names := slices.Sorted(slices.Values(masked(k.Properties)))
		return "has properties that are not allowed: " + quotedList(slices.Compact(names))
	case *failure.PropertyNames:
		return "has a property name that is not allowed"
	case *failure.Enum:
		return "want " + valueList(k.Want)
	case *failure.Const:
		return "want " + valueList([]any{k.Want})
	case *failure.Format:
		return "not a valid " + k.Want
	case *failure.Pattern:
		return "does not match the pattern " + short(k.Want)
	case *failure.MinLength:
		return fmt.Sprintf("got %d characters, want at least %d", k.Got, k.Want)
	case *failure.MaxLength:
		return fmt.Sprintf("got %d characters, want at most %d", k.Got, k.Want)
	case *failure.MinItems:
		return fmt.Sprintf("got %d items, want at least %d", k.Got, k.Want)
	case *failure.MaxItems:
		return fmt.Sprintf("got %d items, want at most %d", k.Got, k.Want)
	case *failure.AdditionalItems:
		return fmt.Sprintf("has %d items too many", k.Count)
	case *failure.MinProperties:
		return fmt.Sprintf("got %d properties, want at least %d", k.Got, k.Want)
	case *failure.MaxProperties:
		return fmt.Sprintf("got %d properties, want at most %d", k.Got, k.Want)
	case *failure.UniqueItems:
		return fmt.Sprintf("items %d and %d are equal", k.Duplicates[0], k.Duplicates[1])
	case *failure.Contains:
		return "no item is as contains wants one"
	case *failure.MinContains:
		return fmt.Sprintf("got %d items that contains wants, want at least %d", len(k.Got), k.Want)
	case *failure.MaxContains:
		return fmt.Sprintf("got %d items that contains wants, want at most %d", len(k.Got), k.Want)
	case *failure.Minimum:
		return "want at least " + rational(k.Want)
	case *failure.ExclusiveMinimum:
		return "want more than " + rational(k.Want)
	case *failure.Maximum:
		return "want at most " + rational(k.Want)
	case *failure.ExclusiveMaximum:
		return "want less than " + rational(k.Want)
	case *failure.MultipleOf:
		return "want a multiple of " + rational(k.Want)
	case *failure.Not:
		return "is what not excludes"
	case *failure.FalseSchema:
		return "not allowed"
	case *failure.RefCycle:
		return "the schema's references lead in a circle"
	}
	return "does not fit " + strings.Join(k.KeywordPath(), "/")
}

func rational(r *big.Rat) string {
	f, _ := r.Float64()
	return fmt.Sprint(f)
}

// shownItems is how many of a schema's names or values a reason tells.
const shownItems = 5

func quotedList(names []string) string {
	shown := make([]string, 0, shownItems+1)
	for _, name := range names[:min(len(names), shownItems)] {
		shown = append(shown, short(quoted(name)))
	}
	if more := len(names) - len(shown); more > 0 {
		shown = append(shown, fmt.Sprintf("%d more", more))
	}
	return strings.Join(shown, ", ")
}

// valueList tells values of a schema.
func valueList(values []any) string {
	shown := make([]string, 0, shownItems+1)
	for _, value := range values[:min(len(values), shownItems)] {
		switch value := value.(type) {
		case map[string]any:
			shown = append(shown, "a certain object")
		case []any:
			shown = append(shown, "a certain array")
		default:
			text, err := json.Marshal(value)
			if err == nil {
				shown = append(shown, short(string(text)))
			}
		}
	}
	if more := len(values) - len(shown); more > 0 {
		shown = append(shown, fmt.Sprintf("%d more", more))
	}
	return strings.Join(shown, " or ")
}

// short cuts a long text.
func short(text string) string {
	if len(text) > 80 {
		return strings.ToValidUTF8(text[:80], "") + "…"
	}
	return text
}

// explainSchema turns what the compiler says into where it is and why.
func explainSchema(schema any, err error) error {
	var own *SchemaError
	if errors.As(err, &own) {
		return own
	}
	var meta *jsonschema.SchemaValidationError
	if errors.As(err, &meta) {
		var failed *jsonschema.ValidationError
		if errors.As(meta.Err, &failed) {
			if wrong := expressionOf(failed); wrong != nil {
				return wrong
			}
			var found []Problem
			explain(failed, &found)
			if len(found) > 0 {
				// The deepest place is the one that is wrong: the others contain it.
				deepest := slices.MaxFunc(found, func(a, b Problem) int {
					return cmp.Compare(strings.Count(a.Path, "/"), strings.Count(b.Path, "/"))
				})
				return &SchemaError{Path: deepest.Path, Reason: deepest.Reason}
			}
		}
		return &SchemaError{Reason: "not a valid JSON Schema"}
	}
	var expression *jsonschema.InvalidRegexError
	if errors.As(err, &expression) {
		return &SchemaError{Path: fragment(expression.URL), Reason: unusable(expression.Err)}
	}
	var load *jsonschema.LoadURLError
	if errors.As(err, &load) {
		path := find(schema, load.URL)
		return &SchemaError{Path: path, Reason: "refers to " + short(load.URL) + ": other documents are not fetched"}
	}
	var missing *jsonschema.JSONPointerNotFoundError
	if errors.As(err, &missing) {
		where := fragment(missing.URL)
		return &SchemaError{Path: find(schema, "#"+where), Reason: "refers to " + short("#"+where) + ", which is not there"}
	}
	return &SchemaError{Reason: strings.ReplaceAll(err.Error(), schemaURL, "")}
}

func unusable(err error) string {
	return "the regular expression cannot be used: " + short(err.Error())
}

// expressionOf looks for a regular expression among what is wrong with a schema.
func expressionOf(failed *jsonschema.ValidationError) *SchemaError {
	if format, ok := failed.ErrorKind.(*failure.Format); ok && format.Want == "regex" {
		return &SchemaError{Path: pointer(failed.InstanceLocation), Reason: unusable(format.Err)}
	}
	for _, cause := range failed.Causes {
		if wrong := expressionOf(cause); wrong != nil {
			return wrong
		}
	}
	return nil
}

// fragment returns the JSON pointer of a URL.
func fragment(location string) string {
	_, after, _ := strings.Cut(location, "#")
	if decoded, err := url.PathUnescape(after); err == nil {
		return decoded
	}
	return after
}

// find returns where in a schema something refers to a URL.
func find(value any, target string) string {
	var found string
	var visit func(value any, path []string) bool
	visit = func(value any, path []string) bool {
		switch value := value.(type) {
		case map[string]any:
			for _, key := range sortedKeys(value) {
				at := append(slices.Clone(path), key)
				if ref, ok := value[key].(string); ok && (key == "$ref" || key == "$schema" || key == "$dynamicRef" || key == "$recursiveRef") {
					whole, _, _ := strings.Cut(ref, "#")
					if ref == target || whole != "" && strings.HasSuffix(target, whole) {
						found = pointer(at)
						return true
					}
				}
				if visit(value[key], at) {
					return true
				}
			}
		case []any:
			for i, item := range value {
				if visit(item, append(slices.Clone(path), strconv.Itoa(i))) {
					return true
				}
			}
		}
		return false
	}
	visit(value, nil)
	return found
}
