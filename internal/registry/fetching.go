package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/hookgraph/hookgraph/internal/broker"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/jsonpick"
	"github.com/hookgraph/hookgraph/internal/source/graphqlsub"
	"github.com/hookgraph/hookgraph/internal/source/poll"
)

// PollInput is a REST API to be asked on a schedule.
type PollInput struct {
	URL        string
	Headers    []hub.Header
	Auth       Optional[EndpointAuthInput] // none, or on a change the one it has
	Interval   Optional[time.Duration]     // a minute
	Items      Optional[string]            // the elements of the answer
	Pagination *hub.PollPagination
	Since      time.Time
	Reconciles string                  // ID of a webhook source
	Grace      Optional[time.Duration] // one interval
}

// UpstreamInput is a GraphQL subscription of another server.
type UpstreamInput struct {
	URL               string
	Document          string
	Variables         json.RawMessage
	Auth              Optional[EndpointAuthInput] // none, or on a change the one it has
	ConnectionPayload Optional[json.RawMessage]   // none, or on a change the one it has
	Items             string
	ResumeVariable    string
	ResumePath        string
}

// QueueInput is a subject or queue of a message broker.
type QueueInput struct {
	URL  string
	Auth Optional[EndpointAuthInput] // none, or on a change the one it has
}

// editFetching applies where a source fetches its events from.
func (r *Registry) editFetching(src *hub.Source, in UpdateSourceInput, p *problems) {
	for _, kind := range []struct {
		kind  hub.SourceKind
		field string
		set   bool
		given bool
		has   bool
		edit  func()
	}{
		{hub.SourcePoll, "poll", in.Poll.Set, in.Poll.given(), src.Poll != nil, func() { r.editPoll(src, in.Poll.Value, p) }},
		{hub.SourceGraphQL, "graphql", in.Upstream.Set, in.Upstream.given(), src.Upstream != nil, func() { r.editUpstream(src, in.Upstream.Value, p) }},
		{hub.SourceQueue, "queue", in.Queue.Set, in.Queue.given(), src.Queue != nil, func() { r.editQueue(src, in.Queue.Value, p) }},
	} {
		switch {
		case src.Kind != kind.kind:
			if kind.given {
				p.add(hub.InputInvalid, "only sources of kind "+string(kind.kind)+" have one", kind.field)
			}
		case kind.given:
			kind.edit()
		case kind.set || !kind.has:
			p.add(hub.InputRequired, "a source of kind "+string(kind.kind)+" has one", kind.field)
		}
	}
	if in.Poll.given() || in.DedupeKey.Set {
		r.checkShared(src, in.DedupeKey, p)
	}
}

// checkShared notes where a source that fills the gaps of another one cannot have its
// dedupe keys: then all it finds would count as missed.
func (r *Registry) checkShared(src *hub.Source, key Optional[string], p *problems) {
	if src.Poll == nil || src.Poll.Reconciles == "" {
		return
	}
	of := r.store.Configuration().Sources[src.Poll.Reconciles]
	keyed := *src
	key.change(&keyed.DedupeKey, "")
	if of != nil && of.Kind == hub.SourceWebhook && !r.providers.Keyed(&keyed, of) {
		p.add(hub.InputInvalid, "the dedupe keys of that source are in headers, which what is polled does not have; say by dedupeKey, on this source, how an item's key is found", "poll", "reconciles")
	}
}

func (r *Registry) editPoll(src *hub.Source, in PollInput, p *problems) {
	src.Poll = &hub.Poll{
		URL: in.URL, Headers: in.Headers, Interval: in.Interval.or(hub.DefaultPollInterval), Items: in.Items.or(hub.DefaultPollItems),
		Pagination: in.Pagination, Since: in.Since, Reconciles: in.Reconciles,
	}
	src.Poll.Grace = in.Grace.or(src.Poll.Interval)
	r.editFetchAuth(src, in.Auth, p, "poll", "auth")
	for _, problem := range poll.Check(src, r.checkOutbound) {
		p.add(problem.Code, problem.Message, problem.Field...)
		if problem.Column > 0 {
			last := &p.list[len(p.list)-1]
			last.Line, last.Column = 1, problem.Column
		}
	}
	r.checkPollHeaders(src, p)
	p.within(src.Poll.Interval, hub.MinPollInterval, hub.MaxPollInterval, "poll", "interval")
	p.within(src.Poll.Grace, 0, hub.MaxPollInterval, "poll", "grace")
	if src.Poll.Since.After(r.now()) {
		p.add(hub.InputInvalid, "this lies in the future; nothing exists since then", "poll", "since")
	}
	if id := src.Poll.Reconciles; id != "" {
		switch of := r.store.Configuration().Sources[id]; {
		case of == nil:
			p.add(hub.InputNotFound, "there is no such source", "poll", "reconciles")
		case of.Kind != hub.SourceWebhook:
			p.add(hub.InputInvalid, "only the gaps of a source of kind WEBHOOK can be filled", "poll", "reconciles")
		}
	}
}

