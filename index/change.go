package index

// Op says what a [Change] does.
type Op uint8

// The operations of a change.
const (
	Put    Op = 1 // insert a row, or change one
	Delete Op = 2 // remove a row and everything below it
)

// Change is one thing to commit to a location.
//
// It names its entry in one of two ways. By id (the scanner): Entry.ID is an id that is live, or, to insert, exactly
// the next id of the location; Entry.Parent and Entry.Name are used as they stand. By path (an embedding
// application): Entry.ID is 0 and Path is relative to the root, with "/" between names; folders on the way that do
// not exist are made, and a row that would not differ takes no seq. Path "" with ID 0 is the root folder itself.
//
// Entry.Seq is ignored: the store gives it.
type Change struct {
	Op    Op
	Path  string
	Entry Entry
}
