package registry

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
)

// problems collects what is wrong with an input.
type problems struct{ list hub.UserErrors }

// add notes what is wrong with a field of the input.
func (p *problems) add(code hub.InputCode, message string, field ...string) {
	p.list.Add(code, message, append([]string{"input"}, field...)...)
}

func (p *problems) required(field ...string) {
	p.add(hub.InputRequired, "this cannot be null", field...)
}

func (p *problems) err() error { return p.list.OrNil() }

// expression notes what is wrong with an expression, and where in it.
func (p *problems) expression(err error, field ...string) {
	if err == nil {
		return
	}
	problem := hub.UserError{Code: hub.InputInvalid, Message: err.Error(), Field: append([]string{"input"}, field...)}
	var at *match.ExpressionError
	if errors.As(err, &at) {
		problem.Message, problem.Line, problem.Column = at.Message, at.Line, at.Column
	}
	p.list = append(p.list, problem)
}

// name sets a name, which cannot go back to a default.
func (p *problems) name(in Optional[string], field *string) {
	if !in.Set {
		return
	}
	if in.Null {
		p.required("name")
		return
	}
	*field = p.list.CheckName(in.Value, "input", "name")
}

// within notes a duration that is out of bounds; both bounds are allowed.
func (p *problems) within(value, least, most time.Duration, field ...string) {
	if value < least || value > most {
		p.add(hub.InputInvalid, fmt.Sprintf("this is %s to %s", isoDuration(least), isoDuration(most)), field...)
	}
}

// between notes a number that is out of bounds; both bounds are allowed.
func (p *problems) between(value, least, most int, field ...string) {
	if value < least || value > most {
		p.add(hub.InputInvalid, fmt.Sprintf("this is %d to %d", least, most), field...)
	}
}

// rate notes what is wrong with a rate limit.
func (p *problems) rate(limit hub.RateLimit) {
	p.between(limit.Limit, 1, maxRate, "rateLimit", "limit")
	p.within(limit.Period, minRatePeriod, maxRatePeriod, "rateLimit", "period")
}

// isoDuration writes a duration as the API does, in its largest whole unit.
func isoDuration(d time.Duration) string {
	switch {
	case d == 0:
		return "PT0S"
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("P%dD", d/(24*time.Hour))
	case d%time.Hour == 0:
		return fmt.Sprintf("PT%dH", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("PT%dM", d/time.Minute)
	default:
		return "PT" + strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "S"
	}
}

// index is the place in a list as a step of a path.
func index(i int) string { return strconv.Itoa(i) }
