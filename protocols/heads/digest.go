package heads

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/peerdex/peerdex/index"
)

// What is hashed begins with one of these, so that no hash can stand for something else.
const (
	itemDomain    = "peerdex/heads/1 item\x00"
	headsDomain   = "peerdex/heads/1 heads\x00"
	membersDomain = "peerdex/heads/1 members\x00"
)

// tagSize is the size of what stands for an announced head where both sides know it or know how to ask. Two heads with
// one tag, which only their owner could make, would be told late; nothing else depends on it. Bytes.
const tagSize = 8

// digest stands for a set, whatever its order.
type digest struct {
	n   int
	sum index.Hash
}

func digestOf(domain string, items []index.Hash) digest {
	sorted := slices.SortedFunc(slices.Values(items), func(a, b index.Hash) int { return slices.Compare(a[:], b[:]) })
	h := sha256.New()
	h.Write([]byte(domain))
	for i := range sorted {
		h.Write(sorted[i][:])
	}
	return digest{n: len(items), sum: index.Hash(h.Sum(nil))}
}

// digestRecords stands for the records of membership.
func digestRecords(records [][]byte) digest {
	items := make([]index.Hash, len(records))
	for i, r := range records {
		items[i] = sha256.Sum256(r)
	}
	return digestOf(membersDomain, items)
}

// list is what one side tells of heads, each with the hash that stands for it.
type list struct {
	heads []Announced
	items []index.Hash
}

func newList(heads []Announced) list {
	l := list{heads: heads, items: make([]index.Hash, len(heads))}
	for i := range heads {
		a := &heads[i]
		b := make([]byte, 0, len(itemDomain)+index.HeadSize+10)
		b = a.Head.AppendBytes(append(b, itemDomain...))
		b = binary.BigEndian.AppendUint64(b, uint64(a.Horizon))
		l.items[i] = sha256.Sum256(append(b, asByte(a.Held), asByte(a.Wants)))
	}
	return l
}

func asByte(set bool) byte {
	if set {
		return 1
	}
	return 0
}

func (l *list) digest() digest { return digestOf(headsDomain, l.items) }

// tags returns what is left of the hashes when the other side is to say what it knows better.
func (l *list) tags() []byte {
	b := make([]byte, 0, len(l.items)*tagSize)
	for i := range l.items {
		b = append(b, l.items[i][:tagSize]...)
	}
	return b
}

// against returns what a side that knows no more of this list than the tags doesn't know, and which of the tags, by
// their place, stand for nothing in the list any more.
func (l *list) against(tags []byte) (news []Announced, gone []int) {
	known := make(map[[tagSize]byte]bool, len(tags)/tagSize)
	for t := range slices.Chunk(tags, tagSize) {
		known[[tagSize]byte(t)] = true
	}
	mine := make(map[[tagSize]byte]bool, len(l.items))
	for i := range l.items {
		t := [tagSize]byte(l.items[i][:])
		if mine[t] = true; !known[t] {
			news = append(news, l.heads[i])
		}
	}
	for i := 0; i*tagSize < len(tags); i++ {
		if !mine[[tagSize]byte(tags[i*tagSize:])] {
			gone = append(gone, i)
		}
	}
	return news, gone
}
