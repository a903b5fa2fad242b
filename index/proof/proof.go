// Package proof computes the BLAKE3-256 hashes by which a replica is proved equal to what its owner signed: the tree
// over the live rows, and the chain over dead runs. Everything hashed starts with a domain string and a zero byte, so
// that no two kinds of input can be confused. Numbers are big-endian u64 unless said otherwise.
//
// The tree covers the id space, not the rows, so that every id has its place for ever. Leaf i covers ids 64 i to
// 64 i + 63: BLAKE3-256("peerdex/leaf/1", 0x00, i, the canonical bytes of its live rows in id order
// ([index.Entry.AppendRow])). Node i of level l, from 1 to 5, covers the nodes 64 i to 64 i + 63 of the level below,
// leaves being level 0: BLAKE3-256("peerdex/node/1", 0x00, l as one byte, i, a mask whose bit k is set if child 64 i + k
// is there, the hashes of those children in order). Leaves without rows and nodes without children are not there. The
// root is node 0 of level 5; since a location always has its root folder, there always is one.
//
// The chain: D(0) is 32 zero bytes; D(n) = BLAKE3-256("peerdex/dead/1", 0x00, D(n-1), seq, lo, hi)
// ([index.DeadRun.AppendBytes]). It is folded in seq order, so a relay can neither hide, invent nor reorder deletions
// between two signed heads.
package proof

import (
	"github.com/peerdex/peerdex/index"
	"lukechampine.com/blake3"
)

const deadDomain = "peerdex/dead/1\x00"

// FoldDead returns the chain after run d, given the chain before it. Safe for concurrent use.
func FoldDead(before index.Hash, d index.DeadRun) index.Hash {
	b := make([]byte, 0, len(deadDomain)+index.HashSize+24)
	b = append(b, deadDomain...)
	b = append(b, before[:]...)
	b = d.AppendBytes(b)
	return blake3.Sum256(b)
}
