package transport

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// How long an answer may be shared after it was made, and how many bytes of answers
// are kept for that at most. Readers of the same log ask within milliseconds of one
// another; what an answer shows beside the log must not grow old.
const (
	sharedFor   = time.Second
	sharedBytes = 16 << 20
)

// crowd tells which streams may share an answer: those that execute the same
// operation over the same variables and may see the same.
type crowd struct {
	// operation is one of an admitted document. Documents are parsed once as long as
	// they are in use, so that equal texts have the same operation; where one was
	// parsed again meanwhile, less is shared.
	operation *ast.OperationDefinition
	variables string
	sight     string
}

// crowdOf returns what an operation may share its answers with. Variables that
// nothing but the arguments of the subscription's own field use do not count: these
// choose messages, whose content says what was chosen.
func crowdOf(ctx context.Context, operation *graphql.OperationContext) crowd {
	used := map[string]any{}
	note := func(name string) {
		if value, given := operation.Variables[name]; given {
			used[name] = value
		}
	}
	belowRoot(operation.Operation.SelectionSet, note)
	variables, err := json.Marshal(used)
	if err != nil { // a value that JSON cannot hold is shared with nobody
		return crowd{}
	}
	return crowd{operation.Operation, string(variables), sightOf(hub.ViewerFromContext(ctx))}
}

// sightOf names what a viewer may see.
func sightOf(v *hub.Viewer) string {
	if v == nil {
		return ""
	}
	var b strings.Builder
	b.WriteString(string(v.Role))
	b.WriteByte(' ')
	b.WriteString(v.PartnerID)
	scopes := slices.Clone(v.Scopes)
	slices.Sort(scopes)
	for _, scope := range slices.Compact(scopes) {
		b.WriteByte(' ')
		b.WriteString(string(scope))
	}
	return b.String()
}

// belowRoot finds the variables of an operation beside those in the arguments of
// its root fields.
func belowRoot(set ast.SelectionSet, note func(string)) {
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			variablesOfDirectives(s.Directives, note)
			variablesOf(s.SelectionSet, note)
		case *ast.InlineFragment:
			variablesOfDirectives(s.Directives, note)
			belowRoot(s.SelectionSet, note)
		case *ast.FragmentSpread:
			variablesOfDirectives(s.Directives, note)
			belowRoot(s.Definition.SelectionSet, note)
		}
	}
}

func variablesOf(set ast.SelectionSet, note func(string)) {
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			variablesOfArguments(s.Arguments, note)
			variablesOfDirectives(s.Directives, note)
			variablesOf(s.SelectionSet, note)
		case *ast.InlineFragment:
			variablesOfDirectives(s.Directives, note)
			variablesOf(s.SelectionSet, note)
		case *ast.FragmentSpread:
			variablesOfDirectives(s.Directives, note)
			variablesOf(s.Definition.SelectionSet, note)
		}
	}
}

func variablesOfDirectives(directives ast.DirectiveList, note func(string)) {
	for _, d := range directives {
		variablesOfArguments(d.Arguments, note)
	}
}

func variablesOfArguments(arguments ast.ArgumentList, note func(string)) {
	for _, a := range arguments {
		variablesOfValue(a.Value, note)
	}
}

func variablesOfValue(value *ast.Value, note func(string)) {
	if value == nil {
		return
	}
	if value.Kind == ast.Variable {
		note(value.Raw)
	}
	for _, child := range value.Children {
		variablesOfValue(child.Value, note)
	}
}

// share makes each answer once for all streams of a crowd that come to it within a
// second. The zero value is ready for use.
type share struct {
	// mu guards the fields below.
	mu      sync.Mutex
	crowds  map[crowd]int // how many streams each has
	answers map[sharedKey]*shared
	made    []sharedKey // of answers that are kept, the oldest first
	bytes   int         // of the answers that are kept
	sweep   *time.Timer // runs while answers are kept
}

type sharedKey struct {
	crowd   crowd
	content string
}

// shared is an answer that is being made or has been.
type shared struct {
	ready  chan struct{} // closed once the fields below hold
	answer *answer       // nil where its maker went away over it
	at     time.Time
}

// join counts a stream in.
func (s *share) join(c crowd) {
	if c.operation == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.crowds == nil {
		s.crowds, s.answers = make(map[crowd]int), make(map[sharedKey]*shared)
	}
	s.crowds[c]++
}

func (s *share) leave(c crowd) {
	if c.operation == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.crowds[c]--; s.crowds[c] == 0 {
		delete(s.crowds, c)
	}
}

// answer returns the answer to a message: one that another stream of the crowd has
// made, or will have in a moment, or the one that create makes. It is nil where the
// stream has ended.
func (s *share) answer(ctx context.Context, c crowd, content string, create func() *answer) *answer {
	if c.operation == nil || content == "" {
		return create()
	}
	key := sharedKey{c, content}
	for {
		s.mu.Lock()
		if s.crowds[c] < 2 { // nobody to share with
			s.mu.Unlock()
			return create()
		}
		one, known := s.answers[key]
		if !known {
			one = &shared{ready: make(chan struct{})}
			s.answers[key] = one
			s.mu.Unlock()
			return s.make(ctx, key, one, create)
		}
		s.mu.Unlock()
		select {
		case <-one.ready:
		case <-ctx.Done():
			return nil
		}
		if one.answer != nil {
			return one.answer
		}
		// Its maker is gone, and the answer of one that is cancelled is worth nothing.
	}
}

// make has the caller's stream make an answer for all.
func (s *share) make(ctx context.Context, key sharedKey, one *shared, create func() *answer) *answer {
	var out *answer
	defer func() { // also where create panics
		s.mu.Lock()
		defer s.mu.Unlock()
		if ctx.Err() == nil {
			one.answer = out
		}
		one.at = time.Now()
		close(one.ready)
		if one.answer == nil || out.passing || len(out.body) > sharedBytes/4 {
			delete(s.answers, key)
			return
		}
		s.made = append(s.made, key)
		s.bytes += len(out.body)
		s.forget(one.at)
		if s.sweep == nil {
			s.sweep = time.AfterFunc(sharedFor, s.forgetOld)
		}
	}()
	out = elsewhere(create)
	return out
}

// elsewhere creates an answer on a stack that is not kept. Executing takes a deep
// one, and in time each stream of a crowd would have had its turn and grown its own.
func elsewhere(create func() *answer) (out *answer) {
	var reason any
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { reason = recover() }()
		out = create()
	}()
	<-done
	if reason != nil {
		panic(reason) // to whoever waits
	}
	return out
}

// forget drops answers that are too old or too much. The caller holds mu.
func (s *share) forget(now time.Time) {
	drop := 0
	for _, key := range s.made {
		one := s.answers[key]
		if s.bytes <= sharedBytes && now.Sub(one.at) < sharedFor {
			break
		}
		s.bytes -= len(one.answer.body)
		delete(s.answers, key)
		drop++
	}
	s.made = slices.Delete(s.made, 0, drop)
}

// forgetOld runs as long as there are answers to forget.
func (s *share) forgetOld() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(time.Now())
	if s.sweep = nil; len(s.made) > 0 {
		s.sweep = time.AfterFunc(sharedFor, s.forgetOld)
	}
}
