package snapshot

import (
	"encoding/hex"
	"fmt"
	"math"

	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
)

// ID is the protocol's ID.
const ID protocol.ID = "/peerdex/snapshot/1"

// FileID names a snapshot: the same ID stands for the same bytes. It is random; the zero value is none.
type FileID [16]byte

// String returns 32 hex digits.
func (i FileID) String() string { return hex.EncodeToString(i[:]) }

// ParseFileID reads what String returns, or "", which is the zero ID.
func ParseFileID(s string) (FileID, error) {
	var id FileID
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) && len(b) != 0 {
		return id, fmt.Errorf("snapshot ID %q: %w", s, index.ErrInvalid)
	}
	copy(id[:], b)
	return id, nil
}

// Variant says what the file holds. Values are part of the format.
type Variant uint8

// The variants.
const (
	Compact Variant = 1 // the entries and nothing else
	Native  Variant = 2 // with indexes, hash tree and dead runs
)

// VariantSet is a set of variants, bit n for variant n.
type VariantSet uint8

// Variants returns the set of those given.
func Variants(list ...Variant) VariantSet {
	var s VariantSet
	for _, v := range list {
		s |= 1 << v
	}
	return s
}

// Has reports whether v belongs to the set.
func (s VariantSet) Has(v Variant) bool { return v < 8 && s&(1<<v) != 0 }

const (
	version = 1

	kindRequest     = 1
	requestFields   = 8
	kindHeader      = 2
	headerFields    = 7
	kindPart        = 3
	partFields      = 2
	kindEnd         = 4
	endFields       = 1
	kindPreparing   = 5
	preparingFields = 0
	kindColumns     = 6
	columnsFields   = 12

	// maxSize bounds the size of a file. Bytes.
	maxSize = 1 << 42
	// Parts of the file are of one size, within these bounds. Bytes.
	minPart = 4 << 10
	maxPart = wire.MaxFrame - partSlack
	// partSlack is more than a frame has beside the part. Bytes.
	partSlack = 64
	// A request is under 200 bytes, a header under 13,000.
	requestLimit = 1 << 10
	headerLimit  = 16 << 10
)

// Request asks for a snapshot of a location.
type Request struct {
	Library  index.LibraryID // that the location's head must belong to
	Location index.Location
	Variants VariantSet // that will do; the provider chooses
	File     FileID     // of a transfer that broke off; zero = none
	Offset   int64      // bytes of it that are there
}

// Offer is the file that a provider sends.
type Offer struct {
	File    FileID
	Variant Variant
	Size    int64            // bytes
	Head    index.SignedHead // at which the file stands
	Record  []byte           // canonical bytes of the location's record, as the head covers it
}

func (r *Request) encode(e *wire.Encoder, codecs wire.CodecSet) {
	e.Begin(kindRequest, requestFields)
	e.Int(version)
	e.Bytes(r.Library[:])
	e.Bytes(r.Location.Owner[:])
	e.Bytes(r.Location.ID[:])
	e.Int(int64(r.Variants))
	if r.File == (FileID{}) {
		e.Bytes(nil)
	} else {
		e.Bytes(r.File[:])
	}
	e.Int(r.Offset)
	e.Int(int64(codecs))
}

func decodeRequest(d *wire.Decoder) (r Request, codecs wire.CodecSet, err error) {
	if v := d.Int(0, math.MaxInt32); d.Err() == nil && v != version {
		return r, 0, fmt.Errorf("request of version %d: %w", v, wire.ErrVersion)
	}
	d.Fixed(r.Library[:])
	d.Fixed(r.Location.Owner[:])
	d.Fixed(r.Location.ID[:])
	r.Variants = VariantSet(d.Int(0, math.MaxUint8))
	file := d.Bytes(len(r.File))
	r.Offset = d.Int(0, maxSize)
	codecs = wire.CodecSet(d.Int(0, math.MaxUint8))
	copy(r.File[:], file)
	switch {
	case d.Err() != nil:
	case !r.Variants.Has(Compact) && !r.Variants.Has(Native):
		d.Fail(fmt.Errorf("no variant: %#x", uint8(r.Variants)))
	case len(file) != 0 && (len(file) != len(r.File) || r.File == FileID{}):
		d.Fail(fmt.Errorf("file %x", file))
	case len(file) == 0 && r.Offset != 0:
		d.Fail(fmt.Errorf("offset %d of no file", r.Offset))
	}
	return r, codecs, d.Close()
}

// header is what comes before the parts.
type header struct {
	Offer
	offset int64 // of the first part
	part   int   // bytes of every part but the last
}

func (h *header) encode(e *wire.Encoder) {
	e.Begin(kindHeader, headerFields)
	e.Bytes(h.File[:])
	e.Int(int64(h.Variant))
	e.Int(h.Size)
	e.Int(h.offset)
	e.Int(int64(h.part))
	e.Head(&h.Head)
	e.Bytes(h.Record)
}

func decodeHeader(d *wire.Decoder) (header, error) {
	var h header
	d.Fixed(h.File[:])
	h.Variant = Variant(d.Int(int64(Compact), int64(Native)))
	h.Size = d.Int(1, maxSize)
	h.offset = d.Int(0, h.Size)
	h.part = int(d.Int(minPart, maxPart))
	head := d.Head()
	h.Record = d.Bytes(index.MaxRecordLen)
	switch {
	case d.Err() != nil:
	case head == nil:
		d.Fail(fmt.Errorf("no head: %w", index.ErrInvalid))
	case h.File == FileID{}:
		d.Fail(fmt.Errorf("no file ID: %w", index.ErrInvalid))
	default:
		h.Head = *head
	}
	return h, d.Close()
}

func encodePart(e *wire.Encoder, offset int64, b []byte) {
	e.Begin(kindPart, partFields)
	e.Int(offset)
	e.Bytes(b)
}

// decodePart fills b with the part at offset: neither another nor another size will do.
func decodePart(d *wire.Decoder, offset int64, b []byte) error {
	d.Int(offset, offset)
	d.Fixed(b)
	return d.Close()
}

func encodeColumns(e *wire.Encoder, offset int64, c *columns) {
	e.Begin(kindColumns, columnsFields)
	e.Int(offset)
	for _, f := range c.fields() {
		e.Bytes(*f)
	}
}

// decodeColumns fills b with the part at offset. It uses c for it.
func decodeColumns(d *wire.Decoder, c *columns, offset int64, b []byte) error {
	d.Int(offset, offset)
	for _, f := range c.fields() {
		*f = d.View(wire.MaxPayload)
	}
	if err := d.Close(); err != nil {
		return err
	}
	return c.join(b)
}

func encodeEnd(e *wire.Encoder, size int64) {
	e.Begin(kindEnd, endFields)
	e.Int(size)
}

func decodeEnd(d *wire.Decoder, size int64) error {
	d.Int(size, size)
	return d.Close()
}
