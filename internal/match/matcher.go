package match

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// compiledExpressions is how many compiled expressions are kept. A hub that uses
// more compiles those anew that it has not used for longest.
const compiledExpressions = 4096

// ValueKind says what a source's expression has to yield.
type ValueKind string

// The kinds of value that a source's expressions yield.
const (
	// Text is a string, a whole number or a boolean; null stands for none.
	Text ValueKind = "text"
	// Time is a timestamp, an RFC 3339 text or Unix time as a number or its digits;
	// null stands for none.
	Time ValueKind = "time"
	// Bytes is bytes or a string.
	Bytes ValueKind = "bytes"
)

// Matcher compiles and evaluates expressions. It is safe for concurrent use.
type Matcher struct {
	environments environments
	programs     *lru.Cache[programKey, compiled]
	logger       *slog.Logger
}

type programKey struct {
	scope scope
	expr  string
}

// compiled is what became of an expression; what cannot be compiled is
// remembered too, so that it is not tried again for each event.
type compiled struct {
	program *program
	err     error
}

// Option changes how a Matcher is made.
type Option func(*Matcher)

// WithLogger sets where filters that fail over an event are told of, at debug
// level. Without it nobody is told.
func WithLogger(logger *slog.Logger) Option { return func(m *Matcher) { m.logger = logger } }

// New makes a Matcher.
func New(options ...Option) (*Matcher, error) {
	environments, err := newEnvironments()
	if err != nil {
		return nil, fmt.Errorf("build expression environment: %w", err)
	}
	programs, err := lru.New[programKey, compiled](compiledExpressions)
	if err != nil {
		return nil, fmt.Errorf("build expression cache: %w", err)
	}
	m := &Matcher{environments: environments, programs: programs, logger: slog.New(slog.DiscardHandler)}
	for _, option := range options {
		option(m)
	}
	return m, nil
}

// CheckFilter says what is wrong with a filter: an expression over event,
// headers, query, body and raw that yields a bool. The error is an
// *ExpressionError.
func (m *Matcher) CheckFilter(expr string) error {
	p, err := m.environments.compile(filterScope, expr)
	if err != nil {
		return asError(err)
	}
	return checkOutput(p, "a filter must be true or false", cel.BoolType)
}

// CheckSource says what is wrong with an expression of a source: one over
// headers, query, body and raw that yields a value of the kind. The error is an
// *ExpressionError.
func (m *Matcher) CheckSource(expr string, kind ValueKind) error {
	p, err := m.environments.compile(sourceScope, expr)
	if err != nil {
		return asError(err)
	}
	switch kind {
	case Text:
		return checkText(p)
	case Time:
		return checkOutput(p, "the expression must yield a time",
			cel.TimestampType, cel.StringType, cel.IntType, cel.UintType, cel.DoubleType, cel.NullType)
	case Bytes:
		return checkOutput(p, "the expression must yield bytes or a text", cel.BytesType, cel.StringType)
	}
	return &ExpressionError{Message: fmt.Sprintf("there is no value of kind %q", kind), Line: 1, Column: 1}
}

// CheckOrderingKey says what is wrong with an ordering key: an expression over event,
// headers, query, body and raw that yields a text. The error is an *ExpressionError.
func (m *Matcher) CheckOrderingKey(expr string) error {
	p, err := m.environments.compile(filterScope, expr)
	if err != nil {
		return asError(err)
	}
	return checkText(p)
}

func checkText(p *program) error {
	return checkOutput(p, "the expression must yield a text",
		cel.StringType, cel.IntType, cel.UintType, cel.BoolType, cel.NullType)
}

// checkOutput admits what is of one of the types and what is known only once
// there is data.
func checkOutput(p *program, message string, wanted ...*cel.Type) error {
	if p.output.IsExactType(cel.DynType) || slices.ContainsFunc(wanted, p.output.IsExactType) {
		return nil
	}
	// A value that may also be null is of a wrapper type.
	if slices.ContainsFunc(wanted, p.output.IsAssignableType) {
		return nil
	}
	return &ExpressionError{
		Message: fmt.Sprintf("%s, and this is of type %s", message, cel.FormatCELType(p.output)),
		Line:    1, Column: 1,
	}
}

// Admits evaluates a filter over an event with its payload; sourceSlug is the
// slug of the event's source, "" where that is gone. The empty filter admits
// everything. A filter that fails, by reading a key that is not there for example,
// is an error, and for those who route or stream that means no.
func (m *Matcher) Admits(expr string, ev *hub.Event, sourceSlug string) (bool, error) {
	if expr == "" {
		return true, nil
	}
	return m.admits(expr, newFacts(ev, sourceSlug))
}

func (m *Matcher) admits(expr string, f *facts) (bool, error) {
	p, err := m.program(filterScope, expr)
	if err != nil {
		return false, err
	}
	value, err := p.eval(f)
	if err != nil {
		return false, err
	}
	verdict, ok := value.(types.Bool)
	if !ok {
		return false, fmt.Errorf("a filter must be true or false, and this one yields %s", value.Type().TypeName())
	}
	return bool(verdict), nil
}

// OrderingKey evaluates an ordering key over an event with its payload; sourceSlug is as
// in Admits. Null gives "", which is no key.
func (m *Matcher) OrderingKey(expr string, ev *hub.Event, sourceSlug string) (string, error) {
	p, err := m.program(filterScope, expr)
	if err != nil {
		return "", err
	}
	value, err := p.eval(newFacts(ev, sourceSlug))
	if err != nil {
		return "", errors.New(Reason(err)) // it is kept, and may quote data
	}
	return asText(value)
}

// EvalText evaluates an expression that yields a text. Null gives "".
func (m *Matcher) EvalText(expr string, in *Inbound) (string, error) {
	value, err := m.evalSource(expr, in)
	if err != nil {
		return "", err
	}
	return asText(value)
}

// EvalTime evaluates an expression that yields a time. Null gives the zero time.
func (m *Matcher) EvalTime(expr string, in *Inbound) (time.Time, error) {
	value, err := m.evalSource(expr, in)
	if err != nil {
		return time.Time{}, err
	}
	return asTime(value)
}

// EvalBytes evaluates an expression that yields bytes.
func (m *Matcher) EvalBytes(expr string, in *Inbound) ([]byte, error) {
	value, err := m.evalSource(expr, in)
	if err != nil {
		return nil, err
	}
	return asBytes(value)
}

// program returns the compiled form of an expression.
func (m *Matcher) program(in scope, expr string) (*program, error) {
	key := programKey{in, expr}
	if c, found := m.programs.Get(key); found {
		return c.program, c.err
	}
	p, err := m.environments.compile(in, expr)
	// Longer texts than can be saved do not come from the configuration: they are
	// not worth the memory.
	if len(expr) <= MaxExpressionLength {
		m.programs.Add(key, compiled{p, err})
	}
	return p, err
}
