package proof

import (
	"fmt"
	"math/bits"

	"github.com/peerdex/peerdex/index"
)

const (
	// topNodes is about how many nodes a walk begins with: a few, instead of the root alone, save a round trip a level.
	topNodes = 16
	// sampleLeaves is how many leaves, spread over all that differ, are compared before the others: they tell how much
	// there is to come.
	sampleLeaves = 64
	// maxDiffer bounds the differing nodes of a level that a walk remembers, 8 bytes each. There are leaves for
	// 134,000,000 ids among them, more than a location may hold.
	maxDiffer = 2 << 20
)

// Span is a range of ids, both ends included.
type Span struct{ Lo, Hi int64 }

// Found is what one comparison told.
type Found struct {
	Rows   []index.Entry // to be put in place of whatever has their ids
	Gone   []Span        // ids of which the provider has none: rows of the replica among them are to be deleted
	Leaves []int64       // whose hashes are to be made anew, whether rows of them are found or not
}

// Walk finds where the tree of a replica and that of its provider differ, from a few nodes near the root down to the
// rows, all nodes of a level before those of the next. It asks nobody: it says what to compare next ([Walk.Next]), and
// takes the outcome ([Walk.Take]).
//
// The provider may move on meanwhile. Each answer comes from a head of its own; the walk remembers the lowest, the base,
// and the highest, the floor. A row that did not change since the base is the same in every answer, so a difference
// in it is found at every level, whatever head that was answered from; all other rows and deletions are in the delta
// since the base. So a replica with everything put in place that was found, and then the delta ([Walk.Token]) applied up
// to a head that is not below the floor, holds what that head signs.
//
// It takes 8 bytes for each leaf that differs. Not safe for concurrent use.
type Walk struct {
	loc         index.Location
	epoch       index.Epoch
	base, floor index.Head

	next   int64   // ids from here on are not looked at: nobody had given them when the walk began
	top    int     // the level where it begins
	level  int     // of todo
	todo   []int64 // nodes to compare, rising but for the sample in front
	below  []int64 // nodes of the level below that differ
	sample int     // how many of todo are left of the sample

	leaves   int // that differ
	compared int // of them
	absent   int // of them, those that the replica has no row of
	rows     int64
}

// NewWalk begins a walk of a replica that stands at held towards an epoch. offer is the provider's head as far as it is
// known; base and floor are those of the token of an earlier walk whose rows are still at hand, or zero.
func NewWalk(held, offer *index.Head, earlier *index.Token) *Walk {
	w := &Walk{loc: held.Location, epoch: offer.Epoch}
	if earlier != nil {
		w.base, w.floor = earlier.Base, earlier.Floor
	}
	w.begin(max(held.NextID, offer.NextID, w.base.NextID, index.RootID+1))
	return w
}

// begin begins with all nodes of a level that cover the ids below next.
func (w *Walk) begin(next int64) {
	w.next, w.top, w.todo, w.below, w.absent = next, 1, nil, nil, 0
	for w.top < Levels && nodesBelow(w.top, next) > topNodes {
		w.top++
	}
	w.level = w.top
	for i := range nodesBelow(w.top, next) {
		w.todo = append(w.todo, i)
	}
}

// nodesBelow is how many nodes of a level cover the ids below next.
func nodesBelow(level int, next int64) int64 {
	return (next-1)>>(LeafBits+level*FanBits) + 1
}

// Next returns the nodes to compare next, at most limit of one level, in rising order; none when the walk is over. They
// stay the next ones until Take.
func (w *Walk) Next(limit int) (level int, nodes []int64) {
	n := min(limit, len(w.todo))
	if w.sample > 0 {
		n = min(n, w.sample)
	}
	return w.level, w.todo[:n]
}

// Take checks the answer to the sketches sent, which are of the nodes that Next returned, and returns what was found.
// The error is [index.ErrPageOrder] or [index.ErrEpochChanged] if no provider that keeps the rules answers so; then
// nothing changed. An answer may be short: the rest is asked again. The caller checked the head's signature.
func (w *Walk) Take(sent []Sketch, c *Comparison) (Found, error) {
	switch {
	case c.Head.Location != w.loc:
		return Found{}, fmt.Errorf("answer about another location: %w", index.ErrPageOrder)
	case c.Head.Epoch != w.epoch:
		return Found{}, index.ErrEpochChanged
	case len(c.Nodes) == 0 || len(c.Nodes) > len(sent) || len(sent) > len(w.todo):
		return Found{}, fmt.Errorf("answer about %d of %d nodes: %w", len(c.Nodes), len(sent), index.ErrPageOrder)
	}
	for i := range c.Nodes {
		if sent[i].Index != w.todo[i] {
			return Found{}, fmt.Errorf("node %d/%d was not asked for: %w", w.level, sent[i].Index, index.ErrPageOrder)
		}
		if err := w.check(&sent[i], &c.Nodes[i], c.Head.NextID); err != nil {
			return Found{}, err
		}
	}
	if err := w.checkRows(sent, c); err != nil {
		return Found{}, err
	}
	f := Found{Rows: c.Rows}
	for i := range c.Nodes {
		w.node(&sent[i], &c.Nodes[i], &f)
	}
	w.advance(len(c.Nodes), &c.Head.Head, int64(len(c.Rows)))
	return f, nil
}

