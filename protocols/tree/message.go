package tree

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
	"github.com/peerdex/peerdex/protocols/wire"
)

// ID is the protocol's ID.
const ID protocol.ID = "/peerdex/tree/1"

// MaxNodes bounds the nodes of a request.
const MaxNodes = 1024

const (
	version = 1

	kindRequest   = 1
	requestFields = 9
	kindAnswer    = 2
	answerFields  = 4

	nodeFields       = 3
	minNode          = 5 // the array's header, two integers, and the length of the hashes
	differenceFields = 2
	minDifference    = 3
)

// ErrNoReplica is returned when a provider holds no replica of the location; a [Source] returns it too.
var ErrNoReplica = wire.ErrNoReplica

// request describes nodes of one level.
type request struct {
	loc    index.Location
	epoch  index.Epoch
	salt   proof.Salt
	level  int
	nodes  []proof.Sketch
	codecs wire.CodecSet
}

func (r *request) encode(c *wire.Conn) {
	e := c.Begin(kindRequest, requestFields)
	e.Int(version)
	e.Bytes(r.loc.Owner[:])
	e.Bytes(r.loc.ID[:])
	e.Uint(r.epoch.Counter)
	e.Uint(r.epoch.Random)
	e.Bytes(r.salt[:])
	e.Int(int64(r.level))
	e.Array(len(r.nodes))
	for i := range r.nodes {
		n := &r.nodes[i]
		e.Array(nodeFields)
		e.Int(n.Index)
		e.Uint(n.Mask)
		e.Bytes(n.Shorts)
	}
	e.Int(int64(r.codecs))
}

func decodeRequest(d *wire.Decoder) (request, error) {
	var r request
	if v := d.Int(0, math.MaxInt32); d.Err() == nil && v != version {
		return r, fmt.Errorf("request of version %d: %w", v, wire.ErrVersion)
	}
	d.Fixed(r.loc.Owner[:])
	d.Fixed(r.loc.ID[:])
	r.epoch.Counter = uint64(d.Int(1, index.MaxSeq))
	r.epoch.Random = d.Uint()
	d.Fixed(r.salt[:])
	r.level = int(d.Int(0, proof.Levels))
	highest := int64(index.MaxID) >> (proof.LeafBits + r.level*proof.FanBits)
	n := d.List(MaxNodes, minNode)
	if n == 0 {
		d.Fail(fmt.Errorf("request about nothing"))
	}
	r.nodes = make([]proof.Sketch, 0, n)
	next := int64(0)
	for ; n > 0 && d.Err() == nil; n-- {
		d.Array(nodeFields)
		s := proof.Sketch{Index: d.Int(next, highest), Mask: d.Uint()}
		s.Shorts = d.Bytes(proof.Fan * proof.ShortSize)
		if !s.Complete() {
			d.Fail(fmt.Errorf("%d children and %d bytes of hashes", bits.OnesCount64(s.Mask), len(s.Shorts)))
		}
		r.nodes, next = append(r.nodes, s), s.Index+1
	}
	r.codecs = wire.CodecSet(d.Int(0, math.MaxUint8))
	return r, d.Close()
}

// answer is about the next nodes of a request. Its Head and Record are filled in by the receiver when they are not in it.
type answer struct {
	proof.Comparison
	head   *index.SignedHead // nil = as in the answer before
	record []byte            // empty = as in the answer before
}

func (a *answer) encode(c *wire.Conn) {
	e := c.Begin(kindAnswer, answerFields)
	e.Head(a.head)
	e.Bytes(a.record)
	e.Array(len(a.Nodes))
	for _, n := range a.Nodes {
		e.Array(differenceFields)
		e.Uint(n.Mask)
		e.Uint(n.Differ)
	}
	e.Array(len(a.Rows))
	for i := range a.Rows {
		e.Row(&a.Rows[i])
	}
}

// decode reads an answer about at most limit nodes into a, reusing the room of the nodes and rows that a has.
func (a *answer) decode(d *wire.Decoder, limit int) error {
	a.head = d.Head()
	a.record = d.Bytes(index.MaxRecordLen)
	a.Nodes = a.Nodes[:0]
	for n := d.List(limit, minDifference); n > 0 && d.Err() == nil; n-- {
		d.Array(differenceFields)
		a.Nodes = append(a.Nodes, proof.Difference{Mask: d.Uint(), Differ: d.Uint()})
	}
	a.Rows = d.Rows(a.Rows[:0], wire.MaxRows)
	return d.Close()
}
