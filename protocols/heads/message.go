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
	helloFields = 6
	kindRecords = 2
	kindHeads   = 3
	headsFields = 3
	kindKnown   = 4
	knownFields = 2

	announcedFields = 6
	// minAnnounced is the least size of an announced head: the array's header, a signed head and a record of which
	// only the headers are counted, a horizon, two bools, a size.
	minAnnounced = 1 + 3 + index.SignedHeadSize + 2 + 1 + 1 + 1 + 1
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
	Wants   bool   // the sender wants what changes above this head to be pushed to it by the owner; only where Held
	// Size is how large the sender's file is, which a native snapshot has too. Bytes; 0 = not said. It is told with what is
	// news, and none itself: the digest leaves it out.
	Size int64
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

// greeting is the first message of each side: all that has to be said when both know what the other knows.
type greeting struct {
	Hello
	members digest // of the membership records
	heads   digest // of the heads that the sender has to tell
}

func sendGreeting(c *wire.Conn, g greeting) error {
	if err := g.valid(); err != nil {
		return err
	}
	e := c.Begin(kindHello, helloFields)
	e.Int(version)
	e.String(g.Software)
	for _, d := range [...]digest{g.members, g.heads} {
		e.Int(int64(d.n))
		e.Bytes(d.sum[:])
	}
	return c.Send(wire.CodecNone)
}

func decodeGreeting(d *wire.Decoder) (greeting, error) {
	if v := d.Int(0, math.MaxInt32); d.Err() == nil && v != version {
		return greeting{}, fmt.Errorf("hello of version %d: %w", v, wire.ErrVersion)
	}
	g := greeting{Hello: Hello{Software: d.String(MaxSoftware)}}
	g.members.n = int(d.Int(0, membership.MaxRecords))
	d.Fixed(g.members.sum[:])
	g.heads.n = int(d.Int(0, MaxHeads))
	d.Fixed(g.heads.sum[:])
	if d.Err() == nil {
		if err := g.valid(); err != nil {
			d.Fail(err)
		}
	}
	return g, d.Close()
}

// sendKnown answers the other side's digest of heads: that it says all, or the tags of what is known of it so far.
func sendKnown(c *wire.Conn, same bool, tags []byte) error {
	e := c.Begin(kindKnown, knownFields)
	e.Bool(same)
	e.Bytes(tags)
	return c.Send(wire.CodecNone)
}

func decodeKnown(d *wire.Decoder) (same bool, tags []byte, err error) {
	same = d.Bool()
	tags = d.Bytes(MaxHeads * tagSize)
	if d.Err() == nil && (len(tags)%tagSize != 0 || same && len(tags) > 0) {
		d.Fail(fmt.Errorf("%d bytes of tags: %w", len(tags), index.ErrInvalid))
	}
	return same, tags, d.Close()
}

// recordLimits bound the membership records that one side sends.
func recordLimits() wire.BlobLimits {
	return wire.BlobLimits{Count: membership.MaxRecords, Each: membership.MaxRecordLen}
}

// size bounds the encoded size of an announced head.
func (a *Announced) size() int { return minAnnounced + len(a.Record) + 20 }

func (a *Announced) encode(e *wire.Encoder) {
	e.Array(announcedFields)
	e.Head(&a.Head)
	e.Bytes(a.Record)
	e.Int(a.Horizon)
	e.Bool(a.Held)
	e.Bool(a.Wants)
	e.Int(a.Size)
}

// fitting returns as many of all as the limits allow.
func fitting(all []Announced) []Announced {
	total, fit := 0, 0
	for fit < min(len(all), MaxHeads) && total+all[fit].size() <= MaxHeadBytes {
		total += all[fit].size()
		fit++
	}
	return all[:fit]
}

// sendHeads sends heads that fit, in as many frames as they need, and after them which of the other side's tags stand
// for nothing any more.
func sendHeads(c *wire.Conn, all []Announced, gone []int) error {
	for left := all; ; {
		n, size := 0, 0
		for n < min(len(left), wire.MaxRows) && (n == 0 || size+left[n].size() <= headsFrame) {
			size += left[n].size()
			n++
		}
		last := n == len(left)
		e := c.Begin(kindHeads, headsFields)
		e.Bool(last)
		e.Array(n)
		for i := range left[:n] {
			left[i].encode(e)
		}
		if !last {
			e.Array(0)
		} else {
			e.Array(len(gone))
			for _, g := range gone {
				e.Int(int64(g))
			}
		}
		if err := c.Send(wire.CodecZstd); err != nil {
			return err
		}
		if left = left[n:]; last {
			return nil
		}
	}
}

// receiveHeads receives what sendHeads sent, and checks signatures and records. Tags is how many tags were sent.
func receiveHeads(c *wire.Conn, tags int) (all []Announced, gone []int, err error) {
	for total := 0; ; {
		d, err := c.Receive(wire.IdleTimeout, kindHeads, headsFields)
		if err != nil {
			return nil, nil, err
		}
		part, err := decodeHeads(d, MaxHeads-len(all), tags)
		if err != nil {
			return nil, nil, err
		}
		size := 0
		for i := range part.heads {
			size += part.heads[i].size()
		}
		if total += size; total > MaxHeadBytes {
			return nil, nil, fmt.Errorf("%w: heads of more than %d bytes", wire.ErrMalformed, MaxHeadBytes)
		}
		if err := c.Reserve(size); err != nil {
			return nil, nil, err
		}
		if all = append(all, part.heads...); part.last {
			return all, part.gone, nil
		}
		if len(part.heads) == 0 {
			return nil, nil, fmt.Errorf("%w: list goes on with nothing", wire.ErrMalformed)
		}
	}
}

// headsPart is one message of heads.
type headsPart struct {
	last  bool
	heads []Announced
	gone  []int // places of tags, rising; in the last part only
}

// decodeHeads reads one message of at most limit heads, in an answer to so many tags.
func decodeHeads(d *wire.Decoder, limit, tags int) (headsPart, error) {
	p := headsPart{last: d.Bool()}
	n := d.List(min(limit, wire.MaxRows), minAnnounced)
	for ; n > 0 && d.Err() == nil; n-- {
		d.Array(announcedFields)
		var a Announced
		h := d.Head()
		a.Record = d.Bytes(index.MaxRecordLen)
		a.Horizon = d.Int(0, index.MaxSeq)
		a.Held = d.Bool()
		a.Wants = d.Bool()
		a.Size = d.Int(0, math.MaxInt64)
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
		p.heads = append(p.heads, a)
	}
	if !p.last {
		tags = 0
	}
	next := int64(0)
	for n = d.List(tags, 1); n > 0 && d.Err() == nil; n-- {
		at := d.Int(next, int64(tags)-1)
		p.gone, next = append(p.gone, int(at)), at+1
	}
	return p, d.Close()
}

func (a *Announced) verify() error {
	if err := a.Head.Verify(); err != nil {
		return err
	}
	if a.Wants && !a.Held {
		return fmt.Errorf("changes are wanted above a head that is not held: %w", index.ErrInvalid)
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
