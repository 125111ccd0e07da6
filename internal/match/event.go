package match

import (
	"fmt"
	"reflect"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// eventTypeName is what the variable event is called in messages of CEL.
const eventTypeName = "Event"

var eventType = cel.ObjectType(eventTypeName)

// eventField is one field of the variable event.
type eventField struct {
	typ *cel.Type
	get func(*facts) any
	set func(*facts) bool // what has(event.field) says
}

func textField(get func(*facts) string) eventField {
	return eventField{
		typ: cel.StringType,
		get: func(f *facts) any { return get(f) },
		set: func(f *facts) bool { return get(f) != "" },
	}
}

func timeField(get func(*facts) time.Time) eventField {
	return eventField{
		typ: cel.TimestampType,
		get: func(f *facts) any { return get(f) },
		set: func(f *facts) bool { return !get(f).IsZero() },
	}
}

// eventFields is the contract of the variable event. A text that is not given is
// empty; a time that is not given cannot be read, only asked for with has().
var eventFields = map[string]eventField{
	"id":          textField(func(f *facts) string { return f.event.ID }),
	"type":        textField(func(f *facts) string { return f.event.Type }),
	"source":      textField(func(f *facts) string { return f.slug }),
	"dedupeKey":   textField(func(f *facts) string { return f.event.DedupeKey }),
	"orderingKey": textField(func(f *facts) string { return f.event.OrderingKey }),
	"partnerId":   textField(func(f *facts) string { return f.event.PartnerID }),
	"occurredAt":  timeField(func(f *facts) time.Time { return f.event.OccurredAt }),
	"receivedAt":  timeField(func(f *facts) time.Time { return f.event.ReceivedAt }),
}

// eventTypes teaches CEL the type of the variable event, so that a misspelt
// field is an error at save rather than an event that never matches.
type eventTypes struct{ types.Provider }

func (p eventTypes) FindStructType(name string) (*types.Type, bool) {
	if name == eventTypeName {
		return types.NewTypeTypeWithParam(eventType), true
	}
	return p.Provider.FindStructType(name)
}

func (p eventTypes) FindStructFieldNames(name string) ([]string, bool) {
	if name != eventTypeName {
		return p.Provider.FindStructFieldNames(name)
	}
	names := make([]string, 0, len(eventFields))
	for field := range eventFields {
		names = append(names, field)
	}
	return names, true
}

func (p eventTypes) FindStructFieldType(name, fieldName string) (*types.FieldType, bool) {
	if name != eventTypeName {
		return p.Provider.FindStructFieldType(name, fieldName)
	}
	field, found := eventFields[fieldName]
	if !found {
		return nil, false
	}
	return &types.FieldType{
		Type: field.typ,
		IsSet: func(target any) bool {
			f, ok := target.(*facts)
			return ok && field.set(f)
		},
		GetFrom: func(target any) (any, error) {
			f, ok := target.(*facts)
			if !ok {
				return nil, fmt.Errorf("no such field: %s", fieldName)
			}
			if field.typ == cel.TimestampType && !field.set(f) {
				return nil, fmt.Errorf("event.%s is not known of this event; ask has(event.%s) first", fieldName, fieldName)
			}
			return field.get(f), nil
		},
	}, true
}

// NewValue keeps expressions from making events of their own.
func (p eventTypes) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if name == eventTypeName {
		return types.NewErr("an event cannot be made")
	}
	return p.Provider.NewValue(name, fields)
}

// eventValue is the variable event itself, for the rare expression that names
// it without a field.
type eventValue struct{ facts *facts }

func (v eventValue) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("an event cannot be converted to %v", t)
}

func (v eventValue) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return eventType
	}
	return types.NewErr("an event cannot be converted to %s", t.TypeName())
}

func (v eventValue) Equal(other ref.Val) ref.Val {
	o, ok := other.(eventValue)
	return types.Bool(ok && o.facts.event.ID == v.facts.event.ID)
}

func (v eventValue) Type() ref.Type { return eventType }
func (v eventValue) Value() any     { return v.facts }
