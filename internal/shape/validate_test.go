package shape_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/shape"
)

func compiled(t testing.TB, schema string) *shape.Validator {
	t.Helper()
	v, err := shape.Compile([]byte(schema))
	if err != nil {
		t.Fatalf("compile %.200s: %v", schema, err)
	}
	return v
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		schema, doc string
		want        []string
	}{
		"valid":            {`{"type":"object"}`, `{}`, nil},
		"a type":           {`{"properties":{"data":{"properties":{"amount":{"type":"integer"}}}}}`, `{"data":{"amount":"secret"}}`, []string{"/data/amount: got string, want integer"}},
		"the document":     {`{"type":["object","array"]}`, `7`, []string{"/: got number, want array or object"}},
		"several":          {`{"properties":{"a":{"type":"string"},"b":{"items":{"type":"null"}}},"required":["c","d"]}`, `{"a":1,"b":[null,1]}`, []string{`/: missing "c", "d"`, "/a: got number, want string", "/b/1: got number, want null"}},
		"too many":         {`{"items":false}`, `[1,2,3,4,5,6,7,8,9,10,11,12]`, []string{"/0: not allowed", "/1: not allowed", "/10: not allowed", "/11: not allowed", "/2: not allowed", "/3: not allowed", "/4: not allowed", "/5: not allowed", "/6: not allowed", "/7: not allowed"}},
		"an enum":          {`{"enum":["open","paid",3,null,true,{"a":1}]}`, `"secret"`, []string{`/: want "open" or "paid" or 3 or null or true or 1 more`}},
		"a const":          {`{"const":{"a":1}}`, `"secret"`, []string{"/: want a certain object"}},
		"a pattern":        {`{"pattern":"^\\u0041\\d+\\/$"}`, `"secret"`, []string{`/: does not match the pattern ^\u0041\d+\/$`}},
		"a pattern fits":   {`{"pattern":"^\\u0041\\d+\\/$"}`, `"A12/"`, nil},
		"a name":           {`{"additionalProperties":false}`, `{"hidden":1,"bob@mail.example":2,"eve@mail.example":1}`, []string{`/: has properties that are not allowed: "*", "hidden"`}},
		"below data":       {`{"additionalProperties":{"type":"string"}}`, `{"bob@mail.example":1,"eve@mail.example":2}`, []string{"/*: got number, want string"}},
		"names":            {`{"propertyNames":{"maxLength":3}}`, `{"secret":1}`, []string{"/: has a property name that is not allowed"}},
		"ranges":           {`{"items":[{"minimum":1},{"exclusiveMaximum":0.5},{"multipleOf":3},{"minLength":9},{"maxItems":0}],"$schema":"http://json-schema.org/draft-07/schema#"}`, `[-5,777,7,"secret",[1]]`, []string{"/0: want at least 1", "/1: want less than 0.5", "/2: want a multiple of 3", "/3: got 6 characters, want at least 9", "/4: got 1 items, want at most 0"}},
		"alternatives":     {`{"anyOf":[{"type":"string"},{"type":"null"}]}`, `7`, []string{"/: fits none of 2 alternatives"}},
		"one near":         {`{"oneOf":[{"type":"null"},{"$ref":"#/$defs/a"}],"$defs":{"a":{"type":"object","required":["x"]}}}`, `{}`, []string{`/: missing "x"`}},
		"two of one":       {`{"oneOf":[{"type":"number"},{"type":"integer"}]}`, `7`, []string{"/: fits more than one alternative of oneOf"}},
		"conditions":       {`{"if":{"required":["a"]},"then":{"required":["b"]}}`, `{"a":1}`, []string{`/: missing "b"`}},
		"dependent":        {`{"dependentRequired":{"a":["b"]}}`, `{"a":1}`, []string{`/: missing "b", which "a" requires`}},
		"unevaluated":      {`{"allOf":[{"properties":{"a":true}}],"unevaluatedProperties":false}`, `{"a":1,"b":2}`, []string{"/b: not allowed"}},
		"a format is said": {`{"format":"email"}`, `"secret"`, nil},
		"a format, once":   {`{"$schema":"http://json-schema.org/draft-07/schema#","format":"email"}`, `"secret"`, []string{"/: not a valid email"}},
		"a huge exponent":  {`{"type":"integer"}`, `{"bob@mail.example":[1,1e999999]}`, []string{"/*/1: a number has at most 400 characters, and an exponent of at most 400"}},
		"a long number":    {`{"type":"integer"}`, strings.Repeat("9", 5000), []string{"/: a number has at most 400 characters, and an exponent of at most 400"}},
		"yes":              {`true`, `1`, nil},
		"no":               {`false`, `1`, []string{"/: not allowed"}},
		"unique":           {`{"uniqueItems":true}`, `["secret","x","secret"]`, []string{"/: items 0 and 2 are equal"}},
		"not":              {`{"not":{}}`, `1`, []string{"/: is what not excludes"}},
		"its own $id":      {`{"$id":"https://a.example/x.json","$ref":"x.json#/$defs/s","$defs":{"s":{"type":"string"}}}`, `1`, []string{"/: got number, want string"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := compiled(t, test.schema)
			for range 3 { // the order of what is wrong does not change
				err := v.Validate([]byte(test.doc))
				var mismatch *shape.Mismatch
				if !errors.As(err, &mismatch) {
					if err != nil || test.want != nil {
						t.Fatalf("got %v, want %q", err, test.want)
					}
					continue
				}
				if got := err.Error(); got != strings.Join(test.want, "; ") {
					t.Fatalf("got  %s\nwant %s", got, strings.Join(test.want, "; "))
				}
				if strings.Contains(err.Error(), "secret") {
					t.Fatal("a value is told")
				}
			}
		})
	}
	if err := compiled(t, `true`).Validate([]byte(`{`)); !errors.Is(err, shape.ErrNotJSON) {
		t.Error(err)
	}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ schema, path, reason string }{
		"no JSON":               {`{`, "", "not JSON"},
		"no schema":             {`[]`, "", "an object or a boolean"},
		"too large":             {`{"description":"` + strings.Repeat("x", shape.MaxSchemaBytes) + `"}`, "", "bytes"},
		"too deep":              {strings.Repeat(`{"not":`, 200) + "{}" + strings.Repeat("}", 200), "", "levels"},
		"too many values":       {`{"enum":[` + strings.Repeat("1,", 15_000) + `1]}`, "", "values"},
		"a wrong keyword":       {`{"properties":{"a":{"type":"strin"}}}`, "/properties/a/type", `want "array" or`},
		"a wrong number":        {`{"properties":{"a":{"minLength":-1}}}`, "/properties/a/minLength", "want at least 0"},
		"a remote reference":    {`{"properties":{"a":{"$ref":"https://a.example/x.json"}}}`, "/properties/a/$ref", "not fetched"},
		"a file":                {`{"properties":{"a":{"$ref":"file:///etc/passwd"}}}`, "/properties/a/$ref", "not fetched"},
		"a relative reference":  {`{"properties":{"a":{"$ref":"x.json#/a"}}}`, "/properties/a/$ref", "not fetched"},
		"an unknown dialect":    {`{"$schema":"https://a.example/meta"}`, "/$schema", "not fetched"},
		"a lost reference":      {`{"properties":{"a":{"$ref":"#/$defs/none"}}}`, "/properties/a/$ref", "not there"},
		"a pattern of another":  {`{"properties":{"a":{"pattern":"^(?!x)"}}}`, "/properties/a/pattern", "regular expression"},
		"a pattern that grows":  {`{"pattern":"((a{9}){9}){9}{9}"}`, "/pattern", "regular expression"},
		"a pattern of patterns": {`{"patternProperties":{"(a{90}b{90}){9}":{}}}`, "", "regular expression"},
		"a huge number":         {`{"properties":{"a":{"minimum":1e99999}}}`, "/properties/a/minimum", "exponent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			_, err := shape.Compile([]byte(test.schema))
			var wrong *shape.SchemaError
			if !errors.As(err, &wrong) {
				t.Fatalf("got %v", err)
			}
			if test.path != "" && wrong.Path != test.path || !strings.Contains(wrong.Reason, test.reason) || len(err.Error()) > 500 {
				t.Errorf("got %q: %q", wrong.Path, wrong.Reason)
			}
			if took := time.Since(start); took > time.Minute {
				t.Errorf("took %v", took)
			}
		})
	}
}

