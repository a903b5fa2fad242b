package proof

import (
	"math/bits"

	"github.com/peerdex/peerdex/index"
	"lukechampine.com/blake3"
)

// Sizes of what is exchanged to compare trees, in bytes.
const (
	SaltSize = 16
	// ShortSize is that of a short hash: long enough that two different rows look equal once in 2^48 times. That is found
	// at the end, when the root is compared, and the next try has another salt.
	ShortSize = 6
)

const shortDomain = "peerdex/short/1\x00"

// Short is the first bytes of BLAKE3-256("peerdex/short/1", 0x00, salt, what it is the hash of): the hash of a node, or
// the canonical bytes of a row. It finds differences and proves nothing.
type Short [ShortSize]byte

// Salt makes the short hashes of one comparison differ from those of any other, so that nobody can choose names for
// which they fail. It is random, and the receiver's.
type Salt [SaltSize]byte

// Shortener makes short hashes. Make one with [NewShortener]; not safe for concurrent use.
type Shortener struct {
	buf  []byte
	base int
}

// NewShortener returns a shortener for one comparison.
func NewShortener(s Salt) *Shortener {
	b := append([]byte(shortDomain), s[:]...)
	return &Shortener{buf: b, base: len(b)}
}

// Node shortens the hash of a node.
func (s *Shortener) Node(h index.Hash) Short {
	return s.sum(append(s.buf[:s.base], h[:]...))
}

// Row hashes a row.
func (s *Shortener) Row(e *index.Entry) Short {
	return s.sum(e.AppendRow(s.buf[:s.base]))
}

func (s *Shortener) sum(b []byte) Short {
	s.buf = b
	h := blake3.Sum256(b)
	return Short(h[:ShortSize])
}

// Sketch describes one node of a tree to somebody who has another tree: which children there are, and a short hash of
// each. The children of a leaf are rows, by id.
type Sketch struct {
	Index  int64  // of the node in its level
	Mask   uint64 // bit k: child 64 Index + k is there
	Shorts []byte // a short hash for each of them, in order
}

// Add adds the next child, by its place in the node. Places must rise.
func (s *Sketch) Add(place int, h Short) {
	s.Mask |= 1 << uint(place)
	s.Shorts = append(s.Shorts, h[:]...)
}

// Complete reports whether there is a short hash for each child.
func (s *Sketch) Complete() bool { return len(s.Shorts) == bits.OnesCount64(s.Mask)*ShortSize }

// at returns the short hash of the child at a place, which must be there.
func (s *Sketch) at(place int) Short {
	before := bits.OnesCount64(s.Mask & (1<<uint(place) - 1))
	return Short(s.Shorts[before*ShortSize:])
}

// Difference says how a provider's node differs from a sketch of it. What the sketch has and Mask has not, the provider
// does not have.
type Difference struct {
	Mask   uint64 // bit k: the provider has child k
	Differ uint64 // bit k: and the sketch has it otherwise, or not at all
}

// Diff compares the sketch that a provider made of its own node with the one that it was sent. Both must be complete.
func Diff(own, sent *Sketch) Difference {
	d := Difference{Mask: own.Mask}
	for m := own.Mask; m != 0; m &= m - 1 {
		k := bits.TrailingZeros64(m)
		if sent.Mask&(1<<uint(k)) == 0 || own.at(k) != sent.at(k) {
			d.Differ |= 1 << uint(k)
		}
	}
	return d
}

// Comparison is a provider's answer about nodes of one level: of the first ones that it was asked about, as many as
// there are Nodes. All of it was read in one read transaction.
type Comparison struct {
	Head   index.SignedHead
	Record []byte        // canonical bytes of the location's record at Head
	Nodes  []Difference  // in the order of the sketches
	Rows   []index.Entry // leaves only: the rows that differ, by id
}