// check holds one answer to what it may say.
func (w *Walk) check(sent *Sketch, d *Difference, nextID int64) error {
	highest := w.child(sent.Index, bits.Len64(d.Mask)-1)
	switch {
	case d.Differ&^d.Mask != 0 || (d.Mask&^sent.Mask)&^d.Differ != 0:
		return fmt.Errorf("node %d/%d: children %x, differing %x: %w", w.level, sent.Index, d.Mask, d.Differ, index.ErrPageOrder)
	case d.Mask != 0 && highest<<w.childBits() >= nextID:
		return fmt.Errorf("node %d/%d: ids that were never given: %w", w.level, sent.Index, index.ErrPageOrder)
	}
	return nil
}

// checkRows holds the rows to the children that are said to differ.
func (w *Walk) checkRows(sent []Sketch, c *Comparison) error {
	rows := c.Rows
	for i := range c.Nodes {
		if w.level > 0 {
			break
		}
		for m := c.Nodes[i].Differ; m != 0; m &= m - 1 {
			id := w.child(sent[i].Index, bits.TrailingZeros64(m))
			if len(rows) == 0 || rows[0].ID != id || rows[0].Seq < 1 || rows[0].Seq > c.Head.Seq {
				return fmt.Errorf("row of id %d is not there: %w", id, index.ErrPageOrder)
			}
			rows = rows[1:]
		}
	}
	if len(rows) > 0 {
		return fmt.Errorf("%d rows that nothing was said of: %w", len(rows), index.ErrPageOrder)
	}
	return nil
}

// child is the index of a child of a node of this level, by its place; of a leaf, an id.
func (w *Walk) child(node int64, place int) int64 {
	if w.level == 0 {
		return node<<LeafBits | int64(place)
	}
	return node<<FanBits | int64(place)
}

// childBits is by how many bits an id is longer than the index of a child of this level's nodes.
func (w *Walk) childBits() int {
	if w.level == 0 {
		return 0
	}
	return LeafBits + (w.level-1)*FanBits
}

// node takes one checked answer.
func (w *Walk) node(sent *Sketch, d *Difference, f *Found) {
	gone := sent.Mask &^ d.Mask
	for m := gone; m != 0; m &= m - 1 {
		lo := w.child(sent.Index, bits.TrailingZeros64(m)) << w.childBits()
		hi := lo + 1<<w.childBits() - 1
		if n := len(f.Gone); n > 0 && f.Gone[n-1].Hi+1 == lo {
			f.Gone[n-1].Hi = hi
			continue
		}
		f.Gone = append(f.Gone, Span{lo, hi})
	}
	switch {
	case w.level == 0:
		f.Leaves = append(f.Leaves, sent.Index)
	case d.Differ == 0 && gone == 0:
		// If its parent differed, the replica's own hash of it is wrong. Any leaf below mends it.
		f.Leaves = append(f.Leaves, sent.Index<<(w.level*FanBits))
	}
	for m := d.Differ; m != 0 && w.level > 0; m &= m - 1 {
		w.below = append(w.below, w.child(sent.Index, bits.TrailingZeros64(m)))
	}
	if w.level == 1 {
		w.absent += bits.OnesCount64(d.Differ &^ sent.Mask)
	}
}

// advance puts n nodes behind.
func (w *Walk) advance(n int, h *index.Head, rows int64) {
	if w.base.Seq == 0 || h.Seq < w.base.Seq {
		w.base = *h
	}
	if h.Seq > w.floor.Seq {
		w.floor = *h
	}
	w.rows += rows
	w.todo = w.todo[n:]
	w.sample = max(w.sample-n, 0)
	if w.level == 0 {
		w.compared += n
		return
	}
	if w.level == w.top && len(w.todo) == 0 && w.base.NextID > w.next {
		w.begin(w.base.NextID) // the offer was old; what is newer than the base is in the delta
		return
	}
	for len(w.todo) == 0 && w.level > 0 {
		w.level--
		w.todo, w.below = w.below, nil
		if len(w.todo) == 0 {
			return
		}
	}
	if w.level == 0 && w.leaves == 0 {
		w.leaves = len(w.todo)
		w.spread()
	}
}

// spread puts a sample of the leaves first.
func (w *Walk) spread() {
	n := len(w.todo)
	if n <= sampleLeaves {
		return
	}
	first, rest := make([]int64, 0, n), make([]int64, 0, n)
	for i, at := range w.todo {
		if k := len(first); k < sampleLeaves && i == k*n/sampleLeaves {
			first = append(first, at)
		} else {
			rest = append(rest, at)
		}
	}
	w.todo, w.sample = append(first, rest...), sampleLeaves
}

// Needed says how many rows the walk has to bring: at least so many while the inner nodes are compared, then about so
// many, judged by the leaves compared so far, and in the end exactly so many. ok is false as long as it says little.
func (w *Walk) Needed() (rows int64, ok bool) {
	switch {
	case w.compared == 0 || w.sample > 0:
		return max(int64(w.absent), w.rows), w.absent > 0
	case w.compared == w.leaves:
		return w.rows, true
	}
	return max(w.rows, int64(float64(w.rows)/float64(w.compared)*float64(w.leaves))), true
}

// TooMany reports whether more nodes differ than the walk remembers: everything is to be fetched instead.
func (w *Walk) TooMany() bool { return len(w.below) > maxDiffer }

// Floor is the highest head that was answered from; it is zero before the first answer.
func (w *Walk) Floor() index.Head { return w.floor }

// Token is the transfer that ends what the walk began, once it is over: the delta since the base. It is not usable
// before the first answer.
func (w *Walk) Token() index.Token {
	return index.Token{
		Location: w.loc, Epoch: w.epoch, Mode: index.ModeDelta, Position: w.base.Seq,
		Base: w.base, Floor: w.floor, Dead: w.base.Dead,
	}
}