// Schemas that multiply end in an error and not in hours.
func TestValidationIsBounded(t *testing.T) {
	t.Parallel()
	var doubling strings.Builder
	for i := range 60 {
		fmt.Fprintf(&doubling, `"%d":{"allOf":[{"$ref":"#/$defs/%d"},{"$ref":"#/$defs/%d"}]},`, i, i+1, i+1)
	}
	list := "[" + strings.Repeat("1,", 30_000) + "1]"
	for name, test := range map[string]struct {
		schema, doc string
		costly      bool
	}{
		"references that double": {`{"$ref":"#/$defs/0","$defs":{` + doubling.String() + `"60":{"type":"object"}}}`, `{}`, true},
		"doubling downwards":     {`{"allOf":[{"properties":{"a":{"$ref":"#"}}},{"properties":{"a":{"$ref":"#"}}}]}`, strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), true},
		"alternatives downwards": {`{"$defs":{"n":{"anyOf":[{"items":{"$ref":"#/$defs/n"},"minItems":9},{"items":{"$ref":"#/$defs/n"},"minItems":9}]}},"$ref":"#/$defs/n"}`, strings.Repeat("[", 100) + strings.Repeat("]", 100), true},
		"an enum of numbers":     {`{"items":{"enum":[` + strings.Repeat("2,", 5000) + `1]}}`, list, true},
		"a long enum of texts":   {`{"items":{"enum":["` + strings.Repeat(`x","`, 5000) + `1"]}}`, strings.ReplaceAll(list, "1", `"1"`), true},
		"a costly pattern":       {`{"items":{"pattern":"(x+x+)+y"}}`, `["` + strings.Repeat("x", 1_000_000) + `"]`, false},
		"many properties":        {`{"unevaluatedProperties":false,"patternProperties":{"a":true,"b":true}}`, wide(500, `"%s":1`), false},
		"a long list":            {`{"items":{"type":"integer","minimum":0}}`, list, false},
		"all of it is wrong":     {`{"items":{"type":"string"}}`, list, false},
		"unique numbers":         {`{"uniqueItems":true}`, list, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := compiled(t, test.schema)
			start := time.Now()
			err := v.Validate([]byte(test.doc))
			if test.costly != errors.Is(err, shape.ErrTooCostly) {
				t.Errorf("got %.300v", err)
			}
			took := time.Since(start)
			t.Logf("%v", took)
			if took > time.Minute {
				t.Errorf("took %v", took)
			}
			if again := v.Validate([]byte(`0`)); errors.Is(again, shape.ErrTooCostly) && name != "references that double" {
				t.Error("the next document pays for the one before")
			}
		})
	}
}