// Bounds of what the hub sends to an upstream.
const (
	MaxDocumentBytes = 64 << 10
	maxDocumentToken = 10_000
	maxVariableBytes = 64 << 10
)

// checkPollHeaders notes headers that cannot be sent with each request.
func (r *Registry) checkPollHeaders(src *hub.Source, p *problems) {
	var found problems
	checkHeaders(src.Poll.Headers, &found)
	clash := authHeader(src.Auth)
	for i, h := range src.Poll.Headers {
		switch {
		case clash != "" && strings.EqualFold(h.Name, clash):
			found.add(hub.InputConflict, h.Name+" carries the source's credential", "headers", index(i), "name")
		case strings.EqualFold(h.Name, "If-None-Match") || strings.EqualFold(h.Name, "If-Modified-Since"):
			found.add(hub.InputForbidden, h.Name+" is set by the hub itself", "headers", index(i), "name")
		}
	}
	for _, problem := range found.list {
		p.add(problem.Code, problem.Message, append([]string{"poll"}, problem.Field[1:]...)...)
	}
}

func (r *Registry) editUpstream(src *hub.Source, in UpstreamInput, p *problems) {
	at := func(field string) []string { return []string{"graphql", field} }
	up := &hub.Upstream{
		URL: in.URL, Document: in.Document, Variables: in.Variables,
		Items: in.Items, ResumeVariable: in.ResumeVariable, ResumePath: in.ResumePath,
	}
	if src.Upstream != nil {
		up.ConnectionPayload = src.Upstream.ConnectionPayload
	}
	in.ConnectionPayload.change(&up.ConnectionPayload, nil)
	src.Upstream = up
	r.editFetchAuth(src, in.Auth, p, at("auth")...)
	if code, err := r.checkUpstreamURL(up.URL); err != nil {
		p.add(code, err.Error(), at("url")...)
	}
	p.object(up.Variables, at("variables")...)
	p.object(up.ConnectionPayload, at("connectionPayload")...)
	given := *up
	if graphqlsub.FillIn(src.Provider, up) {
		for _, said := range []struct{ field, value string }{
			{"document", given.Document}, {"items", given.Items}, {"resumeVariable", given.ResumeVariable}, {"resumePath", given.ResumePath},
		} {
			if said.value != "" {
				p.add(hub.InputConflict, "the provider "+src.Provider+" says this", at(said.field)...)
			}
		}
		checkVariables(subscriptionOf(up.Document, p), up, p)
		return
	}
	for _, path := range []struct{ field, value string }{{"items", up.Items}, {"resumePath", up.ResumePath}} {
		if path.value == "" {
			continue
		}
		if _, err := jsonpick.Parse(path.value); err != nil {
			p.add(hub.InputInvalid, err.Error(), at(path.field)...)
		}
	}
	if (up.ResumeVariable == "") != (up.ResumePath == "") {
		field := "resumePath"
		if up.ResumeVariable == "" {
			field = "resumeVariable"
		}
		p.add(hub.InputRequired, "resumeVariable and resumePath are given together, or neither is", at(field)...)
	}
	operation := subscriptionOf(up.Document, p)
	if operation != nil && up.ResumeVariable != "" && operation.VariableDefinitions.ForName(up.ResumeVariable) == nil {
		p.add(hub.InputInvalid, fmt.Sprintf("the document declares no variable $%.64s", up.ResumeVariable), at("resumeVariable")...)
	}
	checkVariables(operation, up, p)
}

// checkVariables notes values that an operation does not declare, which servers pass over
// in silence, and variables that cannot do without a value and have none. The operation
// is nil where something is wrong with the document.
func checkVariables(operation *ast.OperationDefinition, up *hub.Upstream, p *problems) {
	var given map[string]json.RawMessage
	if operation == nil || len(up.Variables) > 0 && json.Unmarshal(up.Variables, &given) != nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if operation.VariableDefinitions.ForName(name) == nil {
			p.add(hub.InputInvalid, fmt.Sprintf("the document declares no variable $%.64s", name), "graphql", "variables", name)
		}
	}
	for _, declared := range operation.VariableDefinitions {
		if !declared.Type.NonNull || declared.DefaultValue != nil || declared.Variable == up.ResumeVariable {
			continue // an upstream may well begin without a place to resume from
		}
		if value, has := given[declared.Variable]; !has || string(value) == "null" {
			p.add(hub.InputRequired, fmt.Sprintf("the document demands a value for $%.64s", declared.Variable), "graphql", "variables", declared.Variable)
		}
	}
}

// isSelf reports whether a URL, of scheme http or https, leads to where the outside
// reaches this hub.
func (r *Registry) isSelf(text string) bool {
	u, err := url.Parse(text)
	if err != nil || r.self == nil {
		return false
	}
	port := func(u *url.URL) string {
		if p := u.Port(); p != "" || u.Scheme == "http" {
			return cmp.Or(p, "80")
		}
		return "443"
	}
	base := strings.TrimRight(r.self.Path, "/")
	return strings.EqualFold(u.Hostname(), r.self.Hostname()) && port(u) == port(r.self) && (u.Path == base || strings.HasPrefix(u.Path, base+"/"))
}

