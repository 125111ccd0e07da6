package hub

// Page sizes of the public contract.
const (
	DefaultPageSize = 20
	MaxPageSize     = 100
)

// Page is one page of a keyset-paginated list, asked for or answered.
type Page struct {
	// Size is how many items are wanted.
	Size int
	// After and Before are keys of the list's order, "" for its start or end.
	After, Before string
	// Backward takes the page from the end of the range rather than its start.
	Backward bool
}

// Slice is what a page held: the items in the list's order, and whether the
// list goes on to either side.
type Slice[T any] struct {
	Items       []T
	HasNext     bool
	HasPrevious bool
}
