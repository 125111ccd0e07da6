package shape

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Bounds of validation.
const (
	// MaxProblems is how many problems a check reports.
	MaxProblems = 10
	// maxSchemaValues is how many objects, arrays and values a schema may have.
	maxSchemaValues = 10_000
	// maxPatternSize is how large a regular expression may get, repetitions
	// written out.
	maxPatternSize = 1000
	// maxDigits is how long a number may be, and how large its exponent.
	maxDigits = 400
	// maxWork is how much one check may do: about one unit for each value and
	// each schema that is applied to it.
	maxWork = 250_000
)

// ErrTooCostly is returned for a document that would take too long to check
// against its schema.
var ErrTooCostly = errors.New("the document takes too many steps to check against its schema")

// SchemaError says what is wrong with a schema, and where.
type SchemaError struct {
	// Path is a JSON pointer to the keyword, or empty.
	Path   string
	Reason string
}

func (e *SchemaError) Error() string {
	if e.Path == "" {
		return e.Reason
	}
	return e.Path + ": " + e.Reason
}

// Problem is one way in which a document is not as its schema wants it. It tells
// no value of the document; keys that are data are * in its path.
type Problem struct {
	Path   string // a JSON pointer into the document, empty for all of it
	Reason string
}

func (p Problem) String() string { return cmp.Or(p.Path, "/") + ": " + p.Reason }

// Mismatch is a document that does not fit its schema.
type Mismatch struct {
	Problems []Problem // at most MaxProblems, in the order of their paths
}

func (e *Mismatch) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "; ")
}

// Validator checks documents against one schema. It is safe for concurrent use.
type Validator struct {
	schema any
	// checkers are compiled schemas that are not in use: each counts its work,
	// and so serves one check at a time.
	checkers sync.Pool
}

// checker is a compiled schema and the work it has left.
type checker struct {
	schema *jsonschema.Schema
	work   int
}

// schemaURL is where a schema without an $id is said to be. Nothing is ever
// fetched from anywhere.
const schemaURL = "hookgraph:///schema"

// Compile reads a JSON Schema: of draft 2020-12, or of the draft its $schema names
// (4, 6, 7, 2019-09). It is an object or a boolean of at most [MaxSchemaBytes] and
// [MaxSchemaDepth]. References must stay within the schema; others are errors and
// are not fetched. Regular expressions are those of RE2, without look-around.
//
// Whether formats are checked is what the draft says: they are through draft 7,
// and are notes from 2019-09 on.
//
// The error is a [*SchemaError].
func Compile(schema []byte) (*Validator, error) {
	switch {
	case len(schema) > MaxSchemaBytes:
		return nil, &SchemaError{Reason: fmt.Sprintf("a schema has at most %d bytes", MaxSchemaBytes)}
	case !json.Valid(schema):
		return nil, &SchemaError{Reason: "not JSON"}
	case nesting(schema) > MaxSchemaDepth:
		return nil, &SchemaError{Reason: fmt.Sprintf("a schema is at most %d levels deep", MaxSchemaDepth)}
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return nil, &SchemaError{Reason: "not JSON"}
	}
	switch value.(type) {
	case map[string]any, bool:
	default:
		return nil, &SchemaError{Reason: "a schema is an object or a boolean"}
	}
	if values(value) > maxSchemaValues {
		return nil, &SchemaError{Reason: fmt.Sprintf("a schema has at most %d values", maxSchemaValues)}
	}
	if way, found := unreasonable(value); found {
		slices.Reverse(way)
		return nil, &SchemaError{Path: pointer(way), Reason: numberTooLong}
	}
	v := &Validator{schema: value}
	c, err := compile(value)
	if err != nil {
		return nil, explainSchema(value, err)
	}
	v.checkers.Put(c)
	return v, nil
}

// values counts what a schema consists of.
func values(value any) int {
	count := 1
	switch value := value.(type) {
	case map[string]any:
		for _, member := range value {
			count += values(member)
		}
	case []any:
		for _, item := range value {
			count += values(item)
		}
	}
	return count
}

// unreasonable returns the way to a number that takes long to compute with, from
// its end to its beginning.
func unreasonable(value any) (way []string, found bool) {
	switch value := value.(type) {
	case map[string]any:
		for key, member := range value {
			if way, found := unreasonable(member); found {
				return append(way, key), true
			}
		}
	case []any:
		for i, item := range value {
			if way, found := unreasonable(item); found {
				return append(way, strconv.Itoa(i)), true
			}
		}
	case json.Number:
		return nil, !reasonable(value)
	}
	return nil, false
}

// numberTooLong is why it is refused.
var numberTooLong = fmt.Sprintf("a number has at most %d characters, and an exponent of at most %[1]d", maxDigits)

// reasonable tells whether a number can be computed with in little time.
func reasonable(number json.Number) bool {
	if len(number) > maxDigits {
		return false
	}
	_, exponent, ok := strings.Cut(strings.ToLower(string(number)), "e")
	if !ok {
		return true
	}
	n, err := strconv.Atoi(exponent)
	return err == nil && -maxDigits <= n && n <= maxDigits
}

// refusal is the loader of a compiler that must not load anything.
type refusal struct{}

var errNotFetched = errors.New("refers to another document: schemas are not fetched")

