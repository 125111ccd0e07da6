package shape_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/hookgraph/hookgraph/internal/shape"
)

// learned returns the shape of documents.
func learned(t testing.TB, docs ...string) *shape.Shape {
	t.Helper()
	s := &shape.Shape{}
	for _, doc := range docs {
		if _, _, err := s.Learn([]byte(doc)); err != nil {
			t.Fatalf("learn %.80q: %v", doc, err)
		}
	}
	return s
}

// schemaOf returns the schema of documents on one line, without what all schemas have.
func schemaOf(t testing.TB, docs ...string) string {
	t.Helper()
	schema := map[string]any{}
	if err := json.Unmarshal(learned(t, docs...).JSONSchema("", ""), &schema); err != nil {
		t.Fatal(err)
	}
	if schema["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
		t.Fatalf("$schema is %v", schema["$schema"])
	}
	delete(schema, "$schema")
	out, err := json.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func wide(n int, format string) string {
	members := make([]string, n)
	for i := range members {
		members[i] = fmt.Sprintf(format, letters(i))
	}
	return "{" + strings.Join(members, ",") + "}"
}

// letters writes a number as a name.
func letters(i int) string { return "name_" + string(rune('a'+i/26%26)) + string(rune('a'+i%26)) }

func TestLearn(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		docs []string
		want string
	}{
		"a scalar":                          {[]string{`true`}, `{"type":"boolean"}`},
		"integers stay integers":            {[]string{`1`, `-7`}, `{"format":"int32","type":"integer"}`},
		"integers of 64 bits":               {[]string{`1`, `-2147483649`}, `{"format":"int64","type":"integer"}`},
		"the least integer of 32 bits":      {[]string{`-2147483648`}, `{"format":"int32","type":"integer"}`},
		"integers beyond":                   {[]string{`9223372036854775808`, `1`}, `{"type":"integer"}`},
		"integers far beyond":               {[]string{`123456789012345678901234567890`}, `{"type":"integer"}`},
		"an integer among numbers":          {[]string{`1`, `1.5`, `2`}, `{"type":"number"}`},
		"an exponent is a number":           {[]string{`1e999999999`}, `{"type":"number"}`},
		"nullable":                          {[]string{`null`, `"a"`}, `{"type":["string","null"]}`},
		"a union":                           {[]string{`1`, `"a"`, `{}`}, `{"type":["string","integer","object"]}`},
		"required and optional":             {[]string{`{"a":1,"b":2}`, `{"a":3}`}, `{"properties":{"a":{"format":"int32","type":"integer"},"b":{"format":"int32","type":"integer"}},"required":["a"],"type":"object"}`},
		"optional before it is there":       {[]string{`{}`, `{"a":true}`}, `{"properties":{"a":{"type":"boolean"}},"type":"object"}`},
		"a null beside an object":           {[]string{`{"a":true}`, `null`}, `{"properties":{"a":{"type":"boolean"}},"required":["a"],"type":["object","null"]}`},
		"items are one shape":               {[]string{`[{"a":true},{"a":null,"b":"x"}]`}, `{"items":{"properties":{"a":{"type":["boolean","null"]},"b":{"type":"string"}},"required":["a"],"type":"object"},"type":"array"}`},
		"an empty array":                    {[]string{`[]`}, `{"type":"array"}`},
		"nested arrays":                     {[]string{`[[1],["a"]]`}, `{"items":{"items":{"type":["string","integer"]},"type":"array"},"type":"array"}`},
		"the same key twice":                {[]string{`{"a":1,"a":"x"}`}, `{"properties":{"a":{"type":["string","integer"]}},"required":["a"],"type":"object"}`},
		"a key in escapes is the same key":  {[]string{`{"\u0061":true,"a":true}`, `{}`}, `{"properties":{"a":{"type":"boolean"}},"type":"object"}`},
		"a format that all have":            {[]string{`"2026-03-01"`, `"2024-02-29"`}, `{"format":"date","type":"string"}`},
		"a format that one lacks":           {[]string{`"2026-03-01"`, `"2026-02-29"`}, `{"type":"string"}`},
		"two formats":                       {[]string{`"2026-03-01"`, `"2026-03-01T00:00:00Z"`}, `{"type":"string"}`},
		"a format and null":                 {[]string{`"a@b.example"`, `null`}, `{"format":"email","type":["string","null"]}`},
		"a format beside another type":      {[]string{`"10.0.0.1"`, `7`}, `{"format":"ipv4","type":["string","integer"]}`},
		"a width beside strings":            {[]string{`"x"`, `7`}, `{"type":["string","integer"]}`},
		"escaped slashes":                   {[]string{`"https:\/\/a.example\/b"`}, `{"format":"uri","type":"string"}`},
		"many properties are a map":         {[]string{wide(65, `"%s":1`)}, `{"additionalProperties":{"format":"int32","type":"integer"},"type":"object"}`},
		"as many as are allowed are not":    {[]string{wide(64, `"%s":{}`)}, ""},
		"many properties over time are too": {[]string{wide(40, `"%s":1`), strings.ReplaceAll(wide(40, `"%s":"x"`), "name", "other")}, `{"additionalProperties":{"type":["string","integer"]},"type":"object"}`},
		"keys that are data":                {[]string{`{"7f1b2c3d-1111-4222-8333-444455556666":{"n":1},"2026-01-01":{"n":null}}`}, `{"additionalProperties":{"properties":{"n":{"format":"int32","type":["integer","null"]}},"required":["n"],"type":"object"},"type":"object"}`},
		"keys that are data beside names":   {[]string{`{"total":1,"bob@mail.example":"x"}`}, `{"properties":{"total":{"format":"int32","type":"integer"}},"required":["total"],"type":"object"}`},
		"what is not UTF-8":                 {[]string{"{\"a\xff\":\"\xfe\"}"}, `{"properties":{"a` + "\ufffd" + `":{"type":"string"}},"required":["a` + "\ufffd" + `"],"type":"object"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := schemaOf(t, test.docs...)
			if test.want == "" {
				if strings.Contains(got, "additionalProperties") || strings.Count(got, "name_") != 2*64 {
					t.Fatalf("got  %s", got)
				}
				return
			}
			if got != test.want {
				t.Fatalf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestLearnRefuses(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]error{
		"": shape.ErrNotJSON, "{": shape.ErrNotJSON, "{}x": shape.ErrNotJSON, "a=b": shape.ErrNotJSON,
		strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000): shape.ErrNotJSON,
		`"` + strings.Repeat("x", shape.MaxDocumentBytes) + `"`:   shape.ErrTooLarge,
	} {
		s := learned(t, `1`)
		changed, drift, err := s.Learn([]byte(doc))
		if changed || drift != nil || !errors.Is(err, want) || s.Samples() != 1 {
			t.Errorf("%.20q: %v, %v, %v, %d samples", doc, changed, drift, err, s.Samples())
		}
	}
}

func TestProviders(t *testing.T) {
	t.Parallel()
	got := schemaOf(t, invoicePaid, invoicePaidLater)
	want := `{"properties":{"api_version":{"format":"date","type":"string"},"created":{"format":"int32","type":"integer"},` +
		`"data":{"properties":{"object":{"properties":{"amount_paid":{"format":"int64","type":"integer"},"currency":{"type":"string"},` +
		`"customer_email":{"format":"email","type":"string"},"due_date":{"format":"date","type":["string","null"]},"id":{"type":"string"},` +
		`"lines":{"properties":{"data":{"items":{"properties":{"amount":{"format":"int32","type":"integer"},"discounts":{"items":{"properties":{"coupon":{"type":"string"}},"required":["coupon"],"type":"object"},"type":"array"},"id":{"type":"string"},"quantity":{"format":"int32","type":"integer"}},"required":["amount","discounts","id"],"type":"object"},"type":"array"},"has_more":{"type":"boolean"}},"required":["data","has_more"],"type":"object"},` +
		`"metadata":{"properties":{"order":{"type":"string"}},"type":"object"},"tax_percent":{"type":"number"}},"required":["amount_paid","currency","due_date","id","lines","metadata","tax_percent"],"type":"object"}},"required":["object"],"type":"object"},` +
		`"id":{"type":"string"},"livemode":{"type":"boolean"},"object":{"type":"string"},"pending_webhooks":{"format":"int32","type":"integer"},` +
		`"request":{"properties":{"id":{"type":"null"},"idempotency_key":{"format":"uuid","type":"string"}},"required":["id","idempotency_key"],"type":["object","null"]},` +
		`"type":{"type":"string"}},"required":["api_version","created","data","id","livemode","object","pending_webhooks","request","type"],"type":"object"}`
	if got != want {
		t.Errorf("invoice.paid\ngot  %s\nwant %s", got, want)
	}
	got = schemaOf(t, push)
	for _, part := range []string{
		`"author":{"properties":{"email":{"format":"email","type":"string"},"name":{"type":"string"},"username":{"type":"string"}},"required":["email","name"],"type":"object"}`,
		`"timestamp":{"format":"date-time","type":"string"}`, `"base_ref":{"type":"null"}`, `"html_url":{"format":"uri","type":"string"}`, `"compare":{"format":"uri","type":"string"}`,
	} {
		if !strings.Contains(got, part) {
			t.Errorf("push lacks %s\n%s", part, got)
		}
	}
	got = schemaOf(t, message)
	for _, part := range []string{
		`"reactions":{"additionalProperties":{"properties":{"count":{"format":"int32","type":"integer"},"name":{"type":"string"}},"required":["count","name"],"type":"object"},"type":"object"}`,
		`"elements":{"items":{"properties":{"type":{"type":"string"}},"required":["type"],"type":["string","object"]},"type":"array"}`, `"ts":{"type":"string"}`,
	} {
		if !strings.Contains(got, part) {
			t.Errorf("message lacks %s\n%s", part, got)
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"id", "a", "", "created_at", "createdAt", "HTMLURL", "html_url", "eTag", "sha256", "sha-256", "address_line_1", "line2", "oauth2_token", "v1", "2fa_enabled",
		"@type", "@context", "$schema", "#text", "content-type", "X-Request-Id", "First name", "straße", "utf8mb4", "base64Encoded", "isHTTPSOnly", "ipv4_address",
		"ISO8601", "md5Checksum", "p95", "q1_2026", "application/json", "user.name", "getHTTPURLs", "averageMonthlyRecurringRevenueInEuros", "i18n", "x509",
		"SHIPPING_ADDRESS", "__typename", "n8nVersion", "k8sCluster", "ed25519", "face2face", "a2dp", "base64url",
	} {
		doc, err := json.Marshal(map[string]any{name: 1})
		if err != nil {
			t.Fatal(err)
		}
		if got := schemaOf(t, string(doc)); strings.Contains(got, "additionalProperties") {
			t.Errorf("%q is taken for data: %s", name, got)
		}
	}
	for _, data := range []string{
		"bob@mail.example", "b@c", "4b0ea6d0-1ab7-4d1b-9b1e-1f9d0ac1a8f0", "404", "-1", "1.5", "2026-03-01", "2026-03-01T00:00:00Z", "2026/03", "12:30", "+49 151 2345678",
		"10.0.0.1", "10.0.0.1:8080", "::1", "https://a.example/b", "U024BE7LH", "cus_NffrFeUfNV2Hib", "evt_1NG8Du2eZvKYlo2CUI79vXWy", "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
		"6113728f27ae82c7b1a177c8d03f9e96e0adf246", "order-1234567", "aGVsbG8gd29ybGQh", "aGVsbG8gd29ybGQ=", "a1b2c3d4", "urn:isbn:0451450523", strings.Repeat("x", 65), "a\x00b",
		"eyJhbGciOiJIUzI1NiJ9", "5f4dcc3b5aa765d61d8327deb882cf99", "DEADBEEF1234", "usr_8f2a9c1", "77aa881", "6113728", "x1y2z3",
	} {
		doc, err := json.Marshal(map[string]any{data: 1})
		if err != nil {
			t.Fatal(err)
		}
		s := learned(t, string(doc))
		stored, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		quoted, _ := json.Marshal(data)
		if bytes.Contains(stored, quoted) || bytes.Contains(s.JSONSchema("", ""), quoted) {
			t.Errorf("%q is kept: %s", data, stored)
		}
	}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	for format, texts := range map[string][]string{
		"date-time": {"2026-03-01T17:04:05Z", "2026-03-01t17:04:05.123456789z", "2026-12-31T23:59:59-05:30"},
		"date":      {"2026-03-01", "2000-02-29"},
		"time":      {"17:04:05Z", "17:04:05.5+01:00"},
		"uuid":      {"4b0ea6d0-1ab7-4d1b-9b1e-1f9d0ac1a8f0", "4B0EA6D0-1AB7-4D1B-9B1E-1F9D0AC1A8F0"},
		"email":     {"a@b.example", "first.last+tag@sub-domain.example.org"},
		"uri":       {"https://a.example", "http://localhost:8080/x?y=%20#z", "git+ssh://a.example/b.git", "postgres://db/x"},
		"ipv4":      {"127.0.0.1", "255.255.255.255"},
		"ipv6":      {"::1", "2001:db8::8a2e:370:7334", "::ffff:10.0.0.1"},
		"": {
			"", "hello", "2026-02-30", "2100-02-29", "2026-3-1", "2026-03-01 17:04:05", "2026-03-01T17:04:05", "2026-03-01T24:00:00Z", "2026-03-01T23:59:60Z", "17:04:05", "17:04",
			"4b0ea6d01ab74d1b9b1e1f9d0ac1a8f0", "a@b", "@b.example", "a@b.e", "a..b@c.example", "a@-b.example", "<a@b.example>", "note:read", "//a.example", "https://", "https://a b.example",
			"https://a.example/%zz", "https://a.example:port/", "see https://a.example", "mailto:a@b.example", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.1.1.1", "1.2.3.", "10:20:30", "fe80::1%eth0", "dead:beef", "example.com",
		},
	} {
		for _, text := range texts {
			doc, err := json.Marshal(text)
			if err != nil {
				t.Fatal(err)
			}
			want := `{"type":"string"}`
			if format != "" {
				want = `{"format":"` + format + `","type":"string"}`
			}
			if got := schemaOf(t, string(doc)); got != want {
				t.Errorf("%q: got %s, want %s", text, got, want)
			}
		}
	}
}

func TestDrift(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		before, after string
		want          []string
		changed       bool
	}{
		"nothing":                     {`{"a":1}`, `{"a":2}`, nil, false},
		"another order":               {`{"a":1,"b":"x"}`, `{"b":"y","a":2}`, nil, false},
		"fewer items":                 {`[1,2]`, `[]`, nil, false},
		"a new property":              {`{"a":1}`, `{"a":1,"b":{"c":1}}`, []string{"PROPERTY_ADDED /b: absent, now object"}, true},
		"a missing property":          {`{"a":1,"b":{"c":1}}`, `{"a":1}`, []string{"PROPERTY_OPTIONAL /b: always there, now sometimes missing"}, true},
		"another type":                {`{"a":{"b":[1]}}`, `{"a":{"b":["x"]}}`, []string{"TYPE_WIDENED /a/b/*: integer, now string or integer"}, true},
		"a null":                      {`{"a":"2026-01-01"}`, `{"a":null}`, []string{"TYPE_WIDENED /a: string (date), now string (date) or null"}, true},
		"a wider integer":             {`1`, `5000000000`, []string{"TYPE_WIDENED the document: integer, now integer (64 bits)"}, true},
		"a narrower integer":          {`5000000000`, `1`, nil, false},
		"a fraction":                  {`1`, `1.5`, []string{"TYPE_WIDENED the document: integer, now number"}, true},
		"an integer after a fraction": {`1.5`, `5000000000`, nil, false},
		"a format lost":               {`{"a":"10.0.0.1"}`, `{"a":"x"}`, []string{"FORMAT_LOST /a: string (ipv4), now string"}, true},
		"the first items":             {`{"a":[]}`, `{"a":[true]}`, []string{"TYPE_WIDENED /a/*: no items, now boolean"}, true},
		"a key with a slash":          {`{}`, `{"a/b~c":1}`, []string{"PROPERTY_ADDED /a~1b~0c: absent, now integer"}, true},
		"keys that are data":          {`{"bob@mail.example":1}`, `{"eve@mail.example":"x"}`, []string{"TYPE_WIDENED /*: integer, now string or integer"}, true},
		"a map at last":               {wide(64, `"%s":1`), `{"name_xx":1}`, nil, true},
		"an object inside null":       {`{"a":null}`, `{"a":{"b":1}}`, []string{"TYPE_WIDENED /a: null, now object or null"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := learned(t)
			if changed, drift, err := s.Learn([]byte(test.before)); !changed || drift != nil || err != nil {
				t.Fatalf("the first sample: %v, %v, %v", changed, drift, err)
			}
			before := s.JSONSchema("", "")
			changed, drift, err := s.Learn([]byte(test.after))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, change := range drift {
				got = append(got, string(change.Kind)+" "+change.String())
			}
			if test.want == nil && test.changed { // a map: all names are missing, too
				if !slices.ContainsFunc(drift, func(c shape.Change) bool { return c.Kind == shape.BecameMap && c.Path == "" }) || len(drift) > shape.MaxChanges {
					t.Fatalf("drift %q", got)
				}
			} else if !slices.Equal(got, test.want) {
				t.Errorf("drift %q, want %q", got, test.want)
			}
			if same := bytes.Equal(before, s.JSONSchema("", "")); changed != test.changed || changed == same {
				t.Errorf("changed is %v, and the schema is the same: %v", changed, same)
			}
			if changed, drift, _ := s.Learn([]byte(test.after)); changed || drift != nil {
				t.Errorf("the same sample again: %v, %v", changed, drift)
			}
		})
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat(`{"a":[`, n) + "1" + strings.Repeat(`]}`, n) }
	var broad strings.Builder // 60 * 60 * 60 places
	for i := range 7 {
		fmt.Fprintf(&broad, `"%s":%s,`, letters(i), wide(60, `"%s":`+wide(30, `"%s":{"x":1}`)))
	}
	var unlike strings.Builder // a map of many keys that grow in size
	for i := range 20_000 {
		fmt.Fprintf(&unlike, `{"%s":1},`, letters(i))
	}
	docs := map[string]string{
		"deep":        deep(4000),
		"deep enough": deep(16),
		"brackets":    strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
		"broad":       "{" + broad.String() + `"z":1}`,
		"unlike":      "[" + unlike.String()[:200_000][:strings.LastIndex(unlike.String()[:200_000], ",")] + "]",
		"numbers":     "[" + strings.Repeat("1e999999999,", 20_000) + strings.Repeat("9", 5000) + "]",
		"backslashes": `["` + strings.Repeat(`\\`, 100_000) + `"]`,
		"quotes":      `{"` + strings.Repeat(`\"`, 100_000) + `":"` + strings.Repeat(`\"`, 20_000) + `"}`,
	}
	for name, doc := range docs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if len(doc) > shape.MaxDocumentBytes {
				t.Fatalf("%d bytes", len(doc))
			}
			s := learned(t, doc, `{"a":{"b":{"c":{"d":1}}}}`, doc)
			schema := s.JSONSchema("", "")
			if len(schema) > 1<<20 {
				t.Errorf("a schema of %d bytes", len(schema))
			}
			stored, err := json.Marshal(s)
			if err != nil || len(stored) > 512<<10 {
				t.Errorf("%d bytes are stored, %v", len(stored), err)
			}
			valid(t, schema, doc)
			if shape.Fingerprint([]byte(doc)) == 0 {
				t.Error("no fingerprint")
			}
			if changed, _, _ := s.Learn([]byte(doc)); changed {
				t.Error("it learns the same again")
			}
		})
	}
	// Growing over many samples.
	s := learned(t)
	shallow := false
	for i := range 40 {
		_, drift, err := s.Learn([]byte(`{"` + letters(i) + `":` + wide(60, `"%s":{"x":{"y":1}}`) + `}`))
		if err != nil {
			t.Fatal(err)
		}
		shallow = shallow || slices.ContainsFunc(drift, func(c shape.Change) bool { return c.Kind == shape.BecameShallow })
	}
	if stored, _ := json.Marshal(s); !shallow || len(stored) > 512<<10 {
		t.Errorf("%d bytes are stored; cut: %v", len(stored), shallow)
	}
	valid(t, s.JSONSchema("", ""), `{"`+letters(3)+`":`+wide(60, `"%s":{"x":{"y":1}}`)+`}`)
}

// valid checks a document against a schema with formats asserted.
func valid(t interface {
	Helper()
	Fatalf(string, ...any)
}, schema []byte, doc string) {
	t.Helper()
	if strings.Contains(doc, "1e999999999") {
		doc = strings.ReplaceAll(doc, "1e999999999", "1e9")
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		t.Fatalf("the schema: %v", err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema:/learned", value); err != nil {
		t.Fatalf("%v", err)
	}
	compiled, err := c.Compile("schema:/learned")
	if err != nil {
		t.Fatalf("compile: %v\n%s", err, schema)
	}
	instance, err := jsonschema.UnmarshalJSON(strings.NewReader(doc))
	if err != nil {
		t.Fatalf("the document: %v", err)
	}
	if err := compiled.Validate(instance); err != nil {
		t.Fatalf("%v\n%.2000s\n%.2000s", err, schema, doc)
	}
}

func TestStored(t *testing.T) {
	t.Parallel()
	s := learned(t, invoicePaid, message, push, `{"x":{"10":1}}`)
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back shape.Shape
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(&back)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, again) || back.Samples() != 4 || !bytes.Equal(s.JSONSchema("", ""), back.JSONSchema("", "")) {
		t.Fatalf("stored\n%s\nthen\n%s", data, again)
	}
	if changed, _, _ := back.Learn([]byte(message)); changed {
		t.Error("what is read back has forgotten something")
	}
	// A key that an earlier version took for a name is forgotten.
	if err := json.Unmarshal([]byte(`{"version":1,"samples":1,"root":{"types":["object"],"objects":1,"properties":{"bob@mail.example":{"types":["null"],"count":1}}}}`), &back); err != nil {
		t.Fatal(err)
	}
	if got := string(back.JSONSchema("", "")); strings.Contains(got, "bob") || !strings.Contains(got, `"null"`) {
		t.Errorf("got %s", got)
	}
	for _, bad := range []string{`{}`, `{"version":2}`, `{"version":1,"samples":1}`, `{"version":1,"samples":1,"root":{"types":["date"]}}`, `{"version":1,"samples":1,"root":{"types":["object"],"properties":{"a":null}}}`, `[]`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s is read", bad)
		}
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	same := [][2]string{
		{`{"a":1,"b":"x"}`, ` { "b" : "yy" , "a" : 2147483647 } `},
		{`[1,2,3]`, `[4]`},
		{`[{"a":1},{"a":2}]`, `[{"a":3}]`},
		{`{"bob@a.example":1}`, `{"eve@b.example":2,"mallory@c.example":3}`},
		{`{"\u0061":1}`, `{"a":1}`},
		{`"https://a.example"`, `"http:\/\/b.example\/c"`},
	}
	for _, pair := range same {
		if shape.Fingerprint([]byte(pair[0])) != shape.Fingerprint([]byte(pair[1])) {
			t.Errorf("%s and %s have different fingerprints", pair[0], pair[1])
		}
	}
	different := []string{
		`1`, `1.0`, `5000000000`, `99999999999999999999`, `null`, `true`, `"x"`, `"2026-01-01"`, `[]`, `{}`, `[1]`, `["x"]`, `[1,"x"]`, `[[]]`, `[{}]`, `{"a":1}`, `{"b":1}`, `{"a":{}}`,
		`{"a":1,"b":1}`, `{"a":{"b":1}}`, `{"a":{},"b":1}`, `{"1":1}`, `{"1":"x"}`, `{"a":null}`, `{"abcdefgh":1}`, `{"abcdefghi":1}`, `[{"a":1},{"a":1,"b":1}]`, `[{"a":1,"b":1}]`, `{"a":[1],"b":["x"]}`, `{"a":["x"],"b":[1]}`,
	}
	seen := map[uint64]string{}
	for _, doc := range different {
		print := shape.Fingerprint([]byte(doc))
		if before, ok := seen[print]; ok {
			t.Errorf("%s and %s have the same fingerprint", before, doc)
		}
		seen[print] = doc
	}
	if shape.Fingerprint([]byte(`{`)) != 0 || shape.Fingerprint([]byte(``)) != 0 {
		t.Error("what is not JSON has a fingerprint")
	}
}

func BenchmarkShape(b *testing.B) {
	var many strings.Builder
	for i := range 200 {
		if i > 0 {
			many.WriteByte(',')
		}
		many.WriteString(push)
	}
	for name, doc := range map[string]string{"push": push, "invoice": invoicePaid, "array": "[" + many.String() + "]"} {
		data := []byte(doc)
		run := func(what string, f func()) {
			b.Run(name+"/"+what, func(b *testing.B) {
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				for b.Loop() {
					f()
				}
			})
		}
		run("valid", func() { json.Valid(data) })
		run("fingerprint", func() { shape.Fingerprint(data) })
		s := learned(b, `{}`)
		run("learn", func() { _, _, _ = s.Learn(data) })
		v, err := shape.Compile(s.JSONSchema("", ""))
		if err != nil {
			b.Fatal(err)
		}
		run("validate", func() {
			if err := v.Validate(data); err != nil {
				b.Fatal(err)
			}
		})
	}
}
