package batch

import (
	"fmt"
	"math"

	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
)

// ID is the protocol's ID.
const ID protocol.ID = "/peerdex/batch/1"

// DefaultBatchSize is how many rows and dead runs a frame holds unless the puller asks for another number.
const DefaultBatchSize = 1000

const (
	version = 1

	kindRequest   = 1
	requestFields = 11
	kindFrame     = 2
	frameFields   = 13

	// maxEntries bounds counts in frames: rows or ids, of which there are at most so many.
	maxEntries = 2 * index.MaxID
)

// ErrNoReplica is returned when a provider holds no replica of the location; a [Source] returns it too.
var ErrNoReplica = wire.ErrNoReplica

// request asks for all that lies above a position.
type request struct {
	loc      index.Location
	epoch    index.Epoch
	mode     index.Mode
	position int64
	base     int64 // seq of the token's base, 0 = none yet
	floor    int64 // seq of the token's floor, 0 = none yet
	batch    int   // rows and dead runs wanted in a frame; 0 = the provider's choice
	codecs   wire.CodecSet
}

func newRequest(t *index.Token, o *Options) request {
	return request{
		loc: t.Location, epoch: t.Epoch, mode: t.Mode, position: t.Position, base: t.Base.Seq, floor: t.Floor.Seq,
		batch: o.BatchSize, codecs: o.Codecs,
	}
}

func (r *request) encode(c *wire.Conn) {
	e := c.Begin(kindRequest, requestFields)
	e.Int(version)
	e.Bytes(r.loc.Owner[:])
	e.Bytes(r.loc.ID[:])
	e.Uint(r.epoch.Counter)
	e.Uint(r.epoch.Random)
	e.Int(int64(r.mode))
	e.Int(r.position)
	e.Int(r.base)
	e.Int(r.floor)
	e.Int(int64(r.batch))
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
	r.mode = index.Mode(d.Int(int64(index.ModeFull), int64(index.ModeDelta)))
	r.position = d.Int(0, index.MaxSeq)
	r.base = d.Int(0, index.MaxSeq)
	r.floor = d.Int(r.base, index.MaxSeq)
	r.batch = int(d.Int(0, wire.MaxRows))
	r.codecs = wire.CodecSet(d.Int(0, math.MaxUint8))
	if r.mode == index.ModeFull && r.position > index.MaxID || r.mode == index.ModeDelta && r.position < r.base {
		d.Fail(fmt.Errorf("position %d in mode %d with base %d", r.position, r.mode, r.base))
	}
	return r, d.Close()
}

// frame is one StateBatch. Its page's Head and Record are filled in by the receiver when they are not in the frame.
type frame struct {
	index   int64 // batch_index, from 0 in each answer
	batches int64 // total_batches, as far as it is known now; 0 = not known
	done    int64 // rows and dead ids of this answer up to and including this frame
	total   int64 // rows and dead ids of this answer, as far as it is known now; 0 = not known
	page    index.Page
	head    *index.SignedHead // nil = as in the frame before
	record  []byte            // empty = as in the frame before
}

func (f *frame) encode(c *wire.Conn) *wire.Encoder {
	e := c.Begin(kindFrame, frameFields)
	e.Int(f.index)
	e.Int(f.batches)
	e.Int(f.done)
	e.Int(f.total)
	e.OptInt(f.page.LeftRows)
	e.OptInt(f.page.LeftDead)
	e.Int(f.page.UpTo)
	e.Bool(f.page.Exhausted)
	e.Int(f.page.Horizon)
	e.Head(f.head)
	e.Bytes(f.record)
	e.Columns(f.page.Rows)
	e.Array(len(f.page.Dead))
	for _, r := range f.page.Dead {
		e.Dead(r)
	}
	return e
}

// decode reads a frame into f, reusing the room of the rows and dead runs that f has.
func (f *frame) decode(d *wire.Decoder) error {
	f.index = d.Int(0, maxEntries)
	f.batches = d.Int(0, maxEntries)
	f.done = d.Int(0, maxEntries)
	f.total = d.Int(0, maxEntries)
	f.page.LeftRows = d.OptInt(index.MaxID)
	f.page.LeftDead = d.OptInt(index.MaxID)
	f.page.UpTo = d.Int(0, index.MaxSeq)
	f.page.Exhausted = d.Bool()
	f.page.Horizon = d.Int(0, index.MaxSeq)
	f.head = d.Head()
	f.record = d.Bytes(index.MaxRecordLen)
	f.page.Rows = d.Columns(f.page.Rows[:0], wire.MaxRows)
	f.page.Dead = d.DeadRuns(f.page.Dead[:0], wire.MaxRows)
	return d.Close()
}
