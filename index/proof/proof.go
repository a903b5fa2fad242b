// Package proof computes the BLAKE3-256 hashes by which a replica is proved equal to what its owner signed: today
// the chain over dead runs. Everything hashed starts with a domain string, so that no two kinds of input can be
// confused.
//
// The chain: D(0) is 32 zero bytes; D(n) = BLAKE3-256("peerdex/dead/1", 0x00, D(n-1), seq, lo, hi), the numbers as
// big-endian u64 ([index.DeadRun.AppendBytes]). It is folded in seq order, so a relay can neither hide, invent nor
// reorder deletions between two signed heads.
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