func TestValidateTogether(t *testing.T) {
	t.Parallel()
	v := compiled(t, string(learned(t, invoicePaid).JSONSchema("", "")))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if err := v.Validate([]byte(invoicePaid)); err != nil {
					t.Error(err)
				}
				if err := v.Validate([]byte(`{}`)); err == nil {
					t.Error("an empty object is an invoice")
				}
			}
		})
	}
	wg.Wait()
}

// Whatever the schema and the document: an answer in bounded time.
func FuzzCompile(f *testing.F) {
	for _, schema := range given {
		f.Add([]byte(schema), []byte(invoicePaid))
	}
	for _, schema := range []string{
		`{"$ref":"#"}`, `{"$dynamicRef":"#a","$dynamicAnchor":"a"}`, `{"$id":"x","$ref":"x#"}`, `{"$id":"%zz"}`, `{"$id":"#"}`, `{"$schema":7}`, `{"pattern":"\\"}`, `{"pattern":"["}`,
		`{"$schema":"http://json-schema.org/draft-04/schema#","id":"a","exclusiveMinimum":true,"minimum":1}`, `{"$recursiveRef":"#","$schema":"https://json-schema.org/draft/2019-09/schema"}`,
		`{"$vocabulary":{"x":true}}`, `{"$anchor":"a","$defs":{"b":{"$anchor":"a"}}}`, `{"format":"regex"}`, `{"multipleOf":0}`, `{"maxLength":1e30}`, `{"enum":[1e400,-0]}`,
	} {
		f.Add([]byte(schema), []byte(`{"a":[1,"x",null,{"a":1e3}]}`))
	}
	f.Fuzz(func(t *testing.T, schema, doc []byte) {
		v, err := shape.Compile(schema)
		if err != nil {
			var wrong *shape.SchemaError
			if !errors.As(err, &wrong) || wrong.Reason == "" {
				t.Fatalf("error %#v", err)
			}
			return
		}
		start := time.Now()
		err = v.Validate(doc)
		var mismatch *shape.Mismatch
		switch {
		case err == nil, errors.Is(err, shape.ErrNotJSON), errors.Is(err, shape.ErrTooCostly):
		case !errors.As(err, &mismatch), len(mismatch.Problems) == 0, len(mismatch.Problems) > shape.MaxProblems:
			t.Fatalf("error %#v", err)
		}
		if took := time.Since(start); took > time.Minute {
			t.Fatalf("took %v", took)
		}
	})
}
