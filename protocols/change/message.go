package change

import (
	"fmt"
	"math"

	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
)

// ID is the protocol's ID.
const ID protocol.ID = "/peerdex/change/1"

// MaxChanges is how many rows and dead ids a push may hold together.
const MaxChanges = 100

const (
	version = 1

	kindChange   = 1
	changeFields = 7

	// frameLimit bounds a push: so many rows as long as can be, a head and a record. Bytes.
	frameLimit = 160 << 10
)

// StateChange is what changed in a location between two of its states.
type StateChange struct {
	Base    int64            // seq of the lower state: everything above it is here
	Horizon int64            // lowest seq from which the owner can serve a delta
	Head    index.SignedHead // of the upper state
	Record  []byte           // canonical bytes of the location's record; empty = that of the lower state
	Rows    []index.Entry    // changed rows as they are now, by seq
	Dead    []index.DeadRun  // deletions, by seq
}

// Changes is the number of rows and dead ids.
func (c *StateChange) Changes() int64 {
	n := int64(len(c.Rows))
	for _, d := range c.Dead {
		n += d.Len()
	}
	return n
}

// Page returns the delta for a replica that stands at a seq which is not below Base and below that of Head. It shares the
// rows of c.
func (c *StateChange) Page(from int64) index.Page {
	p := index.Page{
		Head: c.Head, Record: c.Record, Horizon: c.Base, Rows: c.Rows, Dead: c.Dead, UpTo: c.Head.Seq, Exhausted: true,
		LeftRows: -1, LeftDead: -1,
	}
	for len(p.Rows) > 0 && p.Rows[0].Seq <= from {
		p.Rows = p.Rows[1:]
	}
	for len(p.Dead) > 0 && p.Dead[0].Seq <= from {
		p.Dead = p.Dead[1:]
	}
	return p
}

func (c *StateChange) encode(e *wire.Encoder) {
	e.Begin(kindChange, changeFields)
	e.Int(version)
	e.Int(c.Base)
	e.Int(c.Horizon)
	e.Head(&c.Head)
	e.Bytes(c.Record)
	e.Array(len(c.Rows))
	for i := range c.Rows {
		e.Row(&c.Rows[i])
	}
	e.Array(len(c.Dead))
	for _, d := range c.Dead {
		e.Dead(d)
	}
}

// decode reads a push and checks all that can be checked without knowing who sent it, but for the signature.
func decode(d *wire.Decoder) (*StateChange, error) {
	if v := d.Int(0, math.MaxInt32); d.Err() == nil && v != version {
		return nil, fmt.Errorf("change of version %d: %w", v, wire.ErrVersion)
	}
	c := &StateChange{Base: d.Int(1, index.MaxSeq), Horizon: d.Int(0, index.MaxSeq)}
	h := d.Head()
	c.Record = d.Bytes(index.MaxRecordLen)
	c.Rows = d.Rows(nil, MaxChanges)
	c.Dead = d.DeadRuns(nil, MaxChanges)
	if err := d.Close(); err != nil {
		return nil, err
	}
	if h == nil {
		return nil, fmt.Errorf("%w: change without a head", wire.ErrMalformed)
	}
	c.Head = *h
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", wire.ErrMalformed, err)
	}
	return c, nil
}

// check holds the relations between the fields, on either side.
func (c *StateChange) check() error {
	switch {
	case c.Base < 1 || c.Base >= c.Head.Seq:
		return fmt.Errorf("from seq %d to %d: %w", c.Base, c.Head.Seq, index.ErrInvalid)
	case c.Horizon > c.Base:
		return fmt.Errorf("base %d below the horizon %d: %w", c.Base, c.Horizon, index.ErrInvalid)
	case c.Changes() > MaxChanges:
		return fmt.Errorf("%d changes, limit %d: %w", c.Changes(), MaxChanges, index.ErrInvalid)
	}
	last := c.Base
	for i := range c.Rows {
		if r := &c.Rows[i]; r.Seq <= last || r.Seq > c.Head.Seq || r.ID >= c.Head.NextID {
			return fmt.Errorf("id %d at seq %d: %w", r.ID, r.Seq, index.ErrPageOrder)
		}
		last = c.Rows[i].Seq
	}
	last = c.Base
	for _, d := range c.Dead {
		if d.Seq <= last || d.Seq > c.Head.Seq || d.Hi >= c.Head.NextID {
			return fmt.Errorf("dead run at seq %d: %w", d.Seq, index.ErrPageOrder)
		}
		last = d.Seq
	}
	if len(c.Record) == 0 {
		return nil
	}
	var r index.Record
	if err := r.UnmarshalBinary(c.Record); err != nil {
		return err
	}
	if index.HashRecord(c.Record) != c.Head.Record {
		return fmt.Errorf("the record is not the one signed: %w", index.ErrInvalid)
	}
	return nil
}
