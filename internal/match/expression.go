package match

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types/ref"
)

// Bounds of an expression.
const (
	// MaxExpressionLength is the longest expression, in bytes.
	MaxExpressionLength = 4 << 10

	maxNodes   = 10_000
	maxNesting = 100
)

// ExpressionError says why an expression cannot be used, and where.
type ExpressionError struct {
	Message string
	// Line and Column count from 1; the column counts characters.
	Line, Column int
}

func (e *ExpressionError) Error() string {
	return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message)
}

// scope says which variables an expression has.
type scope uint8

const (
	filterScope scope = iota // event, headers, query, body, raw
	sourceScope              // the same without event
)

// environments holds the CEL environment of each scope.
type environments [2]*cel.Env

func newEnvironments() (environments, error) {
	options, err := library()
	if err != nil {
		return environments{}, err
	}
	headers := cel.MapType(cel.StringType, cel.StringType)
	options = append(options,
		cel.Variable("headers", headers),
		cel.Variable("query", headers),
		cel.Variable("body", cel.DynType),
		cel.Variable("raw", cel.BytesType),
		cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true), // a number in JSON may be either
		cel.ParserExpressionSizeLimit(MaxExpressionLength),
		cel.ParserRecursionLimit(maxNesting),
		cel.ExpressionNodeLimit(maxNodes),
		cel.ASTValidators(
			cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(),
			cel.ValidateRegexLiterals(), cel.ValidateComprehensionNestingLimit(4)),
	)
	source, err := cel.NewCustomEnv(options...)
	if err != nil {
		return environments{}, err
	}
	filter, err := source.Extend(
		cel.CustomTypeProvider(eventTypes{source.CELTypeProvider()}),
		cel.Variable("event", eventType))
	if err != nil {
		return environments{}, err
	}
	return environments{filterScope: filter, sourceScope: source}, nil
}

// program is a compiled expression, safe for concurrent use.
type program struct {
	program cel.Program
	output  *cel.Type
	// loops is true where the expression has a loop, which alone can be interrupted.
	loops bool
}

// compile parses, type-checks and plans an expression. The error is an
// *ExpressionError.
func (e environments) compile(in scope, expr string) (p *program, err error) {
	// The parser has taken every text that was tried on it; should one make it
	// panic, that is an expression nobody can use and no reason to end the process.
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, &ExpressionError{Message: "the expression cannot be parsed", Line: 1, Column: 1}
		}
	}()
	switch {
	case len(expr) > MaxExpressionLength:
		return nil, &ExpressionError{Message: fmt.Sprintf("an expression has at most %d bytes", MaxExpressionLength), Line: 1, Column: 1}
	case strings.TrimSpace(expr) == "":
		return nil, &ExpressionError{Message: "the expression is empty", Line: 1, Column: 1}
	}
	env := e[in]
	checked, issues := env.Compile(expr)
	if issues.Err() != nil {
		return nil, asExpressionError(issues)
	}
	compiled, err := env.Program(checked,
		cel.EvalOptions(cel.OptOptimize),
		cel.InterruptCheckFrequency(interruptEvery),
		chargeCalls(), constantPatterns())
	if err != nil {
		return nil, &ExpressionError{Message: plainMessage(err.Error()), Line: 1, Column: 1}
	}
	// Most costs depend on the data and are counted as they arise. An expression
	// that costs too much whatever the data is refused here.
	if estimate, err := env.EstimateCost(checked, noHints{}); err == nil && estimate.Min > maxCost {
		return nil, &ExpressionError{Message: errTooMuch.Error(), Line: 1, Column: 1}
	}
	return &program{program: compiled, output: checked.OutputType(), loops: hasLoop(checked)}, nil
}

func hasLoop(a *cel.Ast) bool {
	found := false
	ast.PostOrderVisit(a.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		found = found || e.Kind() == ast.ComprehensionKind
	}))
	return found
}

// eval runs the expression over the variables that vars resolves.
func (p *program) eval(vars cel.Activation) (ref.Val, error) {
	vars = &budget{Activation: vars}
	if !p.loops {
		value, _, err := p.program.Eval(vars)
		return value, err
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), maxTime, errTooMuch)
	defer cancel()
	value, _, err := p.program.ContextEval(ctx, vars)
	return value, err
}

// asExpressionError takes the first of what CEL found: what follows is often
// but its consequence.
func asExpressionError(issues *cel.Issues) *ExpressionError {
	all := issues.Errors()
	if len(all) == 0 {
		return &ExpressionError{Message: plainMessage(issues.Err().Error()), Line: 1, Column: 1}
	}
	first := all[0]
	return &ExpressionError{
		Message: plainMessage(first.Message),
		Line:    max(first.Location.Line(), 1),
		Column:  max(first.Location.Column(), 0) + 1, // CEL counts columns from 0
	}
}

// plainMessage takes out of a message of CEL what only its developers need.
func plainMessage(message string) string {
	message = strings.ReplaceAll(message, " (in container '')", "")
	message = strings.TrimPrefix(message, "Syntax error: ")
	// The parser lists every token that it would have taken.
	message, _, _ = strings.Cut(message, " expecting {")
	message, _, _ = strings.Cut(message, "\n")
	return message
}

// asError unwraps an *ExpressionError, for callers that must give one.
func asError(err error) *ExpressionError {
	var e *ExpressionError
	if errors.As(err, &e) {
		return e
	}
	return &ExpressionError{Message: err.Error(), Line: 1, Column: 1}
}