// checkUpstreamURL says what is wrong with the URL of a GraphQL server.
func (r *Registry) checkUpstreamURL(url string) (hub.InputCode, error) {
	scheme, rest, _ := strings.Cut(url, "://")
	switch scheme {
	case "ws":
		url = "http://" + rest
	case "wss":
		url = "https://" + rest
	case "http", "https":
	default:
		return hub.InputInvalid, errors.New("the URL begins with wss://, ws://, https:// or http://")
	}
	if r.isSelf(url) {
		return hub.InputInvalid, errors.New("this is the URL of this hub itself, whose events are here already")
	}
	return r.checkOutbound(url)
}

// subscriptionOf returns the one operation of a document, nil where something is wrong
// with it, which is noted.
func subscriptionOf(document string, p *problems) *ast.OperationDefinition {
	wrong := func(code hub.InputCode, message string) *ast.OperationDefinition {
		p.add(code, message, "graphql", "document")
		return nil
	}
	if strings.TrimSpace(document) == "" {
		return wrong(hub.InputRequired, "give a document with one subscription")
	}
	if len(document) > MaxDocumentBytes {
		return wrong(hub.InputLimitExceeded, fmt.Sprintf("a document has at most %d bytes", MaxDocumentBytes))
	}
	parsed, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: document}, maxDocumentToken)
	var at *gqlerror.Error
	switch {
	case errors.As(err, &at):
		problem := hub.UserError{Code: hub.InputInvalid, Message: at.Message, Field: []string{"input", "graphql", "document"}}
		if len(at.Locations) > 0 {
			problem.Line, problem.Column = at.Locations[0].Line, at.Locations[0].Column
		}
		p.list = append(p.list, problem)
		return nil
	case err != nil:
		return wrong(hub.InputInvalid, err.Error())
	case len(parsed.Operations) != 1 || parsed.Operations[0].Operation != ast.Subscription:
		return wrong(hub.InputInvalid, "the document has exactly one operation, and that is a subscription")
	case len(parsed.Operations[0].SelectionSet) != 1:
		return wrong(hub.InputInvalid, "a subscription selects exactly one root field; make a source for each")
	}
	return parsed.Operations[0]
}

func (r *Registry) editQueue(src *hub.Source, in QueueInput, p *problems) {
	src.Queue = &hub.Queue{URL: in.URL}
	r.editFetchAuth(src, in.Auth, p, "queue", "auth")
	target, err := broker.ParseSource(in.URL)
	code := hub.InputInvalid
	if err == nil {
		code, err = r.checkBroker(target)
		checkLogin(target, src.Auth, p, "queue", "auth")
	}
	if err != nil {
		p.add(code, err.Error(), "queue", "url")
	}
	if in.Auth.given() && !in.Auth.Value.forBrokers() {
		p.add(hub.InputInvalid, wrongForBrokers, "queue", "auth")
	}
}

// object notes a JSON text that is no object, where there is one.
func (p *problems) object(text json.RawMessage, field ...string) {
	var members map[string]json.RawMessage
	switch {
	case len(text) == 0:
	case len(text) > maxVariableBytes:
		p.add(hub.InputLimitExceeded, fmt.Sprintf("this has at most %d bytes as JSON", maxVariableBytes), field...)
	case json.Unmarshal(text, &members) != nil || members == nil:
		p.add(hub.InputInvalid, "this is an object", field...)
	}
}

// editFetchAuth applies what the hub shows where it fetches. What is absent stays, since
// nobody can read it to give it again.
func (r *Registry) editFetchAuth(src *hub.Source, in Optional[EndpointAuthInput], p *problems, path ...string) {
	if !in.Set {
		return
	}
	src.Auth = nil
	if in.given() {
		src.Auth = r.auth(in.Value, p, path...)
	}
}

// FetchSource asks a source that fetches now instead of at its next time.
func (r *Registry) FetchSource(ctx context.Context, id string) (*hub.Source, error) {
	if err := ownSource(id, "id"); err != nil {
		return nil, err
	}
	if _, err := r.known(ctx, []string{id}, func(c *hub.Configuration, id string) bool { return c.Sources[id] != nil }); err != nil {
		return nil, err
	}
	src := r.store.Configuration().Sources[id]
	switch {
	case src == nil:
		return nil, hub.ErrNotFound
	case !src.Fetches():
		return nil, hub.UserErrors{{Code: hub.InputInvalid, Message: "this source is of kind " + string(src.Kind) + ": the hub does not fetch from it", Field: []string{"id"}}}
	case src.State == hub.SourcePaused:
		return nil, hub.UserErrors{{Code: hub.InputConflict, Message: "the source is paused; resume it first", Field: []string{"id"}}}
	}
	return src, r.store.AskFetch(ctx, id)
}
