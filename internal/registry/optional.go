package registry

// Optional is a field of an input that may be absent, null or given. The zero
// value is absent.
//
// When something is created, absent and null both take the default. When it is
// changed, absent keeps what is there, and null goes back to the default, or is an
// error where there is none.
type Optional[T any] struct {
	Set   bool // not absent
	Null  bool
	Value T // the zero value if absent or null
}

// Some is a field that is given.
func Some[T any](value T) Optional[T] { return Optional[T]{Set: true, Value: value} }

// Null is a field that is null.
func Null[T any]() Optional[T] { return Optional[T]{Set: true, Null: true} }

// given reports whether the field has a value.
func (o Optional[T]) given() bool { return o.Set && !o.Null }

// or returns the value, or a default in its place.
func (o Optional[T]) or(fallback T) T {
	if o.given() {
		return o.Value
	}
	return fallback
}

// change sets a field of something that exists, null to the default, and
// reports whether there is a new value to look at.
func (o Optional[T]) change(field *T, fallback T) bool {
	if !o.Set {
		return false
	}
	*field = o.or(fallback)
	return !o.Null
}
