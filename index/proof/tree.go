package proof

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/peerdex/peerdex/index"
	"lukechampine.com/blake3"
)

// Shape of the tree. It never changes with the number of rows: every id has its place.
const (
	LeafBits = 6             // a leaf covers 2^LeafBits consecutive ids
	FanBits  = 6             // a node has up to 2^FanBits children
	Levels   = 5             // the root's level; leaves are level 0
	LeafSize = 1 << LeafBits // ids of a leaf
	Fan      = 1 << FanBits  // children of a node
	idBits   = LeafBits + Levels*FanBits
)

// The tree must have a place for every id.
var _ [idBits - 36]struct{}

const (
	leafDomain = "peerdex/leaf/1\x00"
	nodeDomain = "peerdex/node/1\x00"
)

// LeafOf returns the index of the leaf that covers an id.
func LeafOf(id int64) int64 { return id >> LeafBits }

// Leaf hashes the rows of one leaf as they are added, in id order. The zero value is ready for [Leaf.Reset].
type Leaf struct {
	buf []byte
	n   int
}

// Reset begins the leaf with an index.
func (l *Leaf) Reset(idx int64) {
	l.buf = binary.BigEndian.AppendUint64(append(l.buf[:0], leafDomain...), uint64(idx))
	l.n = 0
}

// Add adds the next row.
func (l *Leaf) Add(e *index.Entry) {
	l.buf = e.AppendRow(l.buf)
	l.n++
}

// Sum returns the leaf's hash, and false if it has no rows: such a leaf is not in the tree.
func (l *Leaf) Sum() (index.Hash, bool) {
	if l.n == 0 {
		return index.Hash{}, false
	}
	return blake3.Sum256(l.buf), true
}

// Node is an inner node: which of its children there are, and their hashes in order. The zero value has none.
type Node struct {
	mask     uint64
	children []byte
}

// Add adds the next child, by its place in this node. Places must rise.
func (n *Node) Add(place int, h index.Hash) {
	n.mask |= 1 << uint(place)
	n.children = append(n.children, h[:]...)
}

// Reset removes all children.
func (n *Node) Reset() { n.mask, n.children = 0, n.children[:0] }

// Sum returns the hash of the node of a level and index, and false if it has no children: such a node is not in the
// tree.
func (n *Node) Sum(level int, idx int64) (index.Hash, bool) {
	if n.mask == 0 {
		return index.Hash{}, false
	}
	if bits.OnesCount64(n.mask)*index.HashSize != len(n.children) {
		panic(fmt.Sprintf("node %d/%d: children added out of order", level, idx))
	}
	b := make([]byte, 0, len(nodeDomain)+1+8+8+len(n.children))
	b = append(append(b, nodeDomain...), byte(level))
	b = binary.BigEndian.AppendUint64(b, uint64(idx))
	b = binary.BigEndian.AppendUint64(b, n.mask)
	return blake3.Sum256(append(b, n.children...)), true
}

// Builder builds a whole tree from rows in id order. Make one with [NewBuilder].
type Builder struct {
	emit   func(level int, idx int64, h index.Hash) error
	leaf   Leaf
	leafAt int64 // index of the open leaf; -1 = none
	nodes  [Levels]Node
	at     [Levels]int64 // indexes of the open nodes of levels 1 to Levels; -1 = none
	last   int64
}

// NewBuilder returns a builder that hands every node of the tree to emit, children before parents; emit may be nil.
func NewBuilder(emit func(level int, idx int64, h index.Hash) error) *Builder {
	b := &Builder{emit: emit, leafAt: -1}
	for i := range b.at {
		b.at[i] = -1
	}
	return b
}

// Add adds the next row. Ids must rise.
func (b *Builder) Add(e *index.Entry) error {
	if e.ID <= b.last || e.ID > index.MaxID {
		return fmt.Errorf("build tree: id %d after %d: %w", e.ID, b.last, index.ErrInvalid)
	}
	b.last = e.ID
	if at := LeafOf(e.ID); at != b.leafAt {
		if err := b.closeLeaf(); err != nil {
			return err
		}
		b.leafAt = at
		b.leaf.Reset(at)
	}
	b.leaf.Add(e)
	return nil
}

func (b *Builder) closeLeaf() error {
	if b.leafAt < 0 {
		return nil
	}
	h, ok := b.leaf.Sum()
	if !ok {
		return nil
	}
	return b.up(0, b.leafAt, h)
}

// up hands a finished node to emit and to its parent; a parent of another index is finished first.
func (b *Builder) up(level int, idx int64, h index.Hash) error {
	if b.emit != nil {
		if err := b.emit(level, idx, h); err != nil {
			return err
		}
	}
	if level == Levels {
		return nil
	}
	parent := idx >> FanBits
	if b.at[level] != parent {
		if err := b.closeNode(level + 1); err != nil {
			return err
		}
		b.at[level] = parent
	}
	b.nodes[level].Add(int(idx&(Fan-1)), h)
	return nil
}

func (b *Builder) closeNode(level int) error {
	n, idx := &b.nodes[level-1], b.at[level-1]
	h, ok := n.Sum(level, idx)
	n.Reset()
	if !ok {
		return nil
	}
	return b.up(level, idx, h)
}

// Root ends the tree and returns its root: the zero hash if there was no row.
func (b *Builder) Root() (index.Hash, error) {
	if err := b.closeLeaf(); err != nil {
		return index.Hash{}, err
	}
	b.leafAt = -1
	for level := 1; level < Levels; level++ {
		if err := b.closeNode(level); err != nil {
			return index.Hash{}, err
		}
		b.at[level-1] = -1
	}
	h, ok := b.nodes[Levels-1].Sum(Levels, 0)
	if !ok || b.emit == nil {
		return h, nil
	}
	return h, b.emit(Levels, 0, h)
}
