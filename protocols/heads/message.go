package heads

import (
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/membership"
	"github.com/peerdex/peerdex/protocols/wire"
)

// ID is the protocol's ID.
const ID protocol.ID = "/peerdex/heads/1"

// Limits of an exchange, each way. A side that has more heads than fit sends the first ones.
const (
	MaxHeads     = 10_000  // heads
	MaxHeadBytes = 8 << 20 // bytes of all heads and records together, as encoded
	MaxSoftware  = 64      // bytes of the software's name and version
)

const (
	version = 1

	kindHello   = 1
	helloFields = 2
	kindRecords = 2
	kindHeads   = 3
	headsFields = 2

	announcedFields = 4
	// minAnnounced is the least size of an announced head: the array's header, a signed head and a record of which
	// only the headers are counted, a horizon, a bool.
	minAnnounced = 1 + 3 + index.SignedHeadSize + 2 + 1 + 1
	// headsFrame is the size that frames of heads are filled up to. Bytes.
	headsFrame = 256 << 10
	// frameLimit bounds the frames of this protocol. Bytes.
	frameLimit = 512 << 10
)

// Announced is a head that a device knows of.
type Announced struct {
	Head    index.SignedHead
	Record  []byte // canonical bytes of the location's record, as the head covers it
	Horizon int64  // lowest seq from which the sender can serve a delta; of no meaning unless Held
	Held    bool   // the sender holds a replica at this head, or owns the location: it can provide it
}

// Hello is what a device says of itself.
type Hello struct {
	Software string // name and version, at most [MaxSoftware] bytes of UTF-8, such as "peerdex/0.1.0"
}

func (h Hello) valid() error {
	if len(h.Software) > MaxSoftware || !utf8.ValidString(h.Software) {
		return fmt.Errorf("software %q: %w", h.Software, index.ErrInvalid)
	}
	return nil
}

func sendHello(c *wire.Conn, h Hello) error {
	if err := h.valid(); err != nil {
		return err
	}
	e := c.Begin(kindHello, helloFields)
	e.Int(version)
	e.String(h.Software)
	return c.Send(wire.CodecNone)
}

func decodeHello(d *wire.Decoder) (Hello, error) {
	if v := d.Int(0, math.MaxInt32); d.Err() == nil && v != version {
		return Hello{}, fmt.Errorf("hello of version %d: %w", v, wire.ErrVersion)
	}
	h := Hello{Software: d.String(MaxSoftware)}
	if d.Err() == nil {
		if err := h.valid(); err != nil {
			d.Fail(err)
		}
	}
	return h, d.Close()
}

// recordLimits bound the membership records that one side sends.
func recordLimits() wire.BlobLimits {
	return wire.BlobLimits{Count: membership.MaxRecords, Each: membership.MaxRecordLen}
}

// size bounds the encoded size of an announced head.
func (a *Announced) size() int { return minAnnounced + len(a.Record) + 16 }

func (a *Announced) encode(e *wire.Encoder) {
	e.Array(announcedFields)
	e.Head(&a.Head)
	e.Bytes(a.Record)
	e.Int(a.Horizon)
	e.Bool(a.Held)
}

// sendHeads sends as many of all as the limits allow, in as many frames as they need, and returns their number.
func sendHeads(c *wire.Conn, all []Announced) (int, error) {
	total, fit := 0, 0
	for fit < min(len(all), MaxHeads) && total+all[fit].size() <= MaxHeadBytes {
		total += all[fit].size()
		fit++
	}
	for left := all[:fit]; ; {
		n, size := 0, 0
		for n < len(left) && (n == 0 || size+left[n].size() <= headsFrame) {
			size += left[n].size()
			n++
		}
		e := c.Begin(kindHeads, headsFields)
		e.Bool(n == len(left))
		e.Array(n)
		for i := range left[:n] {
			left[i].encode(e)
		}
		if err := c.Send(wire.CodecZstd); err != nil {
			return 0, err
		}
		if left = left[n:]; len(left) == 0 {
			return fit, nil
		}
	}
}

// receiveHeads receives what sendHeads sent, and checks signatures and records.
func receiveHeads(c *wire.Conn) ([]Announced, error) {
	var all []Announced
	for total := 0; ; {
		d, err := c.Receive(wire.IdleTimeout, kindHeads, headsFields)
		if err != nil {
			return nil, err
		}
		more, last, err := decodeHeads(d, MaxHeads-len(all))
		if err != nil {
			return nil, err
		}
		size := 0
		for i := range more {
			size += more[i].size()
		}
		if total += size; total > MaxHeadBytes {
			return nil, fmt.Errorf("%w: heads of more than %d bytes", wire.ErrMalformed, MaxHeadBytes)
		}
		if err := c.Reserve(size); err != nil {
			return nil, err
		}
		if all = append(all, more...); last {
			return all, nil
		}
		if len(more) == 0 {
			return nil, fmt.Errorf("%w: list goes on with nothing", wire.ErrMalformed)
		}
	}
}

// decodeHeads reads one message of at most limit heads.
func decodeHeads(d *wire.Decoder, limit int) (all []Announced, last bool, err error) {
	last = d.Bool()
	n := d.List(min(limit, wire.MaxRows), minAnnounced)
	for ; n > 0 && d.Err() == nil; n-- {
		d.Array(announcedFields)
		var a Announced
		h := d.Head()
		a.Record = d.Bytes(index.MaxRecordLen)
		a.Horizon = d.Int(0, index.MaxSeq)
		a.Held = d.Bool()
		if d.Err() != nil {
			break
		}
		if h == nil {
			d.Fail(fmt.Errorf("announced without a head: %w", index.ErrInvalid))
			break
		}
		a.Head = *h
		if err := a.verify(); err != nil {
			d.Fail(err)
		}
		all = append(all, a)
	}
	return all, last, d.Close()
}

func (a *Announced) verify() error {
	if err := a.Head.Verify(); err != nil {
		return err
	}
	var r index.Record
	if err := r.UnmarshalBinary(a.Record); err != nil {
		return err
	}
	if index.HashRecord(a.Record) != a.Head.Record {
		return fmt.Errorf("record is not the one that the head of %v covers: %w", a.Head.Location, index.ErrInvalid)
	}
	return nil
}
