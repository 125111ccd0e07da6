package match

import (
	"errors"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// What one evaluation may cost.
const (
	// maxCost counts one for each call of a function or an operator and one for each
	// bytesPerCost bytes of text that it yields.
	maxCost      = 1_000_000
	bytesPerCost = 10
	// maxTime ends a loop whose steps cost more than they are charged, such as one
	// that compares large structures. It is far above what maxCost takes, so that a
	// busy machine does not change what an expression says.
	maxTime        = 2 * time.Second
	interruptEvery = 10 // iterations, each of which may compare a whole body
)

// errTooMuch is what an expression ends with that needs more than it may have.
var errTooMuch = errors.New("the expression needs more time or memory than it may have")

// budgetName is the name under which an evaluation's budget is found from within
// it; no expression can spell it.
const budgetName = "@budget"

// budget is the activation of one evaluation and counts what it has cost.
//
// CEL has a counter of its own (cel.CostLimit), which searches everything that a
// loop has seen so far at each of its steps: over a list of 50,000 items it takes
// two seconds where this one takes 30 ms.
type budget struct {
	cel.Activation
	spent int
}

func (b *budget) ResolveName(name string) (any, bool) {
	if name == budgetName {
		return b, true
	}
	return b.Activation.ResolveName(name)
}

func (b *budget) charge(cost int) {
	if b.spent += cost; b.spent > maxCost {
		// The way to end an evaluation from within: Eval returns it as an error.
		panic(interpreter.EvalCancelledError{Cause: interpreter.CostLimitExceeded, Message: errTooMuch.Error()})
	}
}

// chargedCall is a call that is paid for out of the budget.
type chargedCall struct{ interpreter.InterpretableCall }

func (c chargedCall) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	value := c.InterpretableCall.Exec(frame)
	if found, ok := frame.ResolveName(budgetName); ok {
		if b, ok := found.(*budget); ok {
			cost := 1
			switch v := value.(type) {
			case types.String:
				cost += len(v) / bytesPerCost
			case types.Bytes:
				cost += len(v) / bytesPerCost
			}
			b.charge(cost)
		}
	}
	return value
}

// chargeCalls makes every call of a program a charged one.
func chargeCalls() cel.ProgramOption {
	return cel.CustomDecoratorV2(func(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
		if call, ok := i.(interpreter.InterpretableCall); ok {
			return chargedCall{call}, nil
		}
		return i, nil
	})
}

// noHints leaves the sizes of all variables open when CEL estimates a cost.
type noHints struct{}

func (noHints) EstimateSize(checker.AstNode) *checker.SizeEstimate { return nil }

func (noHints) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}