func (refusal) Load(string) (any, error) { return nil, errNotFetched }

func compile(schema any) (c *checker, err error) {
	c = &checker{work: 20 * maxWork}
	defer func() {
		switch reason := recover(); reason.(type) {
		case nil:
		case exhausted:
			err = &SchemaError{Reason: "the schema takes too many steps to read"}
		default:
			panic(reason)
		}
	}()
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(refusal{})
	compiler.UseRegexpEngine(c.pattern)
	compiler.RegisterVocabulary(&jsonschema.Vocabulary{
		URL: "hookgraph:///work",
		Compile: func(_ *jsonschema.CompilerContext, schema map[string]any) (jsonschema.SchemaExt, error) {
			return &toll{c, price(schema)}, nil
		},
	})
	compiler.AssertVocabs()
	if err := compiler.AddResource(schemaURL, schema); err != nil {
		return nil, err
	}
	compiled, err := compiler.Compile(schemaURL)
	if err != nil {
		return nil, err
	}
	c.schema = compiled
	return c, nil
}

// exhausted is what a checker panics with when its work is used up: the library
// that validates has no other way to be stopped.
type exhausted struct{}

func (c *checker) spend(work int) {
	if c.work -= work; c.work < 0 {
		panic(exhausted{})
	}
}

// toll is paid each time a schema was applied to a value.
type toll struct {
	checker *checker
	price   int
}

func (t *toll) Validate(at *jsonschema.ValidatorContext, value any) {
	work := t.price + len(at.ValueLocation())/8 // errors say where they are
	switch value := value.(type) {
	case map[string]any:
		work += len(value) / 4
	case []any:
		work += len(value) / 4
	}
	t.checker.spend(work)
}

// price is what applying a schema costs, apart from the schemas within it.
func price(schema map[string]any) int {
	price := 1 + len(list(schema["required"]))/16
	for _, value := range list(schema["enum"]) {
		switch value.(type) {
		case string, bool, nil:
		default:
			price++
		}
	}
	return price + len(list(schema["enum"]))/32
}

// pattern compiles a regular expression whose use is paid for.
func (c *checker) pattern(text string) (jsonschema.Regexp, error) {
	parsed, err := syntax.Parse(translate(text), syntax.Perl)
	if err != nil {
		return nil, err
	}
	size := sizeOf(parsed)
	if size > maxPatternSize {
		return nil, errors.New("it is too large, repetitions included")
	}
	compiled, err := regexp.Compile(translate(text))
	if err != nil {
		return nil, err
	}
	return &pattern{c, compiled, text, size}, nil
}

type pattern struct {
	checker *checker
	regexp  *regexp.Regexp
	text    string
	size    int
}

func (p *pattern) String() string { return p.text }

func (p *pattern) MatchString(s string) bool {
	p.checker.spend(1 + len(s)*min(p.size, 40)/100)
	return p.regexp.MatchString(s)
}

var unicodeEscape = regexp.MustCompile(`\\(\\|u[0-9A-Fa-f]{4})`)

// translate writes the escapes of ECMAScript that RE2 does not have in its own way.
func translate(pattern string) string {
	return unicodeEscape.ReplaceAllStringFunc(pattern, func(escape string) string {
		if escape == `\\` {
			return escape
		}
		return `\x{` + escape[2:] + `}`
	})
}

// sizeOf counts what an expression consists of when its repetitions are written out.
func sizeOf(re *syntax.Regexp) int {
	size := 1
	for _, sub := range re.Sub {
		size = min(size+sizeOf(sub), 2*maxPatternSize)
	}
	switch re.Op {
	case syntax.OpRepeat:
		size *= max(re.Min, re.Max, 1)
	case syntax.OpLiteral:
		size += len(re.Rune)
	case syntax.OpCharClass:
		size += len(re.Rune) / 64
	default:
	}
	return min(size, 2*maxPatternSize)
}

// Validate checks a document. The error is a [*Mismatch], ErrNotJSON, or
// ErrTooCostly. It takes a bounded number of steps, whatever the schema; how large
// documents are is for the caller to bound.
func (v *Validator) Validate(doc []byte) error {
	if !json.Valid(doc) {
		return ErrNotJSON
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		return ErrNotJSON
	}
	if way, found := unreasonable(value); found {
		slices.Reverse(way)
		return &Mismatch{Problems: []Problem{{Path: pointer(masked(way)), Reason: numberTooLong}}}
	}
	c, ok := v.checkers.Get().(*checker)
	if !ok {
		if c, err = compile(v.schema); err != nil {
			return fmt.Errorf("compile a schema again: %w", err) // cannot be: it compiled before
		}
	}
	defer v.checkers.Put(c)
	return c.check(value)
}

func (c *checker) check(value any) (err error) {
	defer func() {
		switch reason := recover(); reason.(type) {
		case nil:
		case exhausted:
			err = ErrTooCostly
		default:
			panic(reason)
		}
	}()
	c.work = maxWork
	err = c.schema.Validate(value)
	var failed *jsonschema.ValidationError
	if !errors.As(err, &failed) {
		return err
	}
	var found []Problem
	explain(failed, &found)
	slices.SortFunc(found, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Reason, b.Reason))
	})
	found = slices.Compact(found)
	return &Mismatch{Problems: found[:min(len(found), MaxProblems)]}
}
