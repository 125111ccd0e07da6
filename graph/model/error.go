package model

import "github.com/hookgraph/hookgraph/internal/hub"

// UserError is what was wrong with one field of an input.
type UserError struct {
	hub.UserError
}

// NewUserErrors shows what was wrong with an input.
func NewUserErrors(errs hub.UserErrors) []*UserError {
	out := make([]*UserError, len(errs))
	for i, e := range errs {
		out[i] = &UserError{e}
	}
	return out
}

// Line returns the line in an expression, nil where it is not about one.
func (e *UserError) Line() *int { return optional(e.UserError.Line) }

// Column returns the column in an expression, nil where it is not about one.
func (e *UserError) Column() *int { return optional(e.UserError.Column) }
