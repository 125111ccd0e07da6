// Package gatetest holds requests that are out to hurt, for tests and benchmarks of
// whoever takes requests.
package gatetest

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Request is one that is out to hurt.
type Request struct {
	Name  string
	Query string
	// Variables are JSON as they are sent; "" for none.
	Variables string
	// Code is what it is refused with, "" where it is admitted, before it is asked which
	// operation is meant.
	Code string
}

// Body returns the request as a POST carries it.
func (r Request) Body() []byte {
	query, _ := json.Marshal(strings.ToValidUTF8(r.Query, "\uFFFD")) // a string always encodes
	if r.Variables == "" {
		return fmt.Appendf(nil, `{"query":%s}`, query)
	}
	return fmt.Appendf(nil, `{"query":%s,"variables":%s}`, query, r.Variables)
}

// Documents are hostile by their text alone.
func Documents() []Request {
	return []Request{
		{Name: "fragments that double", Query: doubling(25), Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "fragments that multiply", Query: multiplying(), Code: "COST_LIMIT_EXCEEDED"},
		{Name: "more fragments than admitted", Query: doubling(60), Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "fields repeated", Query: "{ " + strings.Repeat("__typename ", 1500) + "}", Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "fields repeated in fragments", Query: "{ ...A ...B } fragment A on Query { " + strings.Repeat("__typename ", 40) + "} fragment B on Query { " + strings.Repeat("__typename ", 40) + "}", Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "fields repeated in a spread", Query: "{ " + strings.Repeat("...A ", 600) + "} fragment A on Query { __typename }", Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "fields repeated inline", Query: "{ " + strings.Repeat("... { __typename } ", 400) + "}", Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "ten thousand fields", Query: "{ " + strings.Repeat("__typename ", 10_000) + "}", Code: "GRAPHQL_PARSE_FAILED"},
		{Name: "aliases", Query: "{ sources { nodes { " + Numbered(300, "a%d: id ") + "} } }", Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "a thousand aliases", Query: "{ " + Numbered(1000, "a%d: __typename ") + "}", Code: "GRAPHQL_PARSE_FAILED"},
		{Name: "root fields", Query: "{ " + Numbered(30, "a%d: viewer { role } ") + "}", Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "directives", Query: "{ viewer { role " + strings.Repeat("@include(if: true) ", 100) + "} }", Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "unknown directives", Query: "{ __typename " + strings.Repeat("@a ", 900) + "}", Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "depth", Query: deep(20), Code: "DEPTH_LIMIT_EXCEEDED"},
		{Name: "depth in fragments", Query: "{ events { nodes { ...A } } } " + chain(14), Code: "DEPTH_LIMIT_EXCEEDED"},
		{Name: "a fragment in itself", Query: "{ viewer { ...A } } fragment A on Viewer { role ...A }", Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "fragments in a circle", Query: "{ viewer { ...A } } fragment A on Viewer { ...B } fragment B on Viewer { ...A }", Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "an unused circle", Query: "{ viewer { role } } fragment A on Viewer { ...A }", Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "lists in lists", Query: "{ nodes(ids: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + ") { id } }", Code: "GRAPHQL_PARSE_FAILED"},
		{Name: "objects in objects", Query: "{ events(filter: " + strings.Repeat("{a:", 450) + "1" + strings.Repeat("}", 450) + ") { totalCount } }", Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "variables", Query: "query(" + Numbered(400, "$v%d: Int ") + ") { viewer { role } }", Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "operations", Query: Numbered(200, "query Q%d { viewer { role } } ")},
		{Name: "unknown fields", Query: "{ viewer { " + Numbered(1500, "f%d ") + "} }", Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "overlapping subselections", Query: "{ " + strings.Repeat("viewer { role scopes role scopes } ", 18) + strings.Repeat("sources { nodes { id name } } ", 2) + "}"},
		{Name: "a long comment", Query: "#" + strings.Repeat("x", large) + "\n{", Code: "GRAPHQL_PARSE_FAILED"},
		{Name: "a long string", Query: `{ source(slug: "` + strings.Repeat("x", large), Code: "GRAPHQL_PARSE_FAILED"},
		{Name: "a long block string", Query: `{ source(slug: """` + strings.Repeat("\n x", large/4), Code: "GRAPHQL_PARSE_FAILED"},
		{Name: "a long number", Query: "{ sources(first: " + strings.Repeat("9", large) + ") { totalCount } }", Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "blanks", Query: strings.Repeat(" ", large), Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "commas", Query: strings.Repeat(",", large) + "{", Code: "GRAPHQL_PARSE_FAILED"},
		{Name: "no UTF-8", Query: "{ \xff\xfe }", Code: "GRAPHQL_PARSE_FAILED"},
		{Name: "nothing", Query: "", Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "a schema", Query: "type Query { a: Int }", Code: "GRAPHQL_PARSE_FAILED"},
		{Name: "@defer", Query: "{ ... @defer { viewer { role } } }", Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "introspection in a stream", Query: "subscription { __typename }", Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "a skipped stream", Query: "subscription { eventStream @skip(if: true) { cursor } }", Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "an excluded stream", Query: "subscription { ...A @include(if: false) } fragment A on Subscription { eventStream { cursor } }", Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "streams in fragments", Query: "subscription { ...A ... { b: eventStream { cursor } } } fragment A on Subscription { eventStream { cursor } }", Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "a stream in a fragment", Query: "subscription { ...A } fragment A on Subscription { eventStream { cursor } }"},
		{Name: "two root fields in a stream", Query: "subscription { a: eventStream { cursor } b: eventStream { cursor } }", Code: "GRAPHQL_VALIDATION_FAILED"},
	}
}

