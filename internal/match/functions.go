package match

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"
	"cel.dev/cel-go/interpreter"
)

// A budget charges a call after it was made, which bounds an expression of many
// calls but not a single one: replace or join can make terabytes of a body of one
// MiB. So the functions whose work is more than linear in what they are given
// are measured before they are called.
const (
	maxMade    = 16 << 20 // bytes that one call may make
	maxParts   = 100_000  // strings that one call may make
	maxSteps   = 1 << 26  // comparisons that one call may need
	maxPattern = 1 << 10  // bytes of a regular expression
	maxProgram = 1_000    // instructions of a regular expression
	maxClauses = 64       // % clauses of a format
)

// guards measure a call by its arguments; the receiver is the first.
var guards = map[string]func(args []ref.Val) error{
	"replace": func(args []ref.Val) error {
		if len(args) < 3 {
			return nil
		}
		text, old, with := text(args[0]), text(args[1]), text(args[2])
		if len(with) <= len(old) {
			return nil
		}
		return atMost(float64(len(text))+float64(strings.Count(text, old))*float64(len(with)-len(old)), maxMade)
	},
	"split": func(args []ref.Val) error {
		if len(args) < 2 {
			return nil
		}
		return atMost(float64(strings.Count(text(args[0]), text(args[1]))), maxParts)
	},
	"join": func(args []ref.Val) error {
		list, ok := args[0].(traits.Lister)
		if !ok {
			return nil
		}
		separator := 0
		if len(args) > 1 {
			separator = len(text(args[1]))
		}
		size := 0
		for it := list.Iterator(); it.HasNext() == types.True; {
			if size += len(text(it.Next())) + separator; size > maxMade {
				return errTooMuch
			}
		}
		return nil
	},
	"format": func(args []ref.Val) error {
		return atMost(float64(strings.Count(text(args[0]), "%")), maxClauses)
	},
	"indexOf":     guardSearch,
	"lastIndexOf": guardSearch,
}

func guardSearch(args []ref.Val) error {
	if len(args) < 2 {
		return nil
	}
	return atMost(float64(len(text(args[0])))*float64(len(text(args[1]))), maxSteps)
}

func text(v ref.Val) string {
	s, _ := v.(types.String)
	return string(s)
}

func atMost(need, limit float64) error {
	if need > limit {
		return errTooMuch
	}
	return nil
}

// library is what expressions may call: the standard library, the string
// extensions, both guarded, and sha256.
func library() ([]cel.EnvOption, error) {
	options := []cel.EnvOption{
		cel.StdLib(cel.StdLibSubset(env.NewLibrarySubset().AddExcludedFunctions(env.NewFunction(overloads.Matches)))),
		ext.Strings(ext.StringsVersion(5)),
	}
	plain, err := cel.NewCustomEnv(options...)
	if err != nil {
		return nil, err
	}
	for name, guard := range guards {
		guarded, err := guardFunction(plain, name, guard)
		if err != nil {
			return nil, err
		}
		options = append(options, guarded)
	}
	return append(options, matchesFunction(), sha256Function()), nil
}

// guardFunction declares a function of the environment anew, with every overload
// measured before it is called.
func guardFunction(plain *cel.Env, name string, guard func([]ref.Val) error) (cel.EnvOption, error) {
	declared, found := plain.Functions()[name]
	if !found {
		return nil, fmt.Errorf("CEL has no function %s", name)
	}
	bindings, err := declared.Bindings()
	if err != nil {
		return nil, err
	}
	bound := make(map[string]*functions.Overload, len(bindings))
	for _, b := range bindings {
		bound[b.Operator] = b
	}
	var options []cel.FunctionOpt
	for _, o := range declared.OverloadDecls() {
		binding, found := bound[o.ID()]
		if !found {
			return nil, fmt.Errorf("CEL has no implementation of %s", o.ID())
		}
		declare := cel.Overload
		if o.IsMemberFunction() {
			declare = cel.MemberOverload
		}
		options = append(options, declare(o.ID(), o.ArgTypes(), o.ResultType(), guardBinding(binding, guard)))
	}
	return cel.Function(name, options...), nil
}

func guardBinding(b *functions.Overload, guard func([]ref.Val) error) cel.OverloadOpt {
	switch {
	case b.Unary != nil:
		return cel.UnaryBinding(func(v ref.Val) ref.Val {
			if err := guard([]ref.Val{v}); err != nil {
				return types.WrapErr(err)
			}
			return b.Unary(v)
		})
	case b.Binary != nil:
		return cel.BinaryBinding(func(v, w ref.Val) ref.Val {
			if err := guard([]ref.Val{v, w}); err != nil {
				return types.WrapErr(err)
			}
			return b.Binary(v, w)
		})
	default:
		return cel.FunctionBinding(func(args ...ref.Val) ref.Val {
			if err := guard(args); err != nil {
				return types.WrapErr(err)
			}
			return b.Function(args...)
		})
	}
}

// pattern is a regular expression with the size by which its use is measured.
type pattern struct {
	re           *regexp.Regexp
	instructions int
}

func compilePattern(expr string) (*pattern, error) {
	if len(expr) > maxPattern {
		return nil, fmt.Errorf("a regular expression has at most %d bytes", maxPattern)
	}
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	if len(program.Inst) > maxProgram {
		return nil, errors.New("the regular expression is too complex")
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, err
	}
	return &pattern{re, len(program.Inst)}, nil
}

func (p *pattern) match(in ref.Val) ref.Val {
	s, ok := in.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(in)
	}
	if err := atMost(float64(len(s))*float64(p.instructions), maxSteps); err != nil {
		return types.WrapErr(err)
	}
	return types.Bool(p.re.MatchString(string(s)))
}

// matchesFunction is the standard library's matches, with bounds.
func matchesFunction() cel.EnvOption {
	args := []*cel.Type{cel.StringType, cel.StringType}
	return cel.Function(overloads.Matches,
		cel.Overload(overloads.Matches, args, cel.BoolType),
		cel.MemberOverload(overloads.MatchesString, args, cel.BoolType),
		cel.SingletonBinaryBinding(func(in, expr ref.Val) ref.Val {
			if _, ok := expr.(types.String); !ok {
				return types.MaybeNoSuchOverloadErr(expr)
			}
			p, err := compilePattern(text(expr))
			if err != nil {
				return types.WrapErr(err)
			}
			return p.match(in)
		}))
}

// constantPatterns compiles the regular expressions that stand in an expression
// once, with it.
func constantPatterns() cel.ProgramOption {
	compile := func(call interpreter.InterpretableCall, expr string) (interpreter.InterpretableCall, error) {
		p, err := compilePattern(expr)
		if err != nil {
			return nil, err
		}
		return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), func(args ...ref.Val) ref.Val {
			return p.match(args[0])
		}), nil
	}
	// Named by overload, they go before CEL's own rule for the function.
	return cel.OptimizeRegex(
		&interpreter.RegexOptimization{Function: overloads.Matches, OverloadID: overloads.Matches, RegexIndex: 1, Factory: compile},
		&interpreter.RegexOptimization{Function: overloads.Matches, OverloadID: overloads.MatchesString, RegexIndex: 1, Factory: compile})
}

const sha256Overload = "sha256_bytes"

func sha256Function() cel.EnvOption {
	return cel.Function("sha256", cel.Overload(sha256Overload, []*cel.Type{cel.BytesType}, cel.StringType,
		cel.UnaryBinding(func(v ref.Val) ref.Val {
			sum := sha256.Sum256(v.(types.Bytes)) // the overload admits nothing else
			return types.String(hex.EncodeToString(sum[:]))
		})))
}