// Numbered is n texts of a format, each with its number.
func Numbered(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// doubling expands to 2^n fields of one name.
func doubling(n int) string {
	var b strings.Builder
	b.WriteString("{ viewer { ...F0 } } ")
	for i := range n {
		fmt.Fprintf(&b, "fragment F%d on Viewer { ...F%d ... { ...F%d } } ", i, i+1, i+1)
	}
	fmt.Fprintf(&b, "fragment F%d on Viewer { role }", n)
	return b.String()
}

// multiplying expands to 20^4 fields, none beside another of its name.
func multiplying() string {
	var b strings.Builder
	b.WriteString("{ events { nodes { ...F0 } } } ")
	for i := range 4 {
		fmt.Fprintf(&b, "fragment F%d on Event { %s } ", i, Numbered(20, fmt.Sprintf("a%%d: source { events { nodes { ...F%d } } } ", i+1)))
	}
	b.WriteString("fragment F4 on Event { id }")
	return b.String()
}

// deep nests fields n levels deep.
func deep(n int) string {
	return "{ events { nodes { " + strings.Repeat("deliveries { nodes { event { ", n/3) + "id" + strings.Repeat(" } } }", n/3) + " } } }"
}

// chain is fragments that nest one in another.
func chain(n int) string {
	var b strings.Builder
	b.WriteString("fragment A on Event { ...F0 } ")
	for i := range n {
		fmt.Fprintf(&b, "fragment F%d on Event { deliveries { nodes { event { ...F%d } } } } ", i, i+1)
	}
	fmt.Fprintf(&b, "fragment F%d on Event { id }", n)
	return b.String()
}

// large is about how much a request may carry, with room for what is around it.
const large = 1<<20 - 1<<10

// Variables are hostile by the values of their variables.
func Variables() []Request {
	const ids = "query($v: [ID!]!) { nodes(ids: $v) { id } }"
	const filter = "query($v: EventFilter) { events(filter: $v) { nodes { id } } }"
	const payload = `mutation($v: JSON!) { publishEvent(input: {type: "t", payload: $v}) { event { id } } }`
	many := func(item string) string {
		return strings.TrimSuffix(strings.Repeat(item+",", large/(len(item)+1)), ",")
	}
	nested := func(open, inner, end string, n int) string {
		return strings.Repeat(open, n) + inner + strings.Repeat(end, n)
	}
	return []Request{
		{Name: "a list of many IDs", Query: ids, Variables: `{"v":[` + many(`"a"`) + `]}`, Code: "BAD_USER_INPUT"},
		{Name: "a list of many numbers", Query: ids, Variables: `{"v":[` + many(`1`) + `]}`, Code: "BAD_USER_INPUT"},
		{Name: "a list of many nulls", Query: ids, Variables: `{"v":[` + many(`null`) + `]}`, Code: "BAD_USER_INPUT"},
		{Name: "a list of many objects", Query: ids, Variables: `{"v":[` + many(`{}`) + `]}`, Code: "BAD_USER_INPUT"},
		{Name: "a list of more than are admitted", Query: ids, Variables: `{"v":[` + strings.Repeat(`"a",`, 1000) + `"a"]}`, Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "lists in lists", Query: ids, Variables: `{"v":` + nested("[", "", "]", 9000) + `}`, Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "lists in too many lists", Query: ids, Variables: `{"v":` + nested("[", "", "]", 500_000) + `}`, Code: "BAD_USER_INPUT"},
		{Name: "a list that has no end", Query: ids, Variables: `{"v":` + strings.Repeat("[", large) + `}`, Code: "BAD_USER_INPUT"},
		{Name: "objects in objects", Query: filter, Variables: `{"v":` + nested(`{"receivedAt":`, "1", "}", 9000) + `}`, Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "objects in too many objects", Query: filter, Variables: `{"v":` + nested(`{"a":`, "1", "}", 150_000) + `}`, Code: "BAD_USER_INPUT"},
		{Name: "an object of many members", Query: filter, Variables: `{"v":{` + strings.TrimSuffix(Numbered(80_000, `"a%d":1,`), ",") + `}}`, Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "a member many times", Query: filter, Variables: `{"v":{` + many(`"types":[]`) + `}}`, Code: "BAD_USER_INPUT"},
		{Name: "many types", Query: filter, Variables: `{"v":{"types":[` + many(`"a.*"`) + `]}}`, Code: "BAD_USER_INPUT"},
		{Name: "a long text", Query: filter, Variables: `{"v":{"types":["` + strings.Repeat("x", large) + `"]}}`},
		{Name: "a long number", Query: "query($v: Int) { events(first: $v) { nodes { id } } }", Variables: `{"v":` + strings.Repeat("9", large) + `}`, Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "many that nobody asked for", Query: "{ viewer { role } }", Variables: `{` + strings.TrimSuffix(Numbered(80_000, `"a%d":1,`), ",") + `}`},
		{Name: "many events", Query: `mutation($v: [PublishEventInput!]!) { publishEvents(input: $v) { event { id } } }`, Variables: `{"v":[` + strings.Repeat(`{"type":"t","payload":1},`, 30_000) + `1]}`, Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "a payload of many values", Query: payload, Variables: `{"v":[` + many(`1`) + `]}`, Code: "BAD_USER_INPUT"},
		{Name: "a payload of as many values as may be", Query: payload, Variables: `{"v":[` + strings.Repeat("1,", 99_990) + `1]}`},
		{Name: "a list of as many values as may be", Query: ids, Variables: `{"v":[` + strings.Repeat("1,", 99_990) + `1]}`, Code: "GRAPHQL_VALIDATION_FAILED"},
		{Name: "a payload of lists in lists", Query: payload, Variables: `{"v":` + nested("[", "", "]", 9000) + `}`},
	}
}

// All are all there are.
func All() []Request { return append(Documents(), Variables()...) }
